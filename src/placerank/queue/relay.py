"""The relay publishes tasks that are committed but not confirmed. Two relays share the work."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from placerank.errors import DatabaseUnavailable
from placerank.queue import topology
from placerank.queue.message import TaskMessage
from placerank.supervision.cancellation import told_to_end
from placerank.telemetry.metrics import RELAYED

if TYPE_CHECKING:
    from placerank.db.pool import AsyncDatabase
    from placerank.queue.publisher import Publisher
    from placerank.queue.topology import WorkQueue

log = logging.getLogger(__name__)

_LONGEST_PAUSE_S = 5.0
#: The timeout of ``forget_published``, which may change many rows.
_LONG_S = 60.0
#: The timeout of confirms. It is shorter than the API's, because the rows are locked meanwhile.
_CONFIRM_S = 2.0
#: The number of searches for lost messages within ``lost_after_s``; each costs two requests to the broker. If a search
#: found some, more batches may follow. So for the next ``lost_after_s`` the relay searches in every round.
_LOOKS_FOR_LOST = 20


@dataclass(frozen=True, slots=True)
class _Statements:
    unpublished: str
    lost: str
    set_published: str
    forget: str


_STATEMENTS: Final = {
    topology.INFERENCE: _Statements("take_unpublished", "take_lost", "set_published", "forget_published"),
    topology.TRAINING: _Statements(
        "take_unpublished_trainings", "take_lost_trainings", "mark_training_published", "forget_published_trainings"
    ),
}


#: Why the relay publishes a task: no publication was confirmed, or the broker has lost the message.
_REASONS: Final = ("unpublished", "lost")


class Relay:
    """Looks for unconfirmed rows every ``interval_s`` seconds and publishes them in batches."""

    def __init__(
        self,
        database: AsyncDatabase,
        publisher: Publisher,
        *,
        interval_s: float,
        grace_s: float,
        lost_after_s: float,
        batch: int,
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._interval_s = interval_s
        self._grace_s = grace_s
        self._lost_after_s = lost_after_s
        self._batch = batch
        self._looked_for_lost_at = self._found_lost_at = float("-inf")

    async def run(self) -> None:
        """Relay until cancelled; outages of the database and the broker do not end it."""
        for queue in _STATEMENTS:
            for reason in _REASONS:
                # Starts the counter at 0, so that Prometheus sees the first message as an increase.
                RELAYED.labels(queue.name, reason)
        pause = self._interval_s
        while not told_to_end():
            try:
                count = await self.relay_once() if self._publisher.connected else 0
                pause = self._interval_s
            except DatabaseUnavailable as error:
                log.warning("relay: %s", error)
                count, pause = 0, min(pause * 2, _LONGEST_PAUSE_S)
            # After a full batch, more rows probably wait: no pause.
            if count < self._batch and not told_to_end():
                await asyncio.sleep(pause)

    async def relay_once(self) -> int:
        """Publish one batch of each kind; returns how many messages the broker confirmed."""
        confirmed = 0
        for queue, statements in _STATEMENTS.items():
            confirmed += await self._publish(queue, statements.unpublished, {"grace_s": self._grace_s}, _REASONS[0])
        return confirmed + (await self._relay_lost() if self._may_be_lost() else 0)

    def _may_be_lost(self) -> bool:
        now = time.monotonic()
        return (
            now - self._found_lost_at < self._lost_after_s
            or now - self._looked_for_lost_at >= self._lost_after_s / _LOOKS_FOR_LOST
        )

    async def _relay_lost(self) -> int:
        lost = 0
        for queue, statements in _STATEMENTS.items():
            # Nothing waits in the queue. So the broker has lost what was published long ago and is unfinished.
            if await self._publisher.depth(queue) == 0:
                lost += await self._publish(queue, statements.lost, {"lost_after_s": self._lost_after_s}, _REASONS[1])
        self._looked_for_lost_at = time.monotonic()
        if lost:
            self._found_lost_at = self._looked_for_lost_at
        return lost

    async def forget_published(self) -> None:
        """Mark all unfinished tasks as unpublished; only for a broker that is known to be empty."""
        for statements in _STATEMENTS.values():
            await self._database.fetch(statements.forget, timeout_s=_LONG_S)

    async def _publish(self, queue: WorkQueue, take: str, params: dict[str, float], reason: str) -> int:
        # Usually nothing has to be published, and a single statement costs a third of a transaction.
        if not await self._database.fetch(take, {**params, "batch": 1}):
            return 0
        async with self._database.transaction() as transaction:
            rows = await transaction.fetch(take, {**params, "batch": self._batch})
            if not rows:
                return 0
            messages = [TaskMessage(queue, row["id"], row["traceparent"], row["request_id"]) for row in rows]
            confirmed = await self._publisher.publish(messages, confirm_s=_CONFIRM_S)
            await transaction.fetch(_STATEMENTS[queue].set_published, {"ids": confirmed})
        RELAYED.labels(queue.name, reason).inc(len(confirmed))
        log.info("relay: published %d of %d for %s", len(confirmed), len(rows), queue.name)
        return len(confirmed)
