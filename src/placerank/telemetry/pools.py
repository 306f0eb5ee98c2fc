"""Metrics of connection pools. They are read when Prometheus scrapes, so requests have no cost."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from placerank.telemetry.metrics import POOL_CONNECTIONS, POOL_LIMIT, POOL_WAITING

if TYPE_CHECKING:
    from collections.abc import Callable


class _Pool(Protocol):
    @property
    def max_size(self) -> int: ...

    def get_stats(self) -> dict[str, int]: ...


def watch_pool(name: str, pool: _Pool) -> Callable[[], None]:
    """Export the metrics of a psycopg pool; returns a function that removes them."""

    def read(figure: Callable[[dict[str, int]], int]) -> Callable[[], float]:
        return lambda: float(figure(pool.get_stats()))

    idle = POOL_CONNECTIONS.labels(name, "idle")
    used = POOL_CONNECTIONS.labels(name, "used")
    idle.set_function(read(lambda stats: stats["pool_available"]))
    used.set_function(read(lambda stats: stats["pool_size"] - stats["pool_available"]))
    POOL_WAITING.labels(name).set_function(read(lambda stats: stats["requests_waiting"]))
    POOL_LIMIT.labels(name).set(pool.max_size)

    def unwatch() -> None:
        for gauge, labels in ((POOL_CONNECTIONS, (name, "idle")), (POOL_CONNECTIONS, (name, "used"))):
            with suppress(KeyError):
                gauge.remove(*labels)
        for gauge in (POOL_WAITING, POOL_LIMIT):
            with suppress(KeyError):
                gauge.remove(name)

    return unwatch
