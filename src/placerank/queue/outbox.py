"""From a commit to the broker: the API's fast way, and the relay's sure one."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from placerank.queue import topology
from placerank.supervision.tasks import SupervisedTask

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from placerank.db.pool import AsyncDatabase
    from placerank.queue.message import TaskMessage
    from placerank.queue.publisher import Publisher
    from placerank.queue.topology import WorkQueue

log = logging.getLogger(__name__)

#: Most messages of one flight, and most flights at once: beyond these the relay takes over.
_FLIGHT = 256
_FLIGHTS = 8
_WAITING = 10_000
#: How long confirmed ids are collected. Most inferences have finished by then and need no mark at all; the relay's
#: grace period must be longer.
_MARK_EVERY_S = 1.0

_MARK = {topology.INFERENCE.name: "mark_published", topology.TRAINING.name: "mark_training_published"}


class Outbox:
    """Publishes what has just been committed, behind the reply, and notes what the broker confirmed.

    What gets lost on the way (no broker, a full buffer, a crash) has no mark in the database: the relay finds it.
    """

    def __init__(self, publisher: Publisher, database: AsyncDatabase) -> None:
        self._publisher = publisher
        self._database = database
        self._waiting: list[TaskMessage] = []
        self._confirmed: dict[WorkQueue, list[UUID]] = {queue: [] for queue in topology.WORK_QUEUES}
        self._flights: set[asyncio.Task[None]] = set()
        self._marker = SupervisedTask("outbox marks", self._mark_regularly)

    async def open(self) -> None:
        """Start noting confirmations."""
        self._marker.start()

    async def close(self) -> None:
        """Finish what is in flight and note it."""
        await self._marker.stop()
        if self._flights:
            await asyncio.wait(self._flights, timeout=2)
        await self._mark()

    def add(self, messages: Sequence[TaskMessage]) -> None:
        """Take committed tasks for publishing; returns at once."""
        if not self._publisher.connected or len(self._waiting) + len(messages) > _WAITING:
            return
        self._waiting.extend(messages)
        self._depart()

    def _depart(self) -> None:
        while self._waiting and len(self._flights) < _FLIGHTS:
            flight, self._waiting = self._waiting[:_FLIGHT], self._waiting[_FLIGHT:]
            task = asyncio.create_task(self._fly(flight))
            self._flights.add(task)
            task.add_done_callback(self._arrived)

    def _arrived(self, task: asyncio.Task[None]) -> None:
        self._flights.discard(task)
        if task.cancelled() or task.exception() is not None:
            error = None if task.cancelled() else task.exception()
            log.error("outbox: a flight failed; the relay will publish it", exc_info=error)
        self._depart()

    async def _fly(self, flight: list[TaskMessage]) -> None:
        confirmed = set(await self._publisher.publish(flight))
        for message in flight:
            if message.task_id in confirmed:
                self._confirmed[message.queue].append(message.task_id)

    async def _mark_regularly(self) -> None:
        while True:
            await asyncio.sleep(_MARK_EVERY_S)
            await self._mark()

    async def _mark(self) -> None:
        for queue, task_ids in self._confirmed.items():
            if not task_ids:
                continue
            self._confirmed[queue] = []
            try:
                await self._database.fetch(_MARK[queue.name], {"ids": task_ids})
            except Exception as error:  # noqa: BLE001 - whatever it is, the next ones are to be noted
                # Without the mark the relay publishes once more, which is harmless.
                log.warning("outbox: %d confirmations could not be noted: %s", len(task_ids), error)
