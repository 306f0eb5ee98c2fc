"""Looking a task up in memory, then in the cache, then in the database; and waiting for its end."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from placerank.api.tracker import Tracker
from placerank.cache import answers
from placerank.cache.answers import Answer
from placerank.db.inferences import Standing, StoredPlace
from placerank.domain import PLACE_FIELDS, Problem, Status
from placerank.telemetry.metrics import RECORDS_REFUSED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from placerank.cache.ports import Listener

PENDING = Standing(Status.PENDING, None, None, 0)
STORED = StoredPlace(0.5, 1, [1.0] * len(PLACE_FIELDS))
PLACES = answers.render_places([(0.5, answers.render_place(1, STORED.values))])


@dataclass
class Cache:
    """A cache that counts lookups; it may be empty or not listening."""

    listening: bool = True
    records: dict[UUID, bytes] = field(default_factory=dict)
    at_hand: dict[UUID, bytes] = field(default_factory=dict)
    asked: int = 0

    async def open(self, listener: Listener) -> None: ...

    async def close(self) -> None: ...

    def near(self, task_id: UUID) -> bytes | None:
        return self.at_hand.get(task_id)

    async def get(self, task_ids: Sequence[UUID]) -> dict[UUID, bytes]:
        self.asked += 1
        return {task_id: self.records[task_id] for task_id in task_ids if task_id in self.records}

    async def put(self, records: Mapping[UUID, bytes], *, wake: bool) -> None:
        self.records.update(records)

    async def forget(self, task_ids: Sequence[UUID]) -> None:
        for task_id in task_ids:
            self.records.pop(task_id, None)
            self.at_hand.pop(task_id, None)

    async def alive(self) -> bool:
        return True


@dataclass
class Inferences:
    """The two queries of the repository that the tracker needs, answered from memory."""

    standings: dict[UUID, Standing] = field(default_factory=dict)
    asked: int = 0
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    async def standing(self, task_ids: Sequence[UUID]) -> dict[UUID, Standing]:
        self.asked += 1
        self.answered.set()
        return {task_id: self.standings[task_id] for task_id in task_ids if task_id in self.standings}

    async def places(self, task_ids: Sequence[UUID]) -> dict[UUID, list[StoredPlace]]:
        return {task_id: [STORED] for task_id in task_ids}


@pytest.fixture
def cache() -> Cache:
    return Cache()


@pytest.fixture
def inferences() -> Inferences:
    return Inferences()


@pytest.fixture
def tracker(cache: Cache, inferences: Inferences) -> Tracker:
    return Tracker(cache, inferences)  # type: ignore[arg-type]  # a twin of what is used of it


def answer(task_id: UUID) -> Answer:
    return answers.succeeded(str(task_id), "v3", PLACES)


async def test_what_was_just_started_is_pending_without_asking_anyone(
    tracker: Tracker, cache: Cache, inferences: Inferences
) -> None:
    task_id = uuid4()
    tracker.begin(task_id, 1)
    found = await tracker.look(task_id)
    assert isinstance(found, Standing)
    assert found.status is Status.PENDING
    assert cache.asked == inferences.asked == 0


async def test_nothing_is_believed_while_wake_ups_do_not_arrive(
    tracker: Tracker, cache: Cache, inferences: Inferences
) -> None:
    task_id = uuid4()
    cache.listening = False
    tracker.begin(task_id, 1)
    inferences.standings[task_id] = Standing(Status.SUCCESS, "v3", None, 0)
    assert await tracker.look(task_id) == answer(task_id)


async def test_the_end_is_read_from_the_cache_alone(tracker: Tracker, cache: Cache, inferences: Inferences) -> None:
    task_id = uuid4()
    tracker.begin(task_id, 1)
    cache.records[task_id] = answer(task_id).encode()
    tracker.finished([task_id])
    assert await tracker.look(task_id) == answer(task_id)
    assert inferences.asked == 0


async def test_an_answer_at_hand_asks_nobody(tracker: Tracker, cache: Cache, inferences: Inferences) -> None:
    task_id = uuid4()
    tracker.begin(task_id, 1)
    cache.at_hand[task_id] = answer(task_id).encode()
    tracker.finished([task_id])
    assert await tracker.look(task_id) == answer(task_id)
    assert cache.asked == inferences.asked == 0


@pytest.mark.parametrize("near", [True, False])
@pytest.mark.parametrize("record", [b"odd", b"SUCCESS\nv3\n{}\n[]", answer(UUID(int=1)).encode()])
async def test_an_odd_record_is_replaced_by_what_the_database_says(
    tracker: Tracker, cache: Cache, inferences: Inferences, record: bytes, near: bool
) -> None:
    task_id = uuid4()
    (cache.at_hand if near else cache.records)[task_id] = record
    inferences.standings[task_id] = Standing(Status.SUCCESS, "v3", None, 0)
    refused = RECORDS_REFUSED.labels("answer")._value.get()
    for _ in range(3):
        assert await tracker.look(task_id) == answer(task_id)
    assert inferences.asked == 1
    assert RECORDS_REFUSED.labels("answer")._value.get() == refused + 1


async def test_an_unknown_id_is_nothing(tracker: Tracker) -> None:
    assert await tracker.look(uuid4()) is None
    assert await tracker.wait(uuid4(), 5) is None


async def test_without_the_cache_the_database_answers_and_the_cache_learns(
    tracker: Tracker, cache: Cache, inferences: Inferences
) -> None:
    task_id = uuid4()
    inferences.standings[task_id] = Standing(Status.SUCCESS, "v3", None, 0)
    assert await tracker.look(task_id) == answer(task_id)
    assert Answer.decode(cache.records[task_id]) == answer(task_id)
    assert await tracker.look(task_id) == answer(task_id)
    assert inferences.asked == 1


async def test_a_failure_is_an_answer_too(tracker: Tracker, inferences: Inferences) -> None:
    task_id = uuid4()
    problem = Problem("deadline_exceeded", "Too late.")
    inferences.standings[task_id] = Standing(Status.FAILURE, None, problem, 0)
    found = await tracker.look(task_id)
    assert isinstance(found, Answer)
    assert (found.status, found.problem_code) == (Status.FAILURE, "deadline_exceeded")


async def test_a_pending_task_of_another_process_is_not_remembered(
    tracker: Tracker, cache: Cache, inferences: Inferences
) -> None:
    task_id = uuid4()
    inferences.standings[task_id] = Standing(Status.PENDING, None, None, 12)
    found = await tracker.look(task_id)
    assert isinstance(found, Standing)
    assert found.ahead == 12
    assert cache.records == {}


async def test_many_questions_at_once_are_few_trips(tracker: Tracker, cache: Cache, inferences: Inferences) -> None:
    task_ids = [uuid4() for _ in range(200)]
    inferences.standings = dict.fromkeys(task_ids, PENDING)
    found = await asyncio.gather(*(tracker.look(task_id) for task_id in task_ids))
    assert all(isinstance(one, Standing) for one in found)
    assert cache.asked <= 2
    assert inferences.asked <= 4


async def test_everyone_who_waits_is_woken(tracker: Tracker, cache: Cache) -> None:
    task_id, other = uuid4(), uuid4()
    for one in (task_id, other):
        tracker.begin(one, 1)
    waiting = [asyncio.create_task(tracker.wait(task_id, 30)) for _ in range(5)]
    bystander = asyncio.create_task(tracker.wait(other, 30))
    await asyncio.sleep(0)
    cache.records[task_id] = answer(task_id).encode()
    tracker.finished([task_id])
    begun = time.monotonic()
    assert await asyncio.gather(*waiting) == [answer(task_id)] * 5
    assert time.monotonic() - begun < 0.5
    assert not bystander.done()
    bystander.cancel()


async def test_waiting_ends_in_time_with_where_it_stands(tracker: Tracker, inferences: Inferences) -> None:
    task_id = uuid4()
    inferences.standings[task_id] = PENDING
    begun = time.monotonic()
    assert await tracker.wait(task_id, 0.05) == PENDING
    assert 0.04 < time.monotonic() - begun < 1


async def test_an_end_between_the_look_and_the_wait_is_not_missed(
    tracker: Tracker, cache: Cache, inferences: Inferences
) -> None:
    task_id = uuid4()
    inferences.standings[task_id] = PENDING
    waiting = asyncio.create_task(tracker.wait(task_id, 30))
    await inferences.answered.wait()
    # The database has answered "pending". The task ends before this answer arrives.
    cache.records[task_id] = answer(task_id).encode()
    tracker.finished([task_id])
    assert await asyncio.wait_for(waiting, 0.5) == answer(task_id)


async def test_without_wake_ups_the_end_is_noticed_soon(tracker: Tracker, cache: Cache, inferences: Inferences) -> None:
    task_id = uuid4()
    cache.listening = False
    inferences.standings[task_id] = PENDING
    waiting = asyncio.create_task(tracker.wait(task_id, 30))
    await inferences.answered.wait()
    inferences.standings[task_id] = Standing(Status.SUCCESS, "v3", None, 0)
    assert await asyncio.wait_for(waiting, 1) == answer(task_id)


async def test_a_lost_wake_up_costs_a_second_at_most(tracker: Tracker, cache: Cache, inferences: Inferences) -> None:
    task_id = uuid4()
    inferences.standings[task_id] = PENDING
    waiting = asyncio.create_task(tracker.wait(task_id, 30))
    await inferences.answered.wait()
    cache.records[task_id] = answer(task_id).encode()
    assert await asyncio.wait_for(waiting, 1.5) == answer(task_id)


async def test_how_many_are_ahead_is_known_of_own_starts(tracker: Tracker) -> None:
    first, second, third = uuid4(), uuid4(), uuid4()
    for number, task_id in enumerate((first, second, third), start=7):
        tracker.begin(task_id, number)
    tracker.finished([first])
    found = await tracker.look(third)
    assert isinstance(found, Standing)
    assert found.ahead == 1
