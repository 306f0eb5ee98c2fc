"""Looks up where a task stands: in memory first, then in the cache, then in the database."""

from __future__ import annotations

import asyncio
import logging
import time
from itertools import islice
from typing import TYPE_CHECKING

from placerank.api.coalescer import Coalescer
from placerank.cache import answers
from placerank.cache.answers import Answer
from placerank.db.inferences import Standing
from placerank.domain import Status
from placerank.telemetry.metrics import RECORDS_REFUSED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from placerank.cache.ports import ApiCache
    from placerank.db.inferences import InferenceRepository, StoredPlace

log = logging.getLogger(__name__)

#: For this long after its start, a task of this process counts as pending without a lookup, unless its end was
#: announced.
_BELIEVED_S = 2.0
#: How often a waiting request looks the task up itself: with wake-ups (one can get lost), and without.
_LOOK_EVERY_S = 1.0
_LOOK_EVERY_WITHOUT_WAKE_UPS_S = 0.1

#: The reply for a pending task is held for a moment, in which most tasks finish: at least ``_HOLD_S``. With many
#: pollers the hold grows, so that together they send about ``_POLLS_A_SECOND``. Without it, 64 travellers who poll
#: every 10 ms take the CPU from the work that would answer them (measured: 20 loops a second instead of 250).
_HOLD_S = 0.05
_POLLS_A_SECOND = 1_000
_LONGEST_HOLD_S = 1.0


class Tracker:
    """Looks tasks up for requests, and wakes requests that wait for a task."""

    def __init__(self, cache: ApiCache, inferences: InferenceRepository) -> None:
        self._cache = cache
        self._inferences = inferences
        self._started: dict[UUID, tuple[float, int]] = {}
        self._waiters: dict[UUID, list[asyncio.Future[None]]] = {}
        self._cached: Coalescer[UUID, bytes | None] = Coalescer(self._read_cache)
        self._stored: Coalescer[UUID, Answer | Standing | None] = Coalescer(self._read_database)
        self._oldest: int | None = None
        self._ending = False

    def begin(self, task_id: UUID, number: int) -> None:
        """Remember a task that was just committed and is not published yet; ``number`` counts starts."""
        self._started[task_id] = (time.monotonic(), number)
        self._expire()

    def finished(self, task_ids: Sequence[UUID]) -> None:
        """Wake the requests that wait for these finished tasks; the cache calls this as its listener."""
        for task_id in task_ids:
            started = self._started.pop(task_id, None)
            if started is not None:
                self._oldest = max(self._oldest or 0, started[1])
            self._wake(task_id)

    def end_waits(self) -> None:
        """Answer waiting and later requests with the present status, because this process is about to end."""
        self._ending = True
        for task_id in list(self._waiters):
            self._wake(task_id)

    async def look(self, task_id: UUID) -> Answer | Standing | None:
        """The answer of a finished task, the standing of an unfinished one, or none for an unknown id."""
        started = self._started.get(task_id)
        if started is not None and self._cache.listening and time.monotonic() - started[0] < _BELIEVED_S:
            ahead = max(0, started[1] - self._oldest - 1) if self._oldest is not None else 0
            return Standing(Status.PENDING, None, None, ahead)
        record = self._cache.near(task_id) or await self._cached.submit(task_id)
        if record is not None and (answer := await self._decoded(task_id, record)) is not None:
            return answer
        return await self._stored.submit(task_id)

    async def _decoded(self, task_id: UUID, record: bytes) -> Answer | None:
        """The answer in a record; none for an odd one, which the database's answer then replaces in the cache."""
        try:
            answer = Answer.decode(record)
        except ValueError as error:
            problem = str(error)
        else:
            if answer.belongs_to(task_id):
                return answer
            problem = "it is another task's answer"
        RECORDS_REFUSED.labels("answer").inc()
        log.error("cache: the record of task %s is read from the database instead: %s", task_id, problem)
        await self._cache.forget([task_id])
        return None

    async def poll(self, task_id: UUID) -> Answer | Standing | None:
        """As ``look``, for clients that poll: an unfinished task gets a moment to finish."""
        return await self.wait(task_id, min(max(_HOLD_S, len(self._waiters) / _POLLS_A_SECOND), _LONGEST_HOLD_S))

    async def wait(self, task_id: UUID, seconds: float) -> Answer | Standing | None:
        """As ``look``, but returns only when the task has finished or ``seconds`` have passed."""
        deadline = time.monotonic() + seconds
        loop = asyncio.get_running_loop()
        while True:
            waiter = loop.create_future()
            self._waiters.setdefault(task_id, []).append(waiter)
            try:
                found = await self.look(task_id)
                left = deadline - time.monotonic()
                if not isinstance(found, Standing) or left <= 0 or self._ending:
                    return found
                pause = _LOOK_EVERY_S if self._cache.listening else _LOOK_EVERY_WITHOUT_WAKE_UPS_S
                timer = loop.call_later(min(left, pause), _end, waiter)
                try:
                    await waiter
                finally:
                    timer.cancel()
            finally:
                self._leave(task_id, waiter)

    def _wake(self, task_id: UUID) -> None:
        for waiter in self._waiters.pop(task_id, ()):
            _end(waiter)

    def _leave(self, task_id: UUID, waiter: asyncio.Future[None]) -> None:
        waiters = self._waiters.get(task_id)
        if waiters is not None and waiter in waiters:
            waiters.remove(waiter)
            if not waiters:
                del self._waiters[task_id]

    def _expire(self) -> None:
        # A dict keeps insertion order, so the oldest come first.
        now = time.monotonic()
        for task_id, (started, _) in list(islice(self._started.items(), 2)):
            if now - started > _BELIEVED_S:
                del self._started[task_id]

    async def _read_cache(self, task_ids: Sequence[UUID]) -> Sequence[bytes | None]:
        records = await self._cache.get(task_ids)
        return [records.get(task_id) for task_id in task_ids]

    async def _read_database(self, task_ids: Sequence[UUID]) -> Sequence[Answer | Standing | None]:
        standings = await self._inferences.standing(task_ids)
        succeeded = [task_id for task_id, found in standings.items() if found.status is Status.SUCCESS]
        places = await self._inferences.places(succeeded) if succeeded else {}
        ended = {
            task_id: _answer(task_id, found, places.get(task_id, []))
            for task_id, found in standings.items()
            if found.status.finished
        }
        await self._cache.put({task_id: answer.encode() for task_id, answer in ended.items()}, wake=False)
        return [ended.get(task_id) or standings.get(task_id) for task_id in task_ids]


def _end(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _answer(task_id: UUID, standing: Standing, places: Sequence[StoredPlace]) -> Answer:
    if standing.status is not Status.SUCCESS:
        return answers.ended(str(task_id), standing.status, standing.problem)
    scored = ((place.score, answers.render_place(place.location_id, place.values)) for place in places)
    return answers.succeeded(str(task_id), standing.model_version or "", answers.render_places(scored))
