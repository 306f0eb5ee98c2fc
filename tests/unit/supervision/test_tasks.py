"""A task that ends without being told to is reported and starts again; one that is told to ends quietly."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from typing import TYPE_CHECKING, Any

import pytest

from placerank.errors import PlacerankError
from placerank.supervision.cancellation import told_to_end
from placerank.supervision.intensity import Intensity
from placerank.supervision.tasks import SupervisedTask
from placerank.telemetry.metrics import PART_FAILURES

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_numbers = itertools.count()


class Clock:
    """Time passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


class Part:
    """Ends in one of ``ways`` at each run; after the last one it runs until it is cancelled."""

    def __init__(self, *ways: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.name = f"part {next(_numbers)}"
        self.clock = Clock()
        self.sentences: list[str] = []
        self.runs = 0
        self.lasting = asyncio.Event()
        self.given_up = asyncio.Event()
        self._ways = list(ways)
        self.task = SupervisedTask(
            self.name, self._run, clock=self.clock, sleep=self.clock.sleep, escalate=self._escalate
        )

    @property
    def failures(self) -> float:
        return float(PART_FAILURES.labels(self.name)._value.get())

    async def _run(self) -> None:
        self.runs += 1
        if self._ways:
            await self._ways.pop(0)()
            return
        self.lasting.set()
        await asyncio.Event().wait()

    def _escalate(self, sentence: str) -> None:
        self.sentences.append(sentence)
        self.given_up.set()


async def raises() -> None:
    raise ValueError("it broke")


async def returns() -> None:
    await asyncio.sleep(0)


async def waits_for_what_a_library_cancels() -> None:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def is_cancelled_by_a_library() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("way", "said"),
    [
        (raises, "it broke"),
        (returns, "returned without being told to end"),
        (waits_for_what_a_library_cancels, "CancelledError"),
        (is_cancelled_by_a_library, "CancelledError"),
    ],
)
async def test_whatever_ends_it_is_logged_once_and_it_starts_again(
    way: Callable[[], Coroutine[Any, Any, None]], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    part = Part(way)
    assert part.failures == 0
    part.task.start()
    await asyncio.wait_for(part.lasting.wait(), 5)
    assert (part.runs, part.failures, part.clock.slept) == (2, 1, [0.1])
    (record,) = [one for one in caplog.records if part.name in one.getMessage() and one.levelno >= logging.ERROR]
    assert record.exc_info
    assert said in caplog.text
    assert "Traceback" in caplog.text or way is returns
    await part.task.stop()
    assert part.failures == 1
    assert part.sentences == []


async def test_told_to_end_it_ends_quietly(caplog: pytest.LogCaptureFixture) -> None:
    part = Part()
    part.task.start()
    await part.lasting.wait()
    await part.task.stop()
    await part.task.stop()
    assert (part.runs, part.failures) == (1, 0)
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


async def test_an_error_while_it_ends_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    waiting = asyncio.Event()

    async def breaks_at_the_end() -> None:
        try:
            waiting.set()
            await asyncio.Event().wait()
        finally:
            raise ConnectionError("closed already")

    part = Part(breaks_at_the_end)
    part.task.start()
    await waiting.wait()
    await part.task.stop()
    assert (part.runs, part.failures) == (1, 0)
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


async def test_a_cancellation_that_a_library_swallows_still_ends_it() -> None:
    waiting = asyncio.Event()

    async def swallows() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            waiting.set()
            await asyncio.Event().wait()
        assert told_to_end()
        await asyncio.Event().wait()

    part = Part(swallows)
    part.task.start()
    await waiting.wait()
    await asyncio.wait_for(part.task.stop(), 5)
    assert part.failures == 0


async def test_one_that_keeps_failing_ends_the_process_with_a_sentence() -> None:
    part = Part(*[raises] * 9)
    part.task.start()
    await asyncio.wait_for(part.given_up.wait(), 5)
    assert (part.runs, part.failures) == (5, 5)
    assert part.clock.slept == [0.1, 0.5, 1.0, 2.0]
    (sentence,) = part.sentences
    assert sentence.startswith(f"{part.name} failed 5 times within 60 s, so this process ends: ValueError")
    assert "it broke" not in sentence
    await part.task.stop()
    assert part.runs == 5


async def test_the_sentence_has_the_reason_where_it_is_meant_for_people() -> None:
    async def explains() -> None:
        raise PlacerankError("The folder is full.")

    sentences: list[str] = []
    given_up = asyncio.Event()

    def escalate(sentence: str) -> None:
        sentences.append(sentence)
        given_up.set()

    task = SupervisedTask("explained", explains, intensity=Intensity(restarts=0), escalate=escalate)
    task.start()
    await asyncio.wait_for(given_up.wait(), 5)
    assert sentences == ["explained failed 1 times within 60 s, so this process ends: The folder is full."]


async def test_one_that_fails_now_and_then_goes_on() -> None:
    part = Part()

    async def works_a_while() -> None:
        await part.clock.sleep(20)
        raise ValueError("it broke")

    part._ways = [works_a_while] * 30
    part.task.start()
    await asyncio.wait_for(part.lasting.wait(), 5)
    assert (part.runs, part.failures, part.sentences) == (31, 30, [])
    await part.task.stop()
