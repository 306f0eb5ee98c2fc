"""Single calls become batches; one bad item fails alone; a hung batch shows."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from placerank.worker.batcher import MicroBatcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


def eventually(condition: Callable[[], bool], within_s: float = 5) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


class Batches:
    """Records batches. The item "hold" waits for the gate, "bad" always raises, "shy" raises if it is not alone."""

    def __init__(self) -> None:
        self.seen: list[list[str]] = []
        self.gate = threading.Event()
        self.threads: set[int] = set()

    def run(self, items: Sequence[str]) -> list[str]:
        self.seen.append(list(items))
        self.threads.add(threading.get_ident())
        if "hold" in items:
            self.gate.wait(10)
        if "bad" in items or ("shy" in items and len(items) > 1):
            raise ValueError(f"cannot run {len(items)}")
        return [item.upper() for item in items]


@pytest.fixture
def batches() -> Iterator[Batches]:
    made = Batches()
    yield made
    made.gate.set()


@pytest.fixture
def batcher(batches: Batches) -> Iterator[MicroBatcher[str, str]]:
    made = MicroBatcher(batches.run, most=8)
    made.start()
    yield made
    batches.gate.set()
    made.stop()


def hold(batcher: MicroBatcher[str, str], batches: Batches) -> None:
    batcher.submit("hold", alone=True)
    assert eventually(lambda: ["hold"] in batches.seen)


def test_a_lone_item_runs_at_once(batcher: MicroBatcher[str, str], batches: Batches) -> None:
    assert batcher.submit("a").result(1) == "A"
    assert batches.seen == [["a"]]


def test_what_waits_comes_along_up_to_the_limit(batcher: MicroBatcher[str, str], batches: Batches) -> None:
    hold(batcher, batches)
    futures = [batcher.submit(str(n)) for n in range(20)]
    batches.gate.set()
    assert [future.result(1) for future in futures] == [str(n) for n in range(20)]
    assert [len(seen) for seen in batches.seen] == [1, 8, 8, 4]


def test_who_has_to_run_alone_does(batcher: MicroBatcher[str, str], batches: Batches) -> None:
    hold(batcher, batches)
    futures = [batcher.submit(item, alone=item.startswith("x")) for item in ("a", "x1", "b", "x2", "c")]
    batches.gate.set()
    assert [future.result(1) for future in futures] == ["A", "X1", "B", "X2", "C"]
    assert ["x1"] in batches.seen
    assert ["x2"] in batches.seen
    assert sorted(item for seen in batches.seen for item in seen) == ["a", "b", "c", "hold", "x1", "x2"]


def test_one_bad_item_fails_alone(batcher: MicroBatcher[str, str], batches: Batches) -> None:
    hold(batcher, batches)
    futures = {item: batcher.submit(item) for item in ("a", "bad", "c")}
    batches.gate.set()
    assert futures["a"].result(1) == "A"
    assert futures["c"].result(1) == "C"
    with pytest.raises(ValueError, match="cannot run 1"):
        futures["bad"].result(1)
    # First together, then one by one.
    assert batches.seen == [["hold"], ["a", "bad", "c"], ["a"], ["bad"], ["c"]]


def test_a_failure_that_does_not_come_again_fails_nobody(batcher: MicroBatcher[str, str], batches: Batches) -> None:
    hold(batcher, batches)
    futures = [batcher.submit(item) for item in ("a", "shy")]
    batches.gate.set()
    assert [future.result(1) for future in futures] == ["A", "SHY"]


def test_a_lone_item_that_fails_is_not_run_again(batcher: MicroBatcher[str, str], batches: Batches) -> None:
    with pytest.raises(ValueError, match="cannot run 1"):
        batcher.submit("bad").result(1)
    assert batches.seen == [["bad"]]
    assert batcher.submit("a").result(1) == "A"


def test_everything_runs_on_one_thread_prepared_first(batches: Batches) -> None:
    prepared: list[int] = []
    batcher = MicroBatcher(batches.run, most=2, on_start=lambda: prepared.append(threading.get_ident()))
    batcher.start()
    for _ in range(3):
        batcher.submit("a").result(1)
    batcher.stop()
    assert prepared == [*batches.threads]


def test_idle_time_grows_only_while_a_batch_hangs(batcher: MicroBatcher[str, str], batches: Batches) -> None:
    # Waiting for items is not a hang, however long it takes.
    until = time.monotonic() + 0.05
    while time.monotonic() < until:
        assert batcher.idle_s < 0.04
    hold(batcher, batches)
    assert eventually(lambda: batcher.idle_s > 0.05)
    batcher.moved()
    assert batcher.idle_s < 0.05
    batches.gate.set()
    assert eventually(lambda: batcher.idle_s < 0.01)


def test_stopping_finishes_what_was_handed_in(batches: Batches) -> None:
    batcher = MicroBatcher(batches.run, most=8)
    batcher.start()
    hold(batcher, batches)
    futures = [batcher.submit(str(n)) for n in range(20)]
    stopping = threading.Thread(target=batcher.stop)
    stopping.start()
    batches.gate.set()
    stopping.join(5)
    assert not stopping.is_alive()
    assert all(future.done() for future in futures)
    assert [future.result(0) for future in futures] == [str(n) for n in range(20)]


def test_a_caller_who_gives_up_does_no_harm(batcher: MicroBatcher[str, str], batches: Batches) -> None:
    hold(batcher, batches)
    leaving, staying = batcher.submit("a"), batcher.submit("b")
    leaving.cancel()
    batches.gate.set()
    assert staying.result(1) == "B"
    assert batcher.submit("c").result(1) == "C"


def test_answers_too_few_fail_their_callers_and_nothing_hangs(batches: Batches) -> None:
    batcher: MicroBatcher[str, str] = MicroBatcher(lambda items: [], most=8)
    batcher.start()
    with pytest.raises(ValueError):
        batcher.submit("a").result(1)
    with pytest.raises(ValueError):
        batcher.submit("b").result(1)
    batcher.stop()


class Gone(Exception):
    """What callers get whose batch was interrupted."""


class Breaking(Batches):
    """As ``Batches``; the item "exit" ends the thread, as ``sys.exit`` in a library would."""

    def run(self, items: Sequence[str]) -> list[str]:
        results = super().run(items)
        if "exit" in items:
            raise SystemExit(0)
        return results


def breaking(batches: Batches, sentences: list[str]) -> MicroBatcher[str, str]:
    return MicroBatcher(batches.run, most=8, interrupted=lambda: Gone("interrupted"), escalate=sentences.append)


def test_what_ends_the_thread_fails_its_own_batch_and_the_thread_starts_again() -> None:
    batches, sentences = Breaking(), list[str]()
    batcher = breaking(batches, sentences)
    batcher.start()
    hold(batcher, batches)
    ending, alone = [batcher.submit(item) for item in ("a", "exit", "b")], batcher.submit("c", alone=True)
    batches.gate.set()
    for future in (*ending, alone):
        with pytest.raises(Gone):
            future.result(5)
    assert batcher.submit("d").result(5) == "D"
    assert batcher.idle_s < 5
    batcher.stop()
    assert sentences == []


def test_when_the_thread_is_given_up_no_caller_waits_for_ever() -> None:
    batches, sentences = Breaking(), list[str]()
    batcher = breaking(batches, sentences)
    batcher.start()
    for _ in range(5):
        with pytest.raises(Gone):
            batcher.submit("exit").result(5)
    assert eventually(lambda: len(sentences) == 1)
    with pytest.raises(Gone):
        batcher.submit("later").result(5)
    batcher.stop()


def test_an_error_that_is_no_items_fault_is_not_tried_item_by_item(batches: Batches) -> None:
    batcher = MicroBatcher(batches.run, most=8, shared=(ValueError,))
    batcher.start()
    hold(batcher, batches)
    futures = [batcher.submit(item) for item in ("a", "bad", "b")]
    batches.gate.set()
    for future in futures:
        with pytest.raises(ValueError):
            future.result(5)
    assert batches.seen == [["hold"], ["a", "bad", "b"]]
    batcher.stop()


def test_what_is_handed_in_after_the_end_is_refused(batches: Batches) -> None:
    batcher = breaking(batches, [])
    batcher.start()
    batcher.stop()
    with pytest.raises(Gone):
        batcher.submit("late").result(5)
