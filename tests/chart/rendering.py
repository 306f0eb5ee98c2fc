"""Renders the chart with Helm, once for each set of values."""

from __future__ import annotations

import functools
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

CHART = Path(__file__).resolve().parents[2] / "charts" / "placerank"
CI = sorted((CHART / "ci").glob("*-values.yaml"))
#: The optional APIs of a cluster: KEDA and the Prometheus operator.
APIS = ("keda.sh/v1alpha1", "monitoring.coreos.com/v1")

#: The Kubernetes version to render for. Without it, each version of Helm assumes a different one.
KUBERNETES = "1.34.0"


class RenderFailed(Exception):
    """Helm failed; the message is its output."""


@dataclass(frozen=True, slots=True)
class Part:
    """A pod template and the object that contains it."""

    owner: dict[str, Any]
    metadata: dict[str, Any]
    spec: dict[str, Any]

    @property
    def name(self) -> str:
        """Kind and name of its owner."""
        return f"{self.owner['kind']}/{self.owner['metadata']['name']}"

    def containers(self) -> list[dict[str, Any]]:
        """All containers, init containers included."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


def helm() -> str | None:
    """The path of the helm program, if it is installed."""
    return shutil.which("helm")


def render_text(
    *sets: str, values: Path | None = None, apis: tuple[str, ...] = APIS, release: str = "placerank"
) -> str:
    """What ``helm template`` prints; raises ``RenderFailed``."""
    command = [str(helm()), "template", release, str(CHART), "--namespace", "trips", "--kube-version", KUBERNETES]
    command += [part for api in apis for part in ("--api-versions", api)]
    command += ["--values", str(values)] if values else []
    command += [part for one in sets for part in ("--set", one)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RenderFailed(done.stderr)
    return done.stdout


@functools.cache
def render(
    *sets: str, values: Path | None = None, apis: tuple[str, ...] = APIS, release: str = "placerank"
) -> tuple[dict[str, Any], ...]:
    """The rendered objects; they are cached, so they must not be changed."""
    text = render_text(*sets, values=values, apis=apis, release=release)
    return tuple(document for document in yaml.safe_load_all(text) if document)


def of_kind(objects: tuple[dict[str, Any], ...], kind: str) -> dict[str, dict[str, Any]]:
    """The objects of a kind, by name."""
    return {one["metadata"]["name"]: one for one in objects if one["kind"] == kind}


def parts(objects: tuple[dict[str, Any], ...]) -> Iterator[Part]:
    """Every pod template in the objects."""
    for one in objects:
        match one["kind"]:
            case "Pod":
                yield Part(one, one["metadata"], one["spec"])
            case "CronJob":
                template = one["spec"]["jobTemplate"]["spec"]["template"]
                yield Part(one, template["metadata"], template["spec"])
            case "Deployment" | "StatefulSet" | "Job":
                template = one["spec"]["template"]
                yield Part(one, template["metadata"], template["spec"])


def environment(container: dict[str, Any]) -> dict[str, Any]:
    """A container's environment variables: their values or their sources."""
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container["env"]}
