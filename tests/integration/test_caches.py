"""All caches behave alike, and an unreachable Redis costs only speed."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from redis import Redis
from tests.integration.support import soon

from placerank.cache.announcement import CHANNEL
from placerank.cache.memory import MemoryCache
from placerank.cache.redis import RedisApiCache, RedisWorkerCache

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tools.services import Services

    from placerank.cache.ports import ApiCache, WorkerCache

TIMEOUT_S = 0.3


@dataclass
class Sides:
    """The API's and the worker's side of a cache, and the task ids that the API's side was woken for."""

    api: ApiCache
    worker: WorkerCache
    heard: list[UUID] = field(default_factory=list)

    def listen(self, task_ids: Sequence[UUID]) -> None:
        self.heard.extend(task_ids)


@asynccontextmanager
async def redis_sides(url: str, *, ttl_s: int = 60) -> AsyncIterator[Sides]:
    worker = RedisWorkerCache(url, ttl_s=ttl_s, timeout_s=TIMEOUT_S)
    sides = Sides(RedisApiCache(url, ttl_s=ttl_s, timeout_s=TIMEOUT_S), worker)
    await sides.api.open(sides.listen)
    try:
        await soon(lambda: sides.api.listening)
        yield sides
    finally:
        await sides.api.close()
        worker.close()


@asynccontextmanager
async def memory_sides() -> AsyncIterator[Sides]:
    both = MemoryCache()
    sides = Sides(both, both)
    await both.open(sides.listen)
    yield sides
    await both.close()


@pytest.fixture(params=["redis", "memory"])
async def sides(request: pytest.FixtureRequest) -> AsyncIterator[Sides]:
    made = redis_sides(request.getfixturevalue("cache_url")) if request.param == "redis" else memory_sides()
    async with made as found:
        yield found


async def test_what_a_worker_stores_is_known_and_announced(sides: Sides) -> None:
    records = {uuid4(): bytes([n]) * 100 for n in range(64)}
    sides.worker.store(records)
    await soon(lambda: len(sides.heard) == len(records))
    assert {*sides.heard} == {*records}
    assert await sides.api.get([*records, uuid4()]) == records


async def test_a_few_records_are_at_hand_when_they_are_announced(sides: Sides) -> None:
    records = {uuid4(): bytes([n + 1]) * 3_000 for n in range(3)}
    assert [sides.api.near(task_id) for task_id in records] == [None] * 3
    sides.worker.store(records)
    await soon(lambda: len(sides.heard) == len(records))
    assert {task_id: sides.api.near(task_id) for task_id in records} == records


async def test_many_records_stay_where_they_are_until_they_are_asked_for(cache_url: str) -> None:
    async with redis_sides(cache_url) as sides:
        records = {uuid4(): bytes([n + 1]) * 3_000 for n in range(20)}
        sides.worker.store(records)
        await soon(lambda: len(sides.heard) == len(records))
        assert [sides.api.near(task_id) for task_id in records] == [None] * 20
        assert await sides.api.get(list(records)) == records
        assert {task_id: sides.api.near(task_id) for task_id in records} == records


async def test_with_more_listeners_less_comes_along(cache_url: str) -> None:
    async with redis_sides(cache_url) as one, redis_sides(cache_url) as other:
        first, second = uuid4(), uuid4()
        one.worker.store({first: b"1"})  # the reply says that two APIs listen
        one.worker.store({second: b"2" * 20_000})
        await soon(lambda: second in other.heard and second in one.heard)
        assert (one.api.near(first), one.api.near(second)) == (b"1", None)
        assert await other.api.get([second]) == {second: b"2" * 20_000}


async def test_a_record_is_bytes_and_comes_back_as_it_is(sides: Sides) -> None:
    task_id = uuid4()
    sides.worker.store({task_id: b'SUCCESS\nv1\n{}\n[{"name":"\xc3\xab\x00"}]'})
    assert await sides.api.get([task_id]) == {task_id: b'SUCCESS\nv1\n{}\n[{"name":"\xc3\xab\x00"}]'}


async def test_what_is_not_known_is_left_out(sides: Sides) -> None:
    assert await sides.api.get([uuid4()]) == {}
    assert await sides.api.get([]) == {}


async def test_the_api_remembers_too_and_wakes_only_where_it_is_told_to(sides: Sides) -> None:
    quiet, loud = uuid4(), uuid4()
    await sides.api.put({quiet: b"1"}, wake=False)
    await sides.api.put({loud: b"2"}, wake=True)
    await soon(lambda: sides.heard)
    assert sides.heard == [loud]
    assert await sides.api.get([quiet, loud]) == {quiet: b"1", loud: b"2"}


async def test_nothing_stored_is_nothing_said(sides: Sides) -> None:
    sides.worker.store({})
    await sides.api.put({}, wake=True)
    await sides.api.forget([])
    last = uuid4()
    sides.worker.store({last: b"1"})
    await soon(lambda: sides.heard)
    assert sides.heard == [last]


