"""Requests as Prometheus sees them: counts and durations by route template, never by raw path."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from prometheus_fastapi_instrumentator import Instrumentator
from prometheus_fastapi_instrumentator.middleware import PrometheusInstrumentatorMiddleware

from placerank.telemetry.metrics import HTTP_DURATIONS as _DURATIONS
from placerank.telemetry.metrics import HTTP_REQUESTS as _REQUESTS

if TYPE_CHECKING:
    from fastapi import FastAPI
    from prometheus_client import Counter, Histogram
    from prometheus_fastapi_instrumentator.metrics import Info
    from starlette.requests import Request

_ID = re.compile(r"[0-9a-fA-F-]{32,36}|\d+")
_MOST_SHAPES = 1_000


class _Middleware(PrometheusInstrumentatorMiddleware):
    """The instrumentator's, which tries all routes for each request; here once for each shape of path."""

    def _get_handler(self, request: Request) -> tuple[str, bool]:
        known: dict[tuple[str, str], tuple[str, bool]] = self.__dict__.setdefault("_shapes", {})
        shape = (request.scope["method"], _ID.sub("*", request.scope["path"]))
        found = known.get(shape)
        if found is None:
            found = super()._get_handler(request)
            if len(known) < _MOST_SHAPES:
                known[shape] = found
        return found


def install(app: FastAPI) -> None:
    """Count and time every request, and serve this process's metrics under ``/metrics``."""
    app.add_middleware(
        _Middleware, instrumentations=[_record], should_group_status_codes=False, excluded_handlers=["^/metrics$"]
    )
    Instrumentator().expose(app, include_in_schema=False)


def record(method: str, status: int, handler: str, seconds: float) -> None:
    """Count one request to the route template ``handler``."""
    count, duration = _of(method, str(status), handler)
    count.inc()
    duration.observe(seconds)


def _record(info: Info) -> None:
    record(info.method, int(info.modified_status), info.modified_handler, info.modified_duration)


@cache
def _of(method: str, status: str, handler: str) -> tuple[Counter, Histogram]:
    # As many as there are series; to look their labels up costs three times the counting.
    return _REQUESTS.labels(method, status, handler), _DURATIONS.labels(method, handler)
