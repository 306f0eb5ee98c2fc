"""A thread that ends without being told to is reported and starts again; one that is told to ends quietly."""

from __future__ import annotations

import itertools
import logging
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from placerank.supervision.intensity import Intensity
from placerank.supervision.threads import Background, SupervisedThread
from placerank.telemetry.metrics import PART_FAILURES

if TYPE_CHECKING:
    from collections.abc import Callable

_numbers = itertools.count()
AT_ONCE = Intensity(pauses_s=(0.0,))


class Part:
    """Ends in one of ``ways`` at each run; after the last one it runs until it is told to end."""

    def __init__(self, *ways: Callable[[], object], intensity: Intensity = AT_ONCE) -> None:
        self.name = f"thread {next(_numbers)}"
        self.runs = 0
        self.sentences: list[str] = []
        self.lasting, self.told, self.given_up = threading.Event(), threading.Event(), threading.Event()
        self._ways = list(ways)
        self.thread = SupervisedThread(
            self.name, self._run, end=self.told.set, intensity=intensity, escalate=self._escalate
        )

    @property
    def failures(self) -> float:
        return float(PART_FAILURES.labels(self.name)._value.get())

    def _run(self) -> None:
        self.runs += 1
        if self._ways:
            self._ways.pop(0)()
            return
        self.lasting.set()
        self.told.wait()

    def _escalate(self, sentence: str) -> None:
        self.sentences.append(sentence)
        self.given_up.set()


def raises() -> None:
    raise ValueError("it broke")


def returns() -> None:
    """As if there were nothing to do."""


def exits() -> None:
    sys.exit(0)


@pytest.mark.parametrize("way", [raises, returns, exits])
def test_whatever_ends_it_is_logged_once_and_it_starts_again(
    way: Callable[[], object], caplog: pytest.LogCaptureFixture
) -> None:
    part = Part(way)
    assert part.failures == 0
    part.thread.start()
    assert part.lasting.wait(5)
    assert (part.runs, part.failures) == (2, 1)
    (record,) = [one for one in caplog.records if part.name in one.getMessage() and one.levelno >= logging.ERROR]
    assert record.exc_info
    assert part.thread.stop(5)
    assert (part.runs, part.failures, part.sentences) == (2, 1, [])


def test_told_to_end_it_ends_quietly(caplog: pytest.LogCaptureFixture) -> None:
    part = Part()
    part.thread.start()
    assert part.lasting.wait(5)
    assert part.thread.stop(5)
    assert part.thread.stop(5)
    assert (part.runs, part.failures) == (1, 0)
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_an_error_while_it_ends_is_no_failure() -> None:
    def ends_badly() -> None:
        part.lasting.set()
        part.told.wait()
        raises()

    part = Part(ends_badly)
    part.thread.start()
    assert part.lasting.wait(5)
    assert part.thread.stop(5)
    assert (part.runs, part.failures) == (1, 0)


def test_it_can_be_told_to_end_while_it_pauses() -> None:
    failed = threading.Event()

    def fails() -> None:
        failed.set()
        raises()

    part = Part(fails, intensity=Intensity(pauses_s=(3600.0,)))
    part.thread.start()
    assert failed.wait(5)
    assert part.thread.stop(5)
    assert part.runs == 1


def test_one_that_keeps_failing_ends_the_process_with_a_sentence() -> None:
    part = Part(*[raises] * 9)
    part.thread.start()
    assert part.given_up.wait(5)
    assert part.thread.stop(5)
    assert (part.runs, part.failures) == (5, 5)
    assert part.sentences == [
        f"{part.name} failed 5 times within 60 s, so this process ends: ValueError; the log has its traceback."
    ]


def test_one_that_was_never_started_can_be_stopped() -> None:
    assert Part().thread.stop(5)


def test_the_error_of_work_in_the_background_is_raised_where_it_is_waited_for() -> None:
    with pytest.raises(ValueError, match="it broke"):
        Background("work", raises).wait()
    done = threading.Event()
    Background("work", done.set).wait()
    assert done.is_set()
