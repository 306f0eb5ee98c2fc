"""Workers follow the queue: more of them for a burst, fewer after it, none where none is wanted; nothing is lost."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.harness import eventually
from tests.e2e.conftest import SLOW
from tests.e2e.kubernetes import DEAD_LETTERS, INFERENCE, WORKERS, Namespace, Watch, settled
from tests.e2e.load import Seen, burst

if TYPE_CHECKING:
    from tests.e2e.report import Report

BURST = 20_000
DRAINED_S = 900


@pytest.fixture(scope="module")
def release(namespace: Namespace) -> Namespace:
    namespace.upgrade(*SLOW)
    settled(namespace, WORKERS, 1)
    return namespace


def everything_done_once(release: Namespace, seen: Seen) -> dict[str, int]:
    """Wait until all that was accepted has succeeded, and check that nothing was done twice. Returns counts."""
    assert not seen.failures, seen.failures[:3]
    unfinished = "SELECT count(*) FROM inferences WHERE finished_at IS NULL"
    eventually(lambda: release.value(unfinished) == "0", DRAINED_S, every_s=2)
    rows = release.rows("SELECT id, status, attempts FROM inferences")
    ended = {task_id: (status, int(attempts)) for task_id, status, attempts in rows}
    lost = [task_id for task_id in seen.accepted if ended.get(task_id, ("", 0))[0] != "SUCCESS"]
    assert not lost, f"{len(lost)} of {len(seen.accepted)} were lost: {lost[:3]}"
    assert release.value("SELECT count(*) FROM events WHERE kind = 'result_unused'") == "0"
    # Handed back unstarted, a message runs once more, alone; a second attempt would be one that began and did not end.
    assert max(attempts for _, attempts in ended.values()) <= 1
    assert release.messages(DEAD_LETTERS) == 0
    return {"accepted": len(seen.accepted), "lost": 0, "results_that_nobody_needed": 0}


@pytest.mark.parametrize("fewest", [1, 0])
def test_a_burst_gets_more_workers_and_they_go_again(release: Namespace, report: Report, fewest: int) -> None:
    release.upgrade(*SLOW, "--set", f"worker.classes.cpu.minReplicas={fewest}")
    settled(release, WORKERS, fewest)
    with Watch(release) as watch:
        began = time.monotonic()
        seen = burst(release.url(), BURST)
        taken_s = time.monotonic() - began
        counts = everything_done_once(release, seen)
        drained_s = time.monotonic() - began
        settled(release, WORKERS, fewest)
        settled_s = time.monotonic() - began
    first = watch.first_s(fewest + 1)
    first_result = release.value(
        "SELECT round(extract(epoch FROM min(finished_at) - min(created_at))::numeric, 1) FROM inferences "
        f"WHERE id = ANY('{{{','.join(seen.accepted)}}}')"
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


def backlog(release: Namespace, seen: Seen) -> int:
    """Starts, until more wait than workers hold in hand; returns how many do."""
    for _ in range(20):
        if (waiting := release.messages(INFERENCE)) > BURST // 20:
            return waiting
        more = burst(release.url(), BURST // 10)
        seen.accepted += more.accepted
        seen.failures += more.failures
    raise AssertionError("workers are as quick as starts are taken: no backlog came about")


def test_ten_rolling_restarts_under_a_backlog_lose_nothing(release: Namespace, report: Report) -> None:
    # One worker only: three keep up with whatever takes the starts, and nothing would wait.
    release.upgrade(*SLOW, "--set", "worker.classes.cpu.minReplicas=1,worker.classes.cpu.maxReplicas=1")
    settled(release, WORKERS, 1)
    began, seen, restarted_with = time.monotonic(), Seen(), []
    for _ in range(10):
        restarted_with.append(backlog(release, seen))
        release.kubectl("rollout", "restart", f"deployment/{WORKERS}")
        release.kubectl("rollout", "status", f"deployment/{WORKERS}", "--timeout=300s")
    counts = everything_done_once(release, seen)
    report.add(
        "Ten rolling restarts of the workers under a backlog",
        **counts,
        starts=len(seen.accepted),
        smallest_backlog_at_a_restart=min(restarted_with),
        run_again_alone=int(release.value("SELECT count(*) FROM inferences WHERE attempts > 0")),
        took_s=round(time.monotonic() - began, 1),
    )
