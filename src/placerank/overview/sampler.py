"""Samples metrics of the whole system: queues, outbox, backlog, trainings, database and cache.

It runs in the relay, because a relay always runs. Two relays report the same figures, so dashboards take the maximum.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import psycopg

from placerank.domain import Status
from placerank.errors import DatabaseUnavailable
from placerank.overview.overseer import QUEUES
from placerank.queue.check import BrokerNotChecked
from placerank.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from placerank.cache.probe import CacheFigures
    from placerank.db.system import SystemRepository
    from placerank.queue.publisher import Publisher

log = logging.getLogger(__name__)


class Sampler:
    """Samples every ``interval_s`` seconds. A part that does not answer keeps its figures; a metric shows their age."""

    def __init__(
        self,
        system: SystemRepository,
        publisher: Publisher,
        look_at_cache: Callable[[], Awaitable[CacheFigures | None]],
        unacknowledged: Callable[[], Mapping[str, int]],
        *,
        interval_s: float,
    ) -> None:
        """``unacknowledged`` queries the broker's management API, on a thread; it returns nothing if there is none."""
        self._system = system
        self._publisher = publisher
        self._look_at_cache = look_at_cache
        self._unacknowledged = unacknowledged
        self._interval_s = interval_s

    async def run(self) -> None:
        """Sample until cancelled; outages do not end it."""
        while True:
            await self.look()
            await asyncio.sleep(self._interval_s)

    async def look(self) -> None:
        """Sample every part once."""
        parts = {"database": self._database, "learning": self._learning, "broker": self._broker, "cache": self._cache}
        for part, look in parts.items():
            try:
                seen = await look()
            except (DatabaseUnavailable, psycopg.Error, BrokerNotChecked) as error:
                log.debug("sampler: %s: %s", part, error)
                continue
            if seen:
                metrics.SAMPLED.labels(part).set_to_current_time()

    async def _database(self) -> bool:
        found = await self._system.figures()
        metrics.OUTBOX_LENGTH.set(found.outbox)
        metrics.OUTBOX_AGE.set(found.outbox_age_s)
        metrics.BACKLOG_LENGTH.set(found.backlog)
        metrics.BACKLOG_AGE.set(found.backlog_age_s)
        metrics.DATABASE_SIZE.set(found.size_bytes)
        metrics.DATABASE_CONNECTIONS.set(found.connections)
        metrics.DATABASE_CONNECTIONS_LIMIT.set(found.connections_limit)
        metrics.DATABASE_DEADLOCKS.set(found.deadlocks)
        shares = await self._system.shares()
        metrics.REGISTERED_SHARE.clear()
        for version, share in shares.items():
            metrics.REGISTERED_SHARE.labels(version).set(share / 100)
        return True

    async def _learning(self) -> bool:
        found = await self._system.learning()
        for status in Status:
            metrics.STORED_TRAININGS.labels(status).set(found.trainings.get(status, 0))
        metrics.STORED_PROGRESS.set(found.progress)
        metrics.TRAINING_METRIC.clear()
        for name, value in found.metrics.items():
            metrics.TRAINING_METRIC.labels(name).set(value)
        return True

    async def _broker(self) -> bool:
        for name in QUEUES:
            seen = await self._publisher.look(name)
            if seen is None:
                return False
            metrics.QUEUE_MESSAGES.labels(name, "ready").set(seen[0])
            metrics.QUEUE_CONSUMERS.labels(name).set(seen[1])
        for name, count in (await asyncio.to_thread(self._unacknowledged)).items():
            metrics.QUEUE_MESSAGES.labels(name, "unacknowledged").set(count)
        return True

    async def _cache(self) -> bool:
        found = await self._look_at_cache()
        if found is None:
            return False
        metrics.CACHE_MEMORY.set(found.memory_bytes)
        metrics.CACHE_MEMORY_LIMIT.set(found.memory_limit_bytes)
        metrics.CACHE_RECORDS.set(found.records)
        metrics.CACHE_EVICTED.set(found.evicted)
        return True
