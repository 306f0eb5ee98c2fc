"""The sending of spans, which can be begun again: OpenTelemetry's processor ends for good with its thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import SpanProcessor

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span


class SpanExport(SpanProcessor):
    """Passes spans on to a processor that sends them on a thread of its own."""

    def __init__(self, make: Callable[[], SpanProcessor]) -> None:
        """``make`` creates that processor and starts its thread."""
        self._make = make
        self._begin()

    def run(self) -> None:
        """Wait as long as spans are sent; if the last thread has ended, begin again with a new one."""
        if not any(thread.is_alive() for thread in self._threads):
            self._begin()
        for thread in self._threads:
            thread.join()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Pass on a span that begins."""
        self._inner.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        """Pass on a span to send."""
        self._inner.on_end(span)

    def shutdown(self) -> None:
        """Send what waits, and stop."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what waits."""
        return self._inner.force_flush(timeout_millis)

    def _begin(self) -> None:
        known = set(threading.enumerate())
        self._inner = self._make()
        self._threads = [one for one in threading.enumerate() if one not in known and one.name.startswith("Otel")]
