"""The components can reach each other, and the network policies allow exactly these connections."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.chart.rendering import CHART, environment, of_kind, parts, render
from tests.chart.test_objects import every_set

from placerank.config import addresses
from placerank.config.settings import Settings, describe

EXTERNAL = CHART / "ci" / "external-values.yaml"
OURS = {"api", "worker", "relay", "migrate", "demo", "prune", "test"}


def api(objects: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    """The environment variables of the API."""
    return environment(of_kind(objects, "Deployment")["placerank-api"]["spec"]["template"]["spec"]["containers"][0])


def test_addresses_name_the_services_of_the_release() -> None:
    variables, services = api(render()), of_kind(render(), "Service")
    assert variables["DATABASE_URL"] == "postgresql://placerank-postgresql:5432/placerank?sslmode=disable"
    assert variables["CELERY_BROKER_URL"] == "amqp://placerank-rabbitmq:5672/placerank"
    assert variables["CELERY_BACKEND_URL"] == "redis://placerank-redis:6379/0"
    assert {"placerank-postgresql", "placerank-rabbitmq", "placerank-redis"} < set(services)


def test_addresses_of_services_of_ones_own() -> None:
    objects = render(values=EXTERNAL)
    variables = api(objects)
    assert addresses.postgresql(variables["DATABASE_URL"]).startswith("postgresql://db-rw.databases.svc:5432/placerank")
    assert variables["CELERY_BROKER_URL"] == "amqps://broker.messaging.svc:5671/travel%2Fplacerank"
    assert addresses.amqp(variables["CELERY_BROKER_URL"]) == variables["CELERY_BROKER_URL"]
    assert variables["CELERY_BACKEND_URL"] == "rediss://cache.caches.svc:6380/3"
    assert variables["PLACERANK_CACHE__USER"] == {"secretKeyRef": {"name": "placerank-cache", "key": "username"}}
    assert not of_kind(objects, "StatefulSet")
    assert not of_kind(objects, "Secret")
    trigger = of_kind(objects, "ScaledObject")["placerank-worker-cpu"]["spec"]["triggers"][0]["metadata"]
    assert (trigger["host"], trigger["vhostName"]) == ("https://broker.messaging.svc:15671", "travel/placerank")


@every_set
def test_every_variable_is_a_setting(values: Any) -> None:
    known = {variable for variable, _, _ in describe(Settings.model_construct())}
    for part in parts(render(values=values)):
        for container in part.containers():
            for name in environment(container) if "env" in container else ():
                assert not name.startswith("PLACERANK_") or name in known, f"{part.name} {name}"


@every_set
def test_what_waits_and_what_runs_are_the_same_image(values: Any) -> None:
    for part in parts(render(values=values)):
        waiting = [one for one in part.spec.get("initContainers", []) if one["name"] == "wait"]
        component = part.metadata["labels"]["app.kubernetes.io/component"]
        assert bool(waiting) == (component in {"api", "relay", "worker", "demo"}), part.name
        for one in waiting:
            assert one["image"] == part.spec["containers"][0]["image"], part.name
            assert one["args"] == ["wait"]


def test_a_variable_stands_once_and_the_most_special_wins() -> None:
    sets = ("settings.PLACERANK_INFERENCE__ANSWER_SIZE=20", "settings.PLACERANK_WORKER__BATCH_SIZE=32")
    more = ("api.extraEnv[0].name=PLACERANK_INFERENCE__ANSWER_SIZE", "api.extraEnv[0].value=thirty")
    objects = render(*sets, *more)
    for part in parts(objects):
        for container in part.containers():
            names = [one["name"] for one in container.get("env", [])]
            assert len(names) == len(set(names)), part.name
    assert api(objects)["PLACERANK_INFERENCE__ANSWER_SIZE"] == "thirty"
    worker = of_kind(objects, "Deployment")["placerank-worker-cpu"]["spec"]["template"]["spec"]["containers"][0]
    assert environment(worker)["PLACERANK_INFERENCE__ANSWER_SIZE"] == "20"
    assert environment(worker)["PLACERANK_WORKER__BATCH_SIZE"] == "64", "values of the class override settings"


def test_a_plain_job_migrates() -> None:
    (job,) = (one for name, one in of_kind(render(), "Job").items() if "-migrate-" in name)
    assert "annotations" not in job["metadata"], "not every tool waits for hooks"
    assert "ttlSecondsAfterFinished" not in job["spec"], "a tool that syncs would create the job again and again"
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "OnFailure"
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["migrate", "--wait", "300"]


@every_set
def test_everything_is_denied_that_is_not_allowed(values: Any) -> None:
    objects = render(values=values)
    policies = of_kind(objects, "NetworkPolicy")
    if not policies:
        assert values is not None
        assert "networkPolicy: {enabled: false}" in values.read_text()
        return
    deny = policies["placerank-default-deny"]["spec"]
    assert set(deny["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in deny
    assert {port["port"] for rule in deny["egress"] for port in rule["ports"]} == {53}
    for part in parts(objects):
        assert deny["podSelector"]["matchLabels"].items() <= part.metadata["labels"].items(), part.name


def _senders(objects: tuple[dict[str, Any], ...], name: str, port: str) -> tuple[set[str], list[dict[str, str]]]:
    """The components and namespaces from which a policy allows connections to a port."""
    rules = of_kind(objects, "NetworkPolicy")[name]["spec"]["ingress"]
    senders = [one for rule in rules if rule["ports"][0]["port"] == port for one in rule["from"]]
    components = [one["podSelector"]["matchExpressions"][0]["values"] for one in senders if "podSelector" in one]
    spaces = [one["namespaceSelector"]["matchLabels"] for one in senders if "namespaceSelector" in one]
    return {name for names in components for name in names}, spaces


def test_only_those_who_need_a_service_reach_it() -> None:
    objects = render()
    assert _senders(objects, "placerank-postgresql", "postgresql") == (OURS, [])
    assert _senders(objects, "placerank-redis", "redis") == (OURS, [])
    assert _senders(objects, "placerank-rabbitmq", "amqp") == (OURS, [])
    keda = [{"kubernetes.io/metadata.name": "keda"}]
    assert _senders(objects, "placerank-rabbitmq", "management") == ({"relay", "test"}, keda)
    assert _senders(render("autoscaling.mode=hpa"), "placerank-rabbitmq", "management")[1] == []


def test_every_component_of_a_pod_is_known_to_the_policies() -> None:
    found = {
        part.metadata["labels"]["app.kubernetes.io/component"]
        for part in parts(render())
        if part.metadata["labels"]["app.kubernetes.io/name"] == "placerank"
    }
    assert found == OURS


@pytest.mark.parametrize(("values", "port"), [(None, 15672), (EXTERNAL, 15671)])
def test_the_relay_reaches_the_management_api(values: Any, port: int) -> None:
    rules = of_kind(render(values=values), "NetworkPolicy")["placerank-management"]["spec"]["egress"]
    assert [rule["ports"][0]["port"] for rule in rules] == [port]


def test_the_broker_imports_the_queues_of_the_topology() -> None:
    files = of_kind(render("rabbitmq.vhost=trips"), "ConfigMap")["placerank-rabbitmq"]["data"]
    imported = json.loads(files["topology.json"])
    assert {one["vhost"] for kind in imported.values() for one in kind} == {"trips"}
    assert api(render("rabbitmq.vhost=trips"))["CELERY_BROKER_URL"].endswith("/trips")


def test_a_changed_file_of_a_service_restarts_it_and_nothing_else_does() -> None:
    def checksum(*sets: str) -> str:
        pod = of_kind(render(*sets), "StatefulSet")["placerank-rabbitmq"]["spec"]["template"]["metadata"]
        return str(pod["annotations"]["checksum/config"])

    assert checksum() != checksum("rabbitmq.diskFreeLimit=1GB")
    assert checksum() == checksum("image.api.tag=2.0.0", "commonLabels.a=b")


def test_a_new_version_of_placerank_restarts_no_service() -> None:
    old, new = (of_kind(render(*sets), "StatefulSet") for sets in ((), ("image.api.tag=v2", "image.worker.tag=v2")))
    assert old == new
