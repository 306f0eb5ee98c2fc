"""Workers scale with the queue: up for a burst, down after it, to zero if configured; nothing is lost."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.harness import eventually
from tests.e2e.conftest import SLOW
from tests.e2e.kubernetes import DEAD_LETTERS, INFERENCE, WORKERS, Namespace, Watch, settled
from tests.e2e.load import burst
from tests.ledger import Ledger
from tests.verdict import Rules

if TYPE_CHECKING:
    from tests.e2e.report import Report

BURST = 20_000
DRAINED_S = 900


@pytest.fixture(scope="module")
def release(namespace: Namespace) -> Namespace:
    namespace.upgrade(*SLOW)
    settled(namespace, WORKERS, 1)
    return namespace


def drained(release: Namespace) -> None:
    """Wait until nothing is unfinished."""
    unfinished = "SELECT count(*) FROM inferences WHERE finished_at IS NULL"
    eventually(lambda: release.value(unfinished) == "0", DRAINED_S, every_s=2)


def everything_done_once(release: Namespace, told: Ledger) -> dict[str, int]:
    """Wait until nothing is unfinished. All accepted inferences must have succeeded, once, as told. Returns counts."""
    assert not told.failures, told.failures[:3]
    drained(release)
    verdict = told.check(release.rows, Rules(places=10)).demand_none()
    unused = int(release.value("SELECT count(*) FROM events WHERE kind = 'result_unused'"))
    assert unused == 0
    # A message that was handed back runs once more, alone: one attempt. After two, a worker has died in the first.
    assert int(release.value("SELECT max(attempts) FROM inferences")) <= 1
    assert release.messages(DEAD_LETTERS) == 0
    return {"accepted": verdict.accepted, "lost": verdict.counts["lost"], "results_that_nobody_needed": unused}


@pytest.mark.parametrize("fewest", [1, 0])
def test_a_burst_gets_more_workers_and_they_go_again(release: Namespace, report: Report, fewest: int) -> None:
    release.upgrade(*SLOW, "--set", f"worker.classes.cpu.minReplicas={fewest}")
    settled(release, WORKERS, fewest)
    with Watch(release) as watch:
        began = time.monotonic()
        told = burst(release.url(), BURST)
        taken_s = time.monotonic() - began
        drained(release)
        drained_s = time.monotonic() - began
        settled(release, WORKERS, fewest)
        settled_s = time.monotonic() - began
    counts = everything_done_once(release, told)
    first = watch.first_s(fewest + 1)
    first_result = release.value(
        "SELECT round(extract(epoch FROM min(finished_at) - min(created_at))::numeric, 1) FROM inferences "
        f"WHERE id = ANY('{{{','.join(told.accepted)}}}')"
    )
    report.add(
        f"Burst, {fewest} → N → {fewest} workers",
        **counts,
        starts_accepted_in_s=round(taken_s, 1),
        most_workers=watch.most_ready,
        first_extra_worker_ready_s=first and round(first, 1),
        first_result_s=float(first_result),
        all_results_after_s=round(drained_s, 1),
        back_to_the_fewest_after_s=round(settled_s, 1),
    )
    assert watch.most_ready > max(1, fewest)


def backlog(release: Namespace, told: Ledger) -> int:
    """Send starts until more messages wait than workers prefetch; returns the number of messages."""
    for _ in range(20):
        if (waiting := release.messages(INFERENCE)) > BURST // 20:
            return waiting
        told.include(burst(release.url(), BURST // 10))
    raise AssertionError("no backlog: the workers are as fast as the API accepts starts")


def test_ten_rolling_restarts_under_a_backlog_lose_nothing(release: Namespace, report: Report) -> None:
    # One worker only: three are as fast as the API accepts starts, and there would be no backlog.
    release.upgrade(*SLOW, "--set", "worker.classes.cpu.minReplicas=1,worker.classes.cpu.maxReplicas=1")
    settled(release, WORKERS, 1)
    began, told, restarted_with = time.monotonic(), Ledger(), []
    for _ in range(10):
        restarted_with.append(backlog(release, told))
        release.kubectl("rollout", "restart", f"deployment/{WORKERS}")
        release.kubectl("rollout", "status", f"deployment/{WORKERS}", "--timeout=300s")
    drained(release)
    took_s = time.monotonic() - began
    counts = everything_done_once(release, told)
    report.add(
        "Ten rolling restarts of the workers under a backlog",
        **counts,
        starts=len(told.accepted),
        smallest_backlog_at_a_restart=min(restarted_with),
        run_again_alone=int(release.value("SELECT count(*) FROM inferences WHERE attempts > 0")),
        took_s=round(took_s, 1),
    )
