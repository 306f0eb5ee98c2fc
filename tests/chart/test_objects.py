"""For all sets of values, the objects are valid and every pod passes Pod Security "restricted"."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
from tests.chart.rendering import CHART, CI, helm, of_kind, parts, render

SCHEMAS = {path.stem: json.loads(path.read_text()) for path in (Path(__file__).parent / "schemas").glob("*.json")}
#: The oldest supported Kubernetes version, and the newest for which there are schemas.
KUBERNETES = ("1.30", kubernetes_validate.latest_version())

every_set = pytest.mark.parametrize("values", [None, *CI], ids=["defaults", *(path.stem for path in CI)])


@pytest.mark.parametrize("values", CI, ids=[path.stem for path in CI])
def test_lint_finds_nothing(values: Path) -> None:
    command = [str(helm()), "lint", "--strict", str(CHART), "--values", str(values)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@every_set
def test_every_object_is_valid(values: Path | None) -> None:
    for one in render(values=values):
        if one["kind"] in SCHEMAS:
            jsonschema.validate(one, SCHEMAS[one["kind"]])
        else:
            for version in KUBERNETES:
                kubernetes_validate.validate(one, version, strict=True)


@every_set
def test_no_two_objects_share_kind_and_name(values: Path | None) -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in render(values=values)]
    assert len(names) == len(set(names))


@every_set
def test_every_pod_is_restricted(values: Path | None) -> None:
    for part in parts(render(values=values)):
        context = part.spec["securityContext"]
        assert context["runAsNonRoot"] is True, part.name
        assert context["runAsUser"] > 0, part.name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, part.name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(part.spec), part.name
        for container in part.containers():
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, part.name
            assert not any("hostPort" in port for port in container.get("ports", [])), part.name
        for volume in part.spec.get("volumes", []):
            assert set(volume) - {"name"} <= {"emptyDir", "configMap", "secret"}, part.name


@every_set
def test_no_pod_has_a_token_or_service_links(values: Path | None) -> None:
    accounts = of_kind(render(values=values), "ServiceAccount")
    assert all(account["automountServiceAccountToken"] is False for account in accounts.values())
    for part in parts(render(values=values)):
        assert part.spec["automountServiceAccountToken"] is False, part.name
        assert part.spec["enableServiceLinks"] is False, part.name
        assert part.spec["serviceAccountName"] in accounts, part.name


@every_set
def test_every_container_has_a_tagged_image_and_a_memory_limit(values: Path | None) -> None:
    for part in parts(render(values=values)):
        for container in part.containers():
            assert re.search(r"(:(?!latest$)[\w.-]+|@sha256:[0-9a-f]{64})$", container["image"]), part.name
            assert container["imagePullPolicy"] == "IfNotPresent", part.name
            assert "memory" in container["resources"]["limits"], part.name
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), part.name


@every_set
def test_selectors_find_their_pods_and_name_nothing_that_changes(values: Path | None) -> None:
    objects = render(values=values)
    for part in parts(objects):
        if part.owner["kind"] not in {"Deployment", "StatefulSet"}:
            continue
        wanted = part.owner["spec"]["selector"]["matchLabels"]
        assert wanted.items() <= part.metadata["labels"].items(), part.name
        assert not {"helm.sh/chart", "app.kubernetes.io/version"} & set(part.metadata["labels"]), part.name
        found = [other.name for other in parts(objects) if wanted.items() <= other.metadata["labels"].items()]
        assert found == [part.name]


@every_set
def test_every_service_finds_pods_and_ports(values: Path | None) -> None:
    objects = render(values=values)
    for name, service in of_kind(objects, "Service").items():
        chosen = [p for p in parts(objects) if service["spec"]["selector"].items() <= p.metadata["labels"].items()]
        assert len(chosen) == 1, name
        ports = {port["name"] for container in chosen[0].containers() for port in container.get("ports", [])}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports, name


@every_set
def test_every_disruption_budget_lets_a_drain_go_on(values: Path | None) -> None:
    objects = render(values=values)
    for name, budget in of_kind(objects, "PodDisruptionBudget").items():
        assert budget["spec"]["maxUnavailable"] == 1, name
        wanted = budget["spec"]["selector"]["matchLabels"]
        assert [p.name for p in parts(objects) if wanted.items() <= p.metadata["labels"].items()] == [
            f"Deployment/{name}"
        ]


def test_names_stay_short_enough_with_the_longest_release_and_class() -> None:
    release = "r" * 32
    sets = ("worker.classes.fourteen-chars.queue=inference",)
    for one in render(*sets, release=release):
        limit = {"StatefulSet": 52, "CronJob": 52, "ScaledObject": 54}.get(one["kind"], 63)
        assert len(one["metadata"]["name"]) <= limit, one["metadata"]["name"]


def test_only_what_cannot_change_is_immutable_between_versions() -> None:
    """A new version may change pods and the names of jobs, but no selector and no volume claim."""

    def fixed(objects: tuple[dict[str, Any], ...]) -> dict[str, Any]:
        claims = {n: s["spec"].get("volumeClaimTemplates") for n, s in of_kind(objects, "StatefulSet").items()}
        selectors = {p.name: p.owner["spec"].get("selector") for p in parts(objects) if p.owner["kind"] != "Job"}
        return {"claims": claims, "selectors": selectors}

    old, new = render(), render("image.api.tag=9.9.9", "image.worker.tag=9.9.9", "podAnnotations.a=b")
    assert fixed(old) == fixed(new)
    assert not set(of_kind(old, "Job")) & set(of_kind(new, "Job"))


def test_a_job_of_the_same_name_has_the_same_template() -> None:
    changed = ("api.replicas=3", "networkPolicy.enabled=false", "worker.defaults.maxReplicas=9", "commonLabels.a=b")
    for change in changed:
        old, new = of_kind(render(), "Job"), of_kind(render(change), "Job")
        for name in set(old) & set(new):
            assert old[name]["spec"] == new[name]["spec"], change
