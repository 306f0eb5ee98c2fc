"""The state of the whole system: its services, its queues and its problems.

Each part is queried separately and within seconds, so an unreachable one does not hide the others.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import psycopg

from placerank.errors import DatabaseUnavailable
from placerank.queue import topology

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from placerank.cache.probe import CacheFigures
    from placerank.db.system import Figures, Learning, Rates, SystemRepository
    from placerank.queue.publisher import Publisher

#: The rates cover the starts of this many seconds.
RATES_S: Final = 60.0
#: Above these ages in seconds, the oldest unfinished and the oldest unconfirmed inference count as problems.
BACKLOG_AGE_S: Final = 30.0
_OUTBOX_AGE_S: Final = 30.0
_FULL: Final = 0.9
_CONNECT_S: Final = 3.0
QUEUES: Final = (*(queue.name for queue in topology.WORK_QUEUES), topology.DEAD_LETTER_QUEUE)


@dataclass(frozen=True, slots=True)
class QueueState:
    """How many messages wait in a queue, and how many workers it has."""

    ready: int
    consumers: int


@dataclass(frozen=True, slots=True)
class Overview:
    """What was found; a part that does not answer is none or empty. ``problems`` are sentences, none if healthy."""

    figures: Figures | None = None
    rates: Rates | None = None
    learning: Learning | None = None
    shares: Mapping[str, int] = field(default_factory=dict)
    queues: Mapping[str, QueueState] = field(default_factory=dict)
    cache: CacheFigures | None = None
    problems: tuple[str, ...] = ()

    @property
    def healthy(self) -> bool:
        """Whether nothing has to be done."""
        return not self.problems


class Overseer:
    """Queries every service for the overview."""

    def __init__(
        self,
        system: SystemRepository,
        publisher: Publisher,
        look_at_cache: Callable[[], Awaitable[CacheFigures | None]],
    ) -> None:
        self._system = system
        self._publisher = publisher
        self._look_at_cache = look_at_cache

    async def look(self) -> Overview:
        """Make the overview; does not raise if a service is unreachable."""
        away: list[str] = []
        figures = rates = learning = None
        shares: Mapping[str, int] = {}
        try:
            figures, rates = await self._system.figures(), await self._system.rates(RATES_S)
            learning, shares = await self._system.learning(), await self._system.shares()
        except (DatabaseUnavailable, psycopg.Error) as error:
            away.append(f"The database does not answer: {error}")
        queues = await self._queues()
        if not queues:
            away.append("The broker does not answer: requests are accepted, but wait until it is back.")
        cache = await self._look_at_cache()
        if cache is None:
            away.append("Redis does not answer: everything works, but more slowly.")
        problems = (*away, *_problems(figures, shares, queues, cache))
        return Overview(figures, rates, learning, shares, queues, cache, problems)

    async def _queues(self) -> Mapping[str, QueueState]:
        found: dict[str, QueueState] = {}
        deadline = time.monotonic() + _CONNECT_S
        while not self._publisher.connected and time.monotonic() < deadline:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.02)
        for name in QUEUES:
            seen = await self._publisher.look(name)
            if seen is None:
                return {}
            found[name] = QueueState(*seen)
        return found


def _problems(
    figures: Figures | None,
    shares: Mapping[str, int],
    queues: Mapping[str, QueueState],
    cache: CacheFigures | None,
) -> list[str]:
    found: list[str] = []
    if figures is not None:
        if not figures.places:
            found.append("The catalogue is empty: run placerank places import FILE.")
        if not shares:
            found.append("No model is in use: a worker registers the first one when it starts.")
        if figures.backlog_age_s > BACKLOG_AGE_S:
            found.append(f"The oldest inference has waited {figures.backlog_age_s:.0f} s: look at the workers.")
        if figures.outbox_age_s > _OUTBOX_AGE_S:
            found.append(f"A request has been unpublished for {figures.outbox_age_s:.0f} s: look at the relay.")
    for queue in topology.WORK_QUEUES:
        state = queues.get(queue.name)
        if state is not None and state.ready and not state.consumers:
            found.append(f"{state.ready} messages wait in {queue.name}, and it has no worker.")
    if (letters := queues.get(topology.DEAD_LETTER_QUEUE)) is not None and letters.ready:
        found.append(f"{letters.ready} dead letters: run placerank dead-letters list.")
    if cache is not None and cache.memory_limit_bytes and cache.memory_bytes > _FULL * cache.memory_limit_bytes:
        found.append("Redis is nearly full: give it more memory, or keep answers for a shorter time.")
    return found
