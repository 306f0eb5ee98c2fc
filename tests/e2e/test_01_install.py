"""A release with default values, in a namespace with Pod Security ``restricted``."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.acceptance.harness import eventually
from tests.e2e import kubernetes
from tests.e2e.kubernetes import POSTGRESQL, RABBITMQ, RELEASE, CommandFailed, Namespace
from tests.e2e.load import bodies

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.report import Report

INSTALL = "Install"


@pytest.fixture(scope="module")
def installed(namespace: Namespace, report: Report) -> Namespace:
    began = time.monotonic()
    namespace.upgrade()
    report.add(INSTALL, helm_install_wait_s=round(time.monotonic() - began, 1))
    return namespace


def ready(pod: dict[str, Any]) -> bool:
    conditions = {one["type"]: one["status"] for one in pod["status"].get("conditions", [])}
    return pod["status"]["phase"] == "Succeeded" or conditions.get("Ready") == "True"


def test_every_pod_is_ready_and_none_has_restarted(installed: Namespace) -> None:
    eventually(lambda: all(ready(pod) for pod in installed.get("pods")["items"]), 120, every_s=1)
    pods = installed.get("pods")["items"]
    parts = {pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in pods}
    assert {"api", "worker", "relay"} <= parts
    for pod in pods:
        for container in pod["status"]["containerStatuses"]:
            assert container["restartCount"] == 0, (pod["metadata"]["name"], container)


def test_helm_test_passes(installed: Namespace, report: Report) -> None:
    began = time.monotonic()
    assert "Succeeded" in installed.helm("test", RELEASE, "--logs", "--timeout=180s")
    report.add(INSTALL, helm_test_s=round(time.monotonic() - began, 1))


def test_a_traveller_from_outside_is_answered_through_a_port_forward(installed: Namespace) -> None:
    with installed.port_forward(f"service/{RELEASE}-api", 80) as url, httpx.Client(trust_env=False) as client:
        reply = client.post(f"{url}/inference/start", json=bodies(1)[0], headers={"Prefer": "wait=30"}, timeout=60)
    assert reply.json()["status"] == "SUCCESS", reply.text
    assert len(reply.json()["results"]) == 10


def test_the_broker_has_every_queue_and_policy(installed: Namespace) -> None:
    """Without the definitions, scaling from zero would find no queue, and dead letters would be dropped."""
    logs = installed.kubectl("logs", f"deployment/{RELEASE}-relay", "--container=relay")
    assert "broker: connected" in logs
    assert "import the definitions" not in logs
    policies = json.loads(
        installed.kubectl(
            *("exec", installed.pod(RABBITMQ), "--", "rabbitmqctl", "--quiet", "list_policies"),
            *("--vhost", "placerank", "--formatter", "json"),
        )
    )
    assert {policy["name"] for policy in policies} == {
        "placerank.inference",
        "placerank.training",
        "placerank.dead-letters",
    }


@pytest.fixture(scope="module")
def stranger() -> Iterator[Namespace]:
    """Another namespace of the cluster."""
    found = Namespace(f"{kubernetes.NAMESPACE}-stranger", kubernetes.Images.from_environment())
    found.delete()
    found.create()
    yield found
    found.delete()


def pod(namespace: Namespace, name: str, *command: str) -> None:
    """Start a pod that runs Python from the API's image, allowed by Pod Security ``restricted``."""
    image = namespace.images
    prefix = f"{image.registry}/" if image.registry else ""
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {
        "name": "python",
        "image": f"{prefix}placerank/api:{image.tag}",
        "imagePullPolicy": "IfNotPresent",
        "command": ["/opt/venv/bin/python", *command],
        "securityContext": security,
    }
    namespace.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace.name, "labels": {"app": name}},
            "spec": {
                "containers": [container],
                "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                "terminationGracePeriodSeconds": 0,
            },
        }
    )
    namespace.kubectl("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=120s")


