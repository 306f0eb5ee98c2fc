"""The backlog limit: the count is fresh enough, and requests rarely wait for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from placerank.api import backlog
from placerank.api.backlog import Backlog
from placerank.errors import DatabaseUnavailable, Overloaded


@dataclass
class Inferences:
    """A repository whose count can be slow or fail."""

    count: int = 0
    asked: int = 0
    away: bool = False
    free: asyncio.Event = field(default_factory=asyncio.Event)

    async def backlog(self, limit: int) -> int:
        self.asked += 1
        await self.free.wait()
        if self.away:
            raise DatabaseUnavailable("away")
        return min(self.count, limit)


@pytest.fixture
def inferences() -> Inferences:
    found = Inferences()
    found.free.set()
    return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    # Replaced only in ``backlog``: the event loop uses ``time.monotonic`` too.
    monkeypatch.setattr(backlog, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


@pytest.fixture
def full_at_three(inferences: Inferences, clock: list[float]) -> Backlog:
    return Backlog(inferences, 3)  # type: ignore[arg-type]  # a twin of what is used of it


async def test_the_limit_is_the_limit(full_at_three: Backlog, inferences: Inferences, clock: list[float]) -> None:
    inferences.count = 2
    await full_at_three.check()
    inferences.count = 3
    clock[0] += 1
    with pytest.raises(Overloaded, match="3 inferences are unfinished"):
        await full_at_three.check()


async def test_a_fresh_count_is_used_again(full_at_three: Backlog, inferences: Inferences, clock: list[float]) -> None:
    for _ in range(5):
        await full_at_three.check()
        clock[0] += 0.02
    assert inferences.asked == 1


async def test_an_ageing_count_is_renewed_and_nobody_waits_for_it(
    full_at_three: Backlog, inferences: Inferences, clock: list[float]
) -> None:
    await full_at_three.check()
    inferences.free.clear()
    clock[0] += 0.2
    await asyncio.wait_for(full_at_three.check(), 5)
    await asyncio.sleep(0)
    assert inferences.asked == 2


async def test_an_old_count_is_waited_for_by_all_together(
    full_at_three: Backlog, inferences: Inferences, clock: list[float]
) -> None:
    await full_at_three.check()
    inferences.free.clear()
    inferences.count = 3
    clock[0] += 0.3
    waiting = [asyncio.create_task(full_at_three.check()) for _ in range(5)]
    done, _ = await asyncio.wait(waiting, timeout=0.05)
    assert not done
    inferences.free.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [Overloaded] * 5
    assert inferences.asked == 2


async def test_a_renewal_that_fails_is_heard_of_by_those_who_need_it(
    full_at_three: Backlog, inferences: Inferences, clock: list[float]
) -> None:
    await full_at_three.check()
    inferences.away = True
    clock[0] += 0.2
    await full_at_three.check()
    await asyncio.sleep(0.01)
    clock[0] += 0.1
    with pytest.raises(DatabaseUnavailable):
        await full_at_three.check()