async def test_forgotten_is_forgotten(sides: Sides) -> None:
    kept, gone = uuid4(), uuid4()
    sides.worker.store({kept: b"1", gone: b"2"})
    await sides.api.forget([gone, uuid4()])
    assert await sides.api.get([kept, gone]) == {kept: b"1"}


async def test_the_last_record_counts(sides: Sides) -> None:
    task_id = uuid4()
    sides.worker.store({task_id: b"first"})
    sides.worker.store({task_id: b"second"})
    assert await sides.api.get([task_id]) == {task_id: b"second"}


async def test_it_says_that_it_is_there(sides: Sides) -> None:
    assert await sides.api.alive()
    assert sides.api.listening


async def test_many_callers_at_once_share_few_connections(cache_url: str) -> None:
    import asyncio

    async with redis_sides(cache_url) as sides:
        task_ids = [uuid4() for _ in range(300)]
        sides.worker.store(dict.fromkeys(task_ids, b"1"))
        found = await asyncio.gather(*(sides.api.get([task_id]) for task_id in task_ids))
        assert all(len(one) == 1 for one in found)


async def test_records_do_not_stay_for_ever(cache_url: str) -> None:
    async with redis_sides(cache_url, ttl_s=1) as sides:
        task_id = uuid4()
        sides.worker.store({task_id: b"1"})
        assert await sides.api.get([task_id])
        deadline = time.monotonic() + 5
        while await sides.api.get([task_id]):
            assert time.monotonic() < deadline


async def test_every_api_hears_every_worker(cache_url: str) -> None:
    async with redis_sides(cache_url) as one, redis_sides(cache_url) as other:
        first, second = uuid4(), uuid4()
        one.worker.store({first: b"1"})
        other.worker.store({second: b"2"})
        await soon(lambda: {first, second} <= {*one.heard} and {first, second} <= {*other.heard})


async def test_redis_away_raises_nothing_knows_nothing_and_comes_back(services: Services, cache_url: str) -> None:
    if not services.owned("redis"):
        pytest.skip("Redis was not started here")
    async with redis_sides(cache_url) as sides:
        task_id = uuid4()
        services.stop("redis")
        try:
            await soon(lambda: not sides.api.listening)
            begun = time.monotonic()
            for _ in range(50):
                sides.worker.store({task_id: b"1"})
                await sides.api.put({task_id: b"1"}, wake=True)
                assert await sides.api.get([task_id]) == {}
                await sides.api.forget([task_id])
            assert not await sides.api.alive()
            # At most one time-out for each side, not one for each call.
            assert time.monotonic() - begun < 8 * TIMEOUT_S
        finally:
            services.start("redis")
        await soon(lambda: sides.api.listening)
        deadline = time.monotonic() + 10
        while not await sides.api.get([task_id]):
            assert time.monotonic() < deadline
            sides.worker.store({task_id: b"1"})
        await soon(lambda: task_id in sides.heard)
        assert await sides.api.alive()


async def test_a_redis_that_does_not_answer_costs_one_time_out(services: Services, cache_url: str) -> None:
    if not services.owned("redis"):
        pytest.skip("Redis was not started here")
    async with redis_sides(cache_url) as sides:
        services.pause("redis")
        try:
            begun = time.monotonic()
            for _ in range(20):
                assert await sides.api.get([uuid4()]) == {}
                sides.worker.store({uuid4(): b"1"})
            assert time.monotonic() - begun < 6 * TIMEOUT_S
        finally:
            services.resume("redis")
        deadline = time.monotonic() + 10
        while not await sides.api.alive():
            assert time.monotonic() < deadline


async def test_it_opens_while_redis_is_away() -> None:
    cache = RedisApiCache("redis://127.0.0.1:1/0", ttl_s=60, timeout_s=TIMEOUT_S)
    await cache.open(lambda _: None)
    assert not cache.listening
    assert await cache.get([uuid4()]) == {}
    await cache.close()


async def test_nonsense_on_the_channel_is_passed_over(cache_url: str) -> None:
    async with redis_sides(cache_url) as sides:
        with Redis.from_url(cache_url) as other:
            other.publish(CHANNEL, b"hello")
            other.publish(CHANNEL, uuid4().bytes + (9).to_bytes(4) + b"short")
        last = uuid4()
        sides.worker.store({last: b"1"})
        await soon(lambda: sides.heard)
        assert sides.heard == [last]
        assert sides.api.listening


async def test_a_subscription_that_falls_silent_is_noticed(services: Services, cache_url: str) -> None:
    if not services.owned("redis"):
        pytest.skip("Redis was not started here")
    async with redis_sides(cache_url) as sides:
        services.pause("redis")
        try:
            # Twice the longest tolerated silence, and time to notice it.
            await soon(lambda: not sides.api.listening, 20)
        finally:
            services.resume("redis")
        await soon(lambda: sides.api.listening)
