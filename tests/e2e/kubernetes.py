"""The cluster of the current KUBECONFIG, used through ``kubectl`` and ``helm``."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.acceptance.harness import eventually
from tools.services.private import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "placerank"
RELEASE = "placerank"
NAMESPACE = "placerank-e2e"
#: Enough for image pulls, the first start of a database, and loading torch on a small node.
READY_S = 600


class CommandFailed(AssertionError):
    """``kubectl`` or ``helm`` failed; the message is its output."""


def run(*command: str, given: str | None = None, timeout_s: float = READY_S + 60) -> str:
    """Runs a command and returns its output; raises ``CommandFailed``."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode:
        raise CommandFailed(f"{' '.join(command[:6])} … ended with {done.returncode}:\n{done.stderr}{done.stdout}")
    return done.stdout


@dataclass(frozen=True)
class Images:
    """The tags of the images: the one to install, and the one to upgrade to."""

    tag: str
    next_tag: str
    registry: str

    @classmethod
    def from_environment(cls) -> Images:
        """From the variables ``TAG``, ``NEXT_TAG`` and ``REGISTRY``."""
        tag = os.environ.get("TAG") or "dev"
        return cls(tag, os.environ.get("NEXT_TAG") or f"{tag}-next", os.environ.get("REGISTRY", ""))

    def values(self, tag: str | None = None) -> list[str]:
        """Options for helm."""
        tag = tag or self.tag
        return [
            *("--set-string", f"image.registry={self.registry}"),
            *("--set-string", f"image.api.tag={tag}"),
            *("--set-string", f"image.worker.tag={tag}"),
        ]


class Namespace:
    """A namespace, and the release in it."""

    def __init__(self, name: str, images: Images) -> None:
        self.name = name
        self.images = images

    def kubectl(self, *arguments: str, given: str | None = None, timeout_s: float = READY_S) -> str:
        return run("kubectl", "--namespace", self.name, *arguments, given=given, timeout_s=timeout_s)

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "--output", "json"))

    def apply(self, *objects: dict[str, Any]) -> None:
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "--filename", "-", given=json.dumps(listed))

    def helm(self, *arguments: str) -> str:
        return run("helm", "--namespace", self.name, *arguments)

    def upgrade(self, *options: str, tag: str | None = None, wait: bool = True) -> None:
        """Install or upgrade the release; values that are not given are the defaults of the chart."""
        waiting = ["--wait", f"--timeout={READY_S}s"] if wait else []
        self.helm("upgrade", "--install", RELEASE, str(CHART), *self.images.values(tag), *waiting, *options)

    def create(self) -> None:
        """Create the namespace with Pod Security ``restricted``."""
        label = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name, "labels": label}})

    def delete(self) -> None:
        run("kubectl", "delete", "namespace", self.name, "--ignore-not-found", f"--timeout={READY_S}s")

    def pods(self, selector: str) -> list[dict[str, Any]]:
        """The pods that are not terminating."""
        found = self.get("pods", "--selector", selector)["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def pod(self, selector: str) -> str:
        """The name of a running pod."""
        running = [pod for pod in self.pods(selector) if pod["status"]["phase"] == "Running"]
        assert running, f"no running pod has the labels {selector}"
        return str(running[0]["metadata"]["name"])

    def rows(self, query: str) -> list[list[str]]:
        """The rows that a query finds, as text; psql runs in the pod of PostgreSQL."""
        ask = 'exec psql --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --csv --tuples-only --quiet --file -'
        printed = self.kubectl("exec", "--stdin", self.pod(POSTGRESQL), "--", "sh", "-c", ask, given=query)
        return list(csv.reader(io.StringIO(printed)))

    def value(self, query: str) -> str:
        ((found,),) = self.rows(query)
        return found

    def replicas(self, deployment: str) -> tuple[int, int]:
        """The wanted and the ready number of pods of a Deployment."""
        found = self.get("deployment", deployment)
        return int(found["spec"].get("replicas", 0)), int(found["status"].get("readyReplicas", 0))

    def secret(self, name: str) -> dict[str, str]:
        data = self.get("secret", name)["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def messages(self, queue: str) -> int:
        """How many messages the broker counts in a queue, unacknowledged ones included."""
        listed = self.kubectl(
            *("exec", self.pod(RABBITMQ), "--", "rabbitmqctl", "--quiet", "list_queues", "--vhost", "placerank"),
            *("name", "messages", "--formatter", "json"),
        )
        return int({row["name"]: row["messages"] for row in json.loads(listed)}[queue])

    def url(self) -> str:
        """The address of the API's Service; set ``E2E_URL`` where it is not reachable from this machine."""
        if url := os.environ.get("E2E_URL"):
            return url
        service = self.get("service", f"{RELEASE}-api")["spec"]
        return f"http://{service['clusterIP']}:{service['ports'][0]['port']}"

    @contextmanager
    def port_forward(self, target: str, port: int) -> Iterator[str]:
        """A port forward to the target inside the context; gives its address on this machine."""
        local = free_port()
        command = ["kubectl", "--namespace", self.name, "port-forward", target, f"{local}:{port}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            try:
                assert process.stdout is not None
                assert "Forwarding" in process.stdout.readline()
                yield f"http://127.0.0.1:{local}"
            finally:
                process.terminate()


POSTGRESQL = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/name=postgresql"
RABBITMQ = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/name=rabbitmq"
REDIS = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/name=redis"
API = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component=api"
WORKER = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component=worker,placerank.io/class=cpu"
WORKERS = f"{RELEASE}-worker-cpu"
INFERENCE = "placerank.inference"
DEAD_LETTERS = "placerank.dead-letters"


class Watch:
    """Samples the wanted and the ready number of workers inside the context."""

    def __init__(self, namespace: Namespace, deployment: str = WORKERS, every_s: float = 1.0) -> None:
        self._namespace = namespace
        self._deployment = deployment
        self._every_s = every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.began = time.monotonic()
        #: (seconds since the start, wanted, ready)
        self.samples: list[tuple[float, int, int]] = []

    def __enter__(self) -> Watch:
        self.began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def most_ready(self) -> int:
        return max((ready for _, _, ready in self.samples), default=0)

    def first_s(self, ready: int) -> float | None:
        """Seconds from the start until this many were ready for the first time; none if they never were."""
        return next((at for at, _, found in self.samples if found >= ready), None)

    def fewest_since(self, at_s: float) -> int:
        """The smallest wanted number after a time."""
        return min(wanted for at, wanted, _ in self.samples if at >= at_s)

    def _watch(self) -> None:
        while not self._ended.is_set():
            try:
                wanted, ready = self._namespace.replicas(self._deployment)
            except CommandFailed:
                continue
            self.samples.append((time.monotonic() - self.began, wanted, ready))
            self._ended.wait(self._every_s)


def settled(namespace: Namespace, deployment: str, wanted: int, within_s: float = READY_S) -> None:
    """Wait until a Deployment has exactly this many pods, all ready. Terminating pods count: they may still work."""

    def just_so_many() -> bool:
        labels = namespace.get("deployment", deployment)["spec"]["selector"]["matchLabels"]
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        pods = namespace.get("pods", "--selector", selector)["items"]
        return namespace.replicas(deployment) == (wanted, wanted) and len(pods) == wanted

    eventually(just_so_many, within_s, every_s=1.0)