def reaches(namespace: Namespace, host: str, port: int) -> bool:
    """Whether a pod of the other namespace can connect."""
    code = f"import socket; socket.create_connection(({host!r}, {port}), 3).close()"
    try:
        namespace.kubectl("exec", "caller", "--", "/opt/venv/bin/python", "-c", code)
    except CommandFailed:
        return False
    return True


def test_a_stranger_reaches_the_api_and_nothing_else(installed: Namespace, stranger: Namespace, report: Report) -> None:
    pod(stranger, "server", "-m", "http.server", "8000")
    pod(stranger, "caller", "-c", "import time; time.sleep(3600)")
    server = stranger.get("pod", "server")["status"]["podIP"]
    assert reaches(stranger, server, 8000)
    deny = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "deny", "namespace": stranger.name},
        "spec": {"podSelector": {"matchLabels": {"app": "server"}}, "policyTypes": ["Ingress"]},
    }
    stranger.apply(deny)
    try:
        eventually(lambda: not reaches(stranger, server, 8000), 15, every_s=1)
    except AssertionError:
        pytest.skip("this cluster does not enforce NetworkPolicies")
    services = {item["metadata"]["name"]: item["spec"] for item in installed.get("services")["items"]}
    for name, port in (("postgresql", 5432), ("rabbitmq", 5672), ("rabbitmq", 15672), ("redis", 6379)):
        assert not reaches(stranger, services[f"{RELEASE}-{name}"]["clusterIP"], port), (name, port)
    api = services[f"{RELEASE}-api"]
    assert reaches(stranger, api["clusterIP"], api["ports"][0]["port"])
    report.add(INSTALL, network_policies="enforced: a foreign pod reaches the API alone")


@pytest.mark.parametrize("service", ["postgresql", "rabbitmq", "redis"])
def test_a_wrong_password_is_one_line_in_a_pod_that_stays_unready(service: str, installed: Namespace) -> None:
    """A new pod of the API waits and logs the reason. The old pods keep serving, and nothing restarts in a loop."""
    variable = {"postgresql": "DATABASE_URL", "rabbitmq": "CELERY_BROKER_URL", "redis": "CELERY_BACKEND_URL"}[service]
    secret = f"{RELEASE}-{service}"
    right = installed.secret(secret)["password"]
    patch = {"stringData": {"password": "wrong-password"}}
    installed.kubectl("patch", "secret", secret, "--patch", json.dumps(patch))
    try:
        installed.kubectl("rollout", "restart", f"deployment/{RELEASE}-api")

        def waiting() -> str:
            for one in installed.pods(kubernetes.API):
                if one["status"]["phase"] == "Pending":
                    name = one["metadata"]["name"]
                    try:
                        logs = installed.kubectl("logs", name, "--container=wait")
                    except CommandFailed:
                        continue  # the container has not started yet
                    if variable in logs:
                        assert logs.count("Waiting:") == 1, logs
                        assert "wrong-password" not in logs
                        (status,) = installed.get("pod", name)["status"]["initContainerStatuses"]
                        assert status["restartCount"] == 0
                        return str(name)
            return ""

        eventually(waiting, 120, every_s=2)
        assert installed.replicas(f"{RELEASE}-api")[1] >= 2
    finally:
        installed.kubectl("patch", "secret", secret, "--patch", json.dumps({"stringData": {"password": right}}))
        installed.kubectl("rollout", "restart", f"deployment/{RELEASE}-api")
    installed.kubectl("rollout", "status", f"deployment/{RELEASE}-api", "--timeout=300s")


def test_postgresql_keeps_what_it_has_over_a_restart(installed: Namespace) -> None:
    before = installed.value("SELECT count(*) FROM inferences")
    installed.kubectl("delete", "pod", installed.pod(POSTGRESQL), "--wait=true")
    installed.kubectl("rollout", "status", f"statefulset/{RELEASE}-postgresql", "--timeout=300s")
    eventually(lambda: httpx.get(f"{installed.url()}/healthz/ready", trust_env=False).status_code == 200, 60)
    assert installed.value("SELECT count(*) FROM inferences") == before
