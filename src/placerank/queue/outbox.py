"""Publishes committed tasks at once. The relay later publishes what is lost here."""

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

#: Upper bounds: messages in one flight, concurrent flights, and messages that wait for a flight. The relay publishes
#: what exceeds the last one.
_FLIGHT = 256
_FLIGHTS = 8
_WAITING = 10_000
#: How long confirmed ids are collected. Most inferences have finished by then and need no mark. The relay's grace
#: period must be longer.
_MARK_EVERY_S = 1.0

_MARK = {topology.INFERENCE.name: "mark_published", topology.TRAINING.name: "mark_training_published"}


class Outbox:
    """Publishes committed tasks in the background, and marks in the database what the broker confirmed.

    What is lost on the way (no broker, a full buffer, a crash) has no mark in the database, so the relay publishes it.
    """

    def __init__(self, publisher: Publisher, database: AsyncDatabase) -> None:
        self._publisher = publisher
        self._database = database
        self._waiting: list[TaskMessage] = []
        self._confirmed: dict[WorkQueue, list[UUID]] = {queue: [] for queue in topology.WORK_QUEUES}
        self._flights: set[asyncio.Task[None]] = set()
        self._marker = SupervisedTask("outbox marks", self._mark_regularly)

    async def open(self) -> None:
        """Start marking confirmed tasks regularly."""
        self._marker.start()

    async def close(self) -> None:
        """Wait for the flights, for 2 s at most, and mark what was confirmed."""
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
            log.error("outbox: publishing failed; the relay will publish these messages", exc_info=error)
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
            except Exception as error:  # noqa: BLE001 - no error may end the marking of later ones
                # Without the mark the relay publishes them once more, which is harmless.
                log.warning("outbox: %d messages could not be marked as published: %s", len(task_ids), error)
