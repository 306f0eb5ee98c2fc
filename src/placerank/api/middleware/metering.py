"""HTTP metrics: counts and durations by route template, never by raw path."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from prometheus_fastapi_instrumentator import Instrumentator

from placerank.telemetry.metrics import HTTP_DURATIONS as _DURATIONS
from placerank.telemetry.metrics import HTTP_REQUESTS as _REQUESTS

if TYPE_CHECKING:
    from fastapi import FastAPI
    from prometheus_client import Counter, Histogram
    from prometheus_fastapi_instrumentator.metrics import Info


def install(app: FastAPI) -> None:
    """Count and time every request, and serve this process's metrics under ``/metrics``."""
    instrumentator = Instrumentator(should_group_status_codes=False, excluded_handlers=["^/metrics$"])
    instrumentator.add(_record).instrument(app).expose(app, include_in_schema=False)


def record(method: str, status: int, handler: str, seconds: float) -> None:
    """Count one request to the route template ``handler``."""
    count, duration = _of(method, str(status), handler)
    count.inc()
    duration.observe(seconds)


def _record(info: Info) -> None:
    record(info.method, int(info.modified_status), info.modified_handler, info.modified_duration)


@cache
def _of(method: str, status: str, handler: str) -> tuple[Counter, Histogram]:
    # One entry for each series. Looking labels up takes three times as long as counting.
    return _REQUESTS.labels(method, status, handler), _DURATIONS.labels(method, handler)
