"""Workers scale with the queue and stop gracefully, and only one controller sets their number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.chart.rendering import CHART, Part, environment, of_kind, parts, render
from tests.chart.test_objects import every_set

if TYPE_CHECKING:
    from pathlib import Path

from placerank.queue import topology


def workers(objects: tuple[dict[str, Any], ...]) -> dict[str, Part]:
    """The pod templates of workers, by the name of their class."""
    labels = "placerank.io/class"
    return {part.metadata["labels"][labels]: part for part in parts(objects) if labels in part.metadata["labels"]}


def test_each_class_is_scaled_by_the_queue_that_it_works_on() -> None:
    names = {queue.name.removeprefix("placerank."): queue.name for queue in topology.WORK_QUEUES}
    scalers = of_kind(render(values=CHART / "ci" / "gpu-values.yaml"), "ScaledObject")
    for name, part in workers(render(values=CHART / "ci" / "gpu-values.yaml")).items():
        _, flag, queue = part.spec["containers"][0]["args"]
        assert flag == "--queue"
        scaler = scalers[f"placerank-worker-{name}"]["spec"]
        assert scaler["scaleTargetRef"] == {"name": part.owner["metadata"]["name"]}
        assert [trigger["metadata"]["queueName"] for trigger in scaler["triggers"]] == [names[queue]]


def test_unacknowledged_work_counts_and_an_ignorant_broker_costs_no_worker() -> None:
    for name, scaler in of_kind(render("worker.classes.cpu.minReplicas=0"), "ScaledObject").items():
        (trigger,) = scaler["spec"]["triggers"]
        metadata = trigger["metadata"]
        assert (metadata["protocol"], metadata["mode"], metadata["excludeUnacknowledged"]) == (
            "http", "QueueLength", "false")  # fmt: skip
        assert metadata["host"] == "http://placerank-rabbitmq.trips.svc:15672", name
        assert metadata["vhostName"] == "placerank"
        assert trigger["authenticationRef"] == {"name": name}
        assert trigger["metricType"] == "AverageValue"  # KEDA supports the fallback only with AverageValue
        assert scaler["spec"]["fallback"] == {
            "failureThreshold": 3,
            "replicas": 1,
            "behavior": "currentReplicasIfHigher",
        }
        behavior = scaler["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
        assert behavior["scaleDown"]["stabilizationWindowSeconds"] > 0


@pytest.mark.parametrize(
    ("worker", "target"),
    [
        ("{}", "1000"),
        ("{classes: {cpu: {acceptableWaitSeconds: 2.5, ratePerReplica: 333}}}", "832"),
        ("{classes: {cpu: {acceptableWaitSeconds: 0.1, ratePerReplica: 1}}}", "1"),
        ("{defaults: {ratePerReplica: 400}}", "2000"),
        ("{classes: {cpu: {targetBacklog: 1000000}}}", "1000000"),
    ],
)
def test_the_target_is_the_acceptable_wait_times_the_rate(worker: str, target: str, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(f"worker: {worker}\n")
    scaler = of_kind(render(values=values), "ScaledObject")["placerank-worker-cpu"]
    assert scaler["spec"]["triggers"][0]["metadata"]["value"] == target


def test_a_class_says_what_it_does_not_share_with_the_others() -> None:
    objects = render(values=CHART / "ci" / "gpu-values.yaml")
    gpu, cpu = workers(objects)["gpu"], workers(objects)["cpu"]
    assert gpu.spec["runtimeClassName"] == "nvidia"
    assert gpu.spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}} in gpu.spec["volumes"]
    assert {"name": "shm", "mountPath": "/dev/shm"} in gpu.spec["containers"][0]["volumeMounts"]
    assert environment(gpu.spec["containers"][0])["PLACERANK_WORKER__DEVICE"] == "cuda"
    assert gpu.owner["spec"]["strategy"] == {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    assert "runtimeClassName" not in cpu.spec
    assert of_kind(objects, "ScaledObject")["placerank-worker-cpu"]["spec"]["minReplicaCount"] == 0


def test_a_number_of_pods_has_one_owner() -> None:
    for mode, owners in {"keda": {"ScaledObject"}, "hpa": {"HorizontalPodAutoscaler"}, "none": set()}.items():
        objects = render(f"autoscaling.mode={mode}", apis=("keda.sh/v1alpha1",) if mode == "keda" else ())
        owned = {
            one["spec"]["scaleTargetRef"]["name"]: one["kind"]
            for one in objects
            if one["kind"] in {"ScaledObject", "HorizontalPodAutoscaler"}
        }
        assert set(owned.values()) == owners
        for name, deployment in of_kind(objects, "Deployment").items():
            assert ("replicas" in deployment["spec"]) != (name in owned), name
        assert bool(of_kind(objects, "TriggerAuthentication")) == (mode == "keda")


@pytest.mark.parametrize("mode", ["hpa", "none"])
def test_without_keda_no_class_sleeps(mode: str) -> None:
    objects = render(f"autoscaling.mode={mode}", "worker.classes.cpu.minReplicas=0", apis=())
    assert of_kind(objects, "Deployment")["placerank-worker-training"]["spec"]["replicas"] == 1
    if mode == "none":
        assert of_kind(objects, "Deployment")["placerank-worker-cpu"]["spec"]["replicas"] == 1
    else:
        assert of_kind(objects, "HorizontalPodAutoscaler")["placerank-worker-cpu"]["spec"]["minReplicas"] == 1


def test_the_api_follows_its_cpu_when_asked_to() -> None:
    objects = render("api.autoscaling.enabled=true")
    assert "replicas" not in of_kind(objects, "Deployment")["placerank-api"]["spec"]
    scaler = of_kind(objects, "HorizontalPodAutoscaler")["placerank-api"]["spec"]
    assert scaler["scaleTargetRef"]["name"] == "placerank-api"


@every_set
def test_workers_are_watched_cheaply_and_stop_gently(values: Any) -> None:
    for name, part in workers(render(values=values)).items():
        container = part.spec["containers"][0]
        heartbeat = environment(container)["PLACERANK_WORKER__HEARTBEAT_FILE"]
        assert "readinessProbe" not in container, name
        for probe in ("startupProbe", "livenessProbe"):
            assert container[probe]["exec"]["command"] == [
                "/opt/venv/bin/python", "-m", "placerank.worker.liveness", heartbeat]  # fmt: skip
        assert part.spec["terminationGracePeriodSeconds"] >= 60
        assert "command" not in container, "the image's exec-form entry point gets the signal"


def test_trainings_never_overlap() -> None:
    assert workers(render())["training"].owner["spec"]["strategy"] == {"type": "Recreate"}
    scaler = of_kind(render(), "ScaledObject")["placerank-worker-training"]["spec"]
    assert (scaler["minReplicaCount"], scaler["maxReplicaCount"]) == (0, 1)


def test_the_api_serves_on_while_it_leaves_its_service() -> None:
    (api,) = (part for part in parts(render()) if part.name == "Deployment/placerank-api")
    container = api.spec["containers"][0]
    assert {"name": "PLACERANK_API__DRAIN_S", "value": "10"} in container["env"]
    assert api.spec["terminationGracePeriodSeconds"] == 45
    assert container["startupProbe"]["httpGet"]["path"] == "/healthz/ready"
    assert container["readinessProbe"]["httpGet"]["path"] == "/healthz/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz/live"
    assert api.owner["spec"]["strategy"] == {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
