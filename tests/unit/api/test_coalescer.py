"""Calls that arrive together share one flight, and no call is harmed by another."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from placerank.api.coalescer import Coalescer
from placerank.errors import DatabaseUnavailable, Overloaded, ServiceUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence


class Trip:
    """A batch function that records the items of each flight, and waits while its gate is closed."""

    def __init__(self) -> None:
        self.flights: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def run(self, items: Sequence[int]) -> list[int]:
        self.flights.append(list(items))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return [item * 10 for item in items]


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_lone_call_leaves_at_once() -> None:
    trip = Trip()
    assert await asyncio.wait_for(Coalescer(trip.run).submit(1), 1) == 10
    assert trip.flights == [[1]]


async def test_what_arrives_in_one_turn_shares_one_flight() -> None:
    trip = Trip()
    together = Coalescer(trip.run)
    assert await asyncio.gather(*(together.submit(n) for n in range(50))) == [n * 10 for n in range(50)]
    assert len(trip.flights) <= 2
    assert sorted(n for flight in trip.flights for n in flight) == list(range(50))


async def test_who_comes_while_all_flights_are_under_way_leaves_together() -> None:
    trip = Trip()
    together = Coalescer(trip.run, flights=1)
    trip.gate.clear()
    first = asyncio.create_task(together.submit(0))
    await turns()
    crowd = [asyncio.create_task(together.submit(n)) for n in range(1, 20)]
    await turns()
    assert trip.flights == [[0]]
    trip.gate.set()
    assert await asyncio.gather(first, *crowd) == [n * 10 for n in range(20)]
    assert trip.flights == [[0], list(range(1, 20))]


async def test_a_second_flight_does_not_wait_for_the_first() -> None:
    trip = Trip()
    together = Coalescer(trip.run, flights=2)
    trip.gate.clear()
    first = asyncio.create_task(together.submit(1))
    await turns()
    second = asyncio.create_task(together.submit(2))
    await turns()
    assert trip.flights == [[1], [2]]
    trip.gate.set()
    assert [await first, await second] == [10, 20]


async def test_a_flight_takes_no_more_than_it_may() -> None:
    trip = Trip()
    together = Coalescer(trip.run, most=8)
    await asyncio.gather(*(together.submit(n) for n in range(50)))
    assert max(len(flight) for flight in trip.flights) == 8


async def test_equal_keys_never_share_a_flight_and_all_are_served_in_order() -> None:
    trip = Trip()
    together = Coalescer(trip.run, flights=1, key=lambda item: item % 3 or None)
    items = [1, 4, 2, 7, 5, 3, 6, 9]
    assert await asyncio.gather(*(together.submit(n) for n in items)) == [n * 10 for n in items]
    for flight in trip.flights:
        keyed = [n % 3 for n in flight if n % 3]
        assert len(set(keyed)) == len(keyed)
    assert [n for flight in trip.flights for n in flight if n % 3 == 1] == [1, 4, 7]
    # Items without a key can share a flight.
    assert {3, 6, 9} <= set(trip.flights[0])


async def test_an_error_reaches_every_caller_of_its_flight_and_no_other() -> None:
    trip = Trip()
    together = Coalescer(trip.run, flights=1)
    trip.error = ValueError("no luck")
    failed = await asyncio.gather(*(together.submit(n) for n in range(5)), return_exceptions=True)
    assert [str(error) for error in failed] == ["no luck"] * 5
    trip.error = None
    assert await together.submit(6) == 60


async def test_those_who_waited_behind_a_failure_are_served() -> None:
    gate = asyncio.Event()

    async def run(items: Sequence[int]) -> list[int]:
        await gate.wait()
        return [10 // item for item in items]

    together = Coalescer(run, flights=1)
    first = asyncio.create_task(together.submit(0))
    await turns()
    second = asyncio.create_task(together.submit(2))
    await turns()
    gate.set()
    with pytest.raises(ZeroDivisionError):
        await first
    assert await asyncio.wait_for(second, 1) == 5


async def test_too_many_who_wait_are_refused_at_once() -> None:
    trip = Trip()
    together = Coalescer(trip.run, flights=1, waiting=3)
    trip.gate.clear()
    first = asyncio.create_task(together.submit(0))
    await turns()
    waiting = [asyncio.create_task(together.submit(n)) for n in (1, 2, 3)]
    await turns()
    with pytest.raises(Overloaded):
        await together.submit(4)
    trip.gate.set()
    assert await asyncio.gather(first, *waiting) == [0, 10, 20, 30]
    assert await together.submit(5) == 50


async def test_a_caller_who_leaves_does_no_harm() -> None:
    trip = Trip()
    together = Coalescer(trip.run, flights=1)
    trip.gate.clear()
    flying = [asyncio.create_task(together.submit(n)) for n in (1, 2)]
    await turns()
    waiting = [asyncio.create_task(together.submit(n)) for n in (3, 4)]
    await turns()
    flying[0].cancel()
    waiting[0].cancel()
    await turns()
    trip.gate.set()
    assert [await asyncio.wait_for(one, 1) for one in (flying[1], waiting[1])] == [20, 40]
    assert await asyncio.wait_for(together.submit(5), 1) == 50


async def test_a_caller_who_leaves_before_an_error_does_no_harm() -> None:
    trip = Trip()
    together = Coalescer(trip.run, flights=1)
    trip.gate.clear()
    trip.error = ValueError("no luck")
    leaving, staying = (asyncio.create_task(together.submit(n)) for n in (1, 2))
    await turns()
    leaving.cancel()
    trip.gate.set()
    with pytest.raises(ValueError, match="no luck"):
        await staying
    trip.error = None
    assert await together.submit(3) == 30


async def test_a_result_too_few_is_an_error_and_not_a_hang() -> None:
    async def short(items: Sequence[int]) -> list[int]:
        return [item * 10 for item in items][1:]

    together = Coalescer(short, flights=1)
    for _ in range(2):
        with pytest.raises(ValueError):
            await asyncio.wait_for(together.submit(1), 1)


async def test_a_database_that_is_away_is_told_to_all_who_wait_at_once() -> None:
    trip = Trip()
    together = Coalescer(trip.run, flights=1, most=4)
    trip.gate.clear()
    trip.error = DatabaseUnavailable("away")
    calls = [asyncio.create_task(together.submit(n)) for n in range(40)]
    await turns()
    trip.gate.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, DatabaseUnavailable) for outcome in outcomes)
    assert len(trip.flights) == 1


async def test_one_bad_item_fails_alone() -> None:
    async def run(items: Sequence[int]) -> list[int]:
        if 7 in items:
            raise ValueError("seven")
        return list(items)

    together = Coalescer(run, flights=1)
    outcomes = await asyncio.gather(*(together.submit(n) for n in range(20)), return_exceptions=True)
    assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, ValueError)] == [7]
    assert [outcome for outcome in outcomes if outcome != outcomes[7]] == [n for n in range(20) if n != 7]


async def test_a_call_that_a_library_cancels_fails_its_callers_and_nobody_hangs() -> None:
    trip = Trip()
    cancelled = [True]

    async def run(items: Sequence[int]) -> Sequence[int]:
        if cancelled.pop(0) if cancelled else False:
            lost = asyncio.get_running_loop().create_future()
            lost.cancel()
            await lost
        return await trip.run(items)

    together = Coalescer(run, flights=1)
    first = [asyncio.create_task(together.submit(n)) for n in (1, 2)]
    for call in first:
        with pytest.raises(ServiceUnavailable):
            await asyncio.wait_for(call, 1)
    assert await asyncio.wait_for(together.submit(3), 1) == 30
