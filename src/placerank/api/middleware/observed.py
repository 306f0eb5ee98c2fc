"""The outermost middleware: gives each request its ids, counts and traces it, and names it in log lines."""

from __future__ import annotations

import logging
import os
import re
import time
from typing import TYPE_CHECKING

from placerank.telemetry import logs, tracing
from placerank.telemetry.metrics import REQUESTS_IN_FLIGHT, REQUESTS_LIMIT

if TYPE_CHECKING:
    from opentelemetry.trace import Span
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

#: Accepted values of ``X-Request-Id``: printable, and nothing that could break a log line or a header.
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
_NO_ROUTE = "(no route)"
_PROBES = ("/healthz/", "/metrics")
_SERVER_ERROR = 500


class Observed:
    """ASGI middleware around everything else. ``X-Request-Id`` is the client's or a new one, and is sent back."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        """``most`` is the upper bound of requests in flight; it is enforced in ``limits``, here it is only a metric."""
        self._app = app
        self._in_flight = 0
        REQUESTS_IN_FLIGHT.set_function(lambda: self._in_flight)
        REQUESTS_LIMIT.set(most)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, traceparent = _ids(scope)
        fields = {"request_id": request_id}
        logs.begin(fields)
        span = None if tracing.tracer is None else _begin(scope, traceparent, request_id)
        if span is not None:
            traceparent = tracing.traceparent_of(span)
        scope["traceparent"] = traceparent
        if traceparent is not None:
            fields["trace_id"] = traceparent[3:35]
        status, began = _SERVER_ERROR, time.perf_counter()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        self._in_flight += 1
        try:
            await self._app(scope, receive, answer)
        finally:
            self._in_flight -= 1
            if log.isEnabledFor(logging.DEBUG):
                seconds = time.perf_counter() - began
                log.debug("%s %s: %d in %.1f ms", scope["method"], _template(scope), status, seconds * 1e3)
            if span is not None:
                _end(span, scope, status, fields)


def _ids(scope: Scope) -> tuple[str, str | None]:
    request_id = sent = None
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            request_id = value.decode()
        elif name == b"traceparent":
            text = value.decode("latin-1")
            sent = text if tracing.TRACEPARENT.fullmatch(text) else None
    return request_id or os.urandom(8).hex(), sent


def _template(scope: Scope) -> str:
    """The route template, which holds nothing that a client sent."""
    found: str = getattr(scope.get("route"), "path", _NO_ROUTE)
    return found


def _begin(scope: Scope, sent: str | None, request_id: str) -> Span | None:
    if scope["path"].startswith(_PROBES):
        return None
    attributes = {"http.request.method": scope["method"], "placerank.request_id": request_id}
    return tracing.begin(scope["method"], "server", sent, attributes)


def _end(span: Span, scope: Scope, status: int, fields: dict[str, str]) -> None:
    span.update_name(f"{scope['method']} {_template(scope)}")
    span.set_attribute("http.route", _template(scope))
    span.set_attribute("http.response.status_code", status)
    for name in ("task_id", "model_version"):
        if name in fields:
            span.set_attribute(f"placerank.{name}", fields[name])
    tracing.end(span, error=f"status {status}" if status >= _SERVER_ERROR else None)
