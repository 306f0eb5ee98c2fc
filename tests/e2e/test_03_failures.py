"""Failures under load: every accepted inference still finishes."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.harness import eventually
from tests.e2e.conftest import SLOW, VALUES
from tests.e2e.kubernetes import API, RABBITMQ, RELEASE, WORKER, WORKERS, Namespace, Watch, settled
from tests.e2e.load import Stream, burst
from tests.e2e.test_02_scaling import backlog, everything_done_once
from tests.ledger import Ledger

if TYPE_CHECKING:
    from typing import Any

    from tests.e2e.report import Report

BURST = 5_000
UNREACHABLE_S = 120


@pytest.fixture(scope="module")
def release(namespace: Namespace) -> Namespace:
    namespace.upgrade(*VALUES)
    settled(namespace, WORKERS, 1)
    return namespace


def restarts(release: Namespace, selector: str) -> int:
    return sum(one["restartCount"] for pod in release.pods(selector) for one in pod["status"]["containerStatuses"])


def test_with_its_pod_deleted_the_broker_loses_nothing_and_workers_are_back_in_a_minute(
    release: Namespace, report: Report
) -> None:
    told = burst(release.url(), BURST)
    with Stream(release.url(), travellers=4) as stream:
        done = int(release.value("SELECT count(*) FROM inferences WHERE finished_at IS NOT NULL"))
        began = time.monotonic()
        release.kubectl("delete", "pod", release.pod(RABBITMQ), "--wait=true")
        gone_s = time.monotonic() - began
        # A connection alone proves nothing: inferences must finish that were not yet prefetched before the failure.
        release.kubectl("rollout", "status", f"statefulset/{RELEASE}-rabbitmq", "--timeout=300s")
        back_s = time.monotonic() - began
        finished = "SELECT count(*) FROM inferences WHERE finished_at > now() - interval '2 seconds'"
        eventually(lambda: int(release.value(finished)) > 0, 120, every_s=0.5)
        working_s = time.monotonic() - began
        eventually(lambda: len(stream.accepted) > 20, 60)
    assert not stream.failures, stream.failures[:3]
    told.include(stream)
    counts = everything_done_once(release, told)
    assert int(release.value("SELECT count(*) FROM inferences WHERE finished_at IS NOT NULL")) > done
    assert working_s - gone_s < 60
    assert restarts(release, WORKER) == restarts(release, API) == 0
    report.add(
        "RabbitMQ's pod deleted in mid-load",
        **counts,
        pod_gone_after_s=round(gone_s, 1),
        pod_ready_after_s=round(back_s, 1),
        workers_finish_again_after_s=round(working_s, 1),
    )


def test_while_the_management_api_is_unreachable_workers_stay(release: Namespace, report: Report) -> None:
    release.upgrade(*SLOW, "--set", "worker.classes.cpu.minReplicas=0", "--set", "worker.classes.cpu.targetBacklog=50")
    with ThreadPoolExecutor(1) as pool:
        bursting = pool.submit(burst, release.url(), 3 * BURST)
        eventually(lambda: release.replicas(WORKERS)[1] >= 2, 180, every_s=1)
        management(release, "stop")
        try:
            eventually(lambda: any_fallback(release), 90, every_s=2)
            with Watch(release) as watch:
                before = release.replicas(WORKERS)[0]
                eventually(
                    lambda: watch.samples and watch.samples[-1][0] > UNREACHABLE_S, UNREACHABLE_S + 60, every_s=2
                )
            fewest = watch.fewest_since(0)
        finally:
            management(release, "start")
    counts = everything_done_once(release, bursting.result())
    settled(release, WORKERS, 0)
    report.add(
        f"Management API unreachable for {UNREACHABLE_S} s",
        **counts,
        workers_before=before,
        fewest_workers_meanwhile=fewest,
        workers_after_it_is_back="0",
    )
    assert fewest >= before >= 1


def management(release: Namespace, action: str) -> None:
    """Stop or start only the broker's management API. A network policy is not enough: open connections would stay."""
    command = f"application:{action}(rabbitmq_management)."
    release.kubectl("exec", release.pod(RABBITMQ), "--", "rabbitmqctl", "eval", command)


def any_fallback(release: Namespace) -> bool:
    """Whether KEDA reports that it uses the fallback."""
    found = release.get("scaledobject", WORKERS)["status"].get("conditions", [])
    return any(one["type"] == "Fallback" and one["status"] == "True" for one in found)


def kill(release: Namespace, pod: str) -> None:
    """End a pod at once, as a failing node does."""
    release.kubectl("delete", "pod", pod, "--grace-period=0", "--force", "--wait=false")


def evict(release: Namespace, pod: str) -> None:
    """End a pod through the Eviction API, as ``kubectl drain`` does."""
    metadata = {"name": pod, "namespace": release.name}
    body: dict[str, Any] = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    path = f"/api/v1/namespaces/{release.name}/pods/{pod}/eviction"
    release.kubectl("create", "--raw", path, "--filename", "-", given=json.dumps(body))


@pytest.mark.parametrize("end", [kill, evict])
def test_a_worker_that_is_ended_in_mid_batch_loses_nothing(release: Namespace, report: Report, end: Any) -> None:
    # A slow worker, so that it surely has prefetched messages.
    release.upgrade(*SLOW, "--set", "worker.classes.cpu.minReplicas=1,worker.classes.cpu.maxReplicas=1")
    settled(release, WORKERS, 1)
    told = Ledger()
    waiting = backlog(release, told)
    end(release, release.pod(WORKER))
    counts = everything_done_once(release, told)
    settled(release, WORKERS, 1)
    report.add(f"A worker ended in mid-batch ({end.__name__})", **counts, backlog=waiting)


def test_a_rollout_of_the_api_fails_no_request(release: Namespace, report: Report) -> None:
    with Stream(release.url()) as told:
        for _ in range(2):
            before = len(told.accepted)
            release.kubectl("rollout", "restart", f"deployment/{RELEASE}-api")
            release.kubectl("rollout", "status", f"deployment/{RELEASE}-api", "--timeout=300s")
            eventually(lambda: len(told.accepted) > before + 20, 60)  # noqa: B023
    counts = everything_done_once(release, told)
    report.add("API rolled out twice under load", **counts, failed_requests=len(told.failures))
