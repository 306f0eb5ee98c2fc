"""The state of the whole system, as far as PostgreSQL knows it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

if TYPE_CHECKING:
    from placerank.db.pool import AsyncDatabase

#: Counts stop here, which bounds the cost of the statement. What an operator has to do is the same above it.
_LIMIT: Final = 100_000
#: No metric of a model is as great. The bound also refuses whole numbers that no float can hold.
_GREATEST: Final = 1e15


@dataclass(frozen=True, slots=True)
class Figures:
    """Lengths and ages (seconds) of the outbox and the backlog, and PostgreSQL's own figures."""

    outbox: int
    outbox_age_s: float
    backlog: int
    backlog_age_s: float
    size_bytes: int
    connections: int
    connections_limit: int
    deadlocks: int
    places: int


@dataclass(frozen=True, slots=True)
class Learning:
    """Trainings by status, progress of the running one (1 if none runs), and metrics of the newest trained version."""

    trainings: Mapping[str, int]
    progress: float
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Rates:
    """The results of the starts of the last ``seconds`` seconds; times from start to answer in seconds."""

    seconds: float
    started: int
    answered: int
    failed: int
    selected: int
    median_s: float
    p99_s: float


class SystemRepository:
    """Reads figures of the whole system. Raises ``DatabaseUnavailable``."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database

    async def figures(self) -> Figures:
        """The outbox, the backlog, and PostgreSQL's own figures."""
        return Figures(**(await self._database.fetch("system", {"limit": _LIMIT}))[0])

    async def learning(self) -> Learning:
        """The trainings, and the metrics of the newest trained version."""
        counts = await self._database.fetch("training_counts")
        running = await self._database.fetch("running_training")
        newest = await self._database.fetch("newest_metrics")
        return Learning(
            trainings={row["status"]: row["count"] for row in counts},
            progress=float(running[0]["progress"]) if running else 1.0,
            metrics=_numbers(newest[0]["metrics"]) if newest else {},
        )

    async def shares(self) -> dict[str, int]:
        """The versions in use and their shares in per cent."""
        return {row["version"]: row["use_percentage"] for row in await self._database.fetch("served_versions")}

    async def rates(self, seconds: float) -> Rates:
        """The results of the starts of the last ``seconds`` seconds."""
        since = UUID(int=int((time.time() - seconds) * 1000) << 80)
        return Rates(seconds, **(await self._database.fetch("recent_rates", {"since": since}))[0])


def _numbers(metrics: object) -> dict[str, float]:
    """The metrics that are plain numbers, without times (``trained_at``); anything else that is stored is left out."""
    if not isinstance(metrics, Mapping):
        return {}
    return {
        name: float(value)
        for name, value in metrics.items()
        if type(value) in (int, float) and abs(value) <= _GREATEST and not name.endswith("_at")
    }
