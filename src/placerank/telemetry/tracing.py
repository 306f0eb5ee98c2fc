"""Traces, sent over OTLP/HTTP. Off unless ``OTEL_*`` variables ask for them; while off, OpenTelemetry is not loaded.

The trace context is passed on as W3C ``traceparent``: in the row, so that the relay has it too, and in the message's
headers. Work that many requests share (a statement, a batch) becomes a span in each request's trace, linked to the
others. A trace that is not sampled at its start is not sampled later.
"""

from __future__ import annotations

import atexit
import logging
import re
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Link, Span, SpanContext, Tracer

    from placerank.telemetry.exporting import SpanExport

log = logging.getLogger(__name__)

#: A valid context (W3C Trace Context). Version 255 and ids of only zeroes are invalid.
TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
#: When a process ends, its last spans are sent for at most this long. After that they are dropped.
_LAST_WORDS_S: Final = 2.0
_SAMPLED: Final = 0x01
#: The SDK keeps this many. More would be created only to be dropped.
_MOST_LINKS: Final = 128

#: None while tracing is off. Requests check only this.
tracer: Tracer | None = None


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether the environment asks for traces, with the variables that OpenTelemetry specifies."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporters = environment.get("OTEL_TRACES_EXPORTER", "").lower().replace(" ", "")
    if exporters:
        return "otlp" in exporters.split(",")
    return any(environment.get(name) for name in _ENDPOINTS)


def set_up(process: str, environment: Mapping[str, str], version: str) -> SpanExport | None:
    """Start sending spans if the environment asks for them; it also sets the sampler and the limits.

    Returns what sends them, to be watched; none if no spans are wanted.
    """
    global tracer
    if not wanted(environment):
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from placerank.telemetry.exporting import SpanExport

    # If the collector is unreachable, OpenTelemetry logs every attempt.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    named = {} if environment.get("OTEL_SERVICE_NAME") else {"service.name": f"placerank-{process}"}
    resource = Resource.create({**named, "service.version": version})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    # The processor has a bounded queue and its own thread. If the collector is unreachable, spans are dropped.
    # Requests are not affected.
    export = SpanExport(lambda: BatchSpanProcessor(OTLPSpanExporter()))
    provider.add_span_processor(export)
    _send_the_last_at_exit(provider.shutdown)
    tracer = provider.get_tracer("placerank", version)
    log.info("tracing: spans are sent over OTLP")
    return export


def _send_the_last_at_exit(send: Callable[[], None]) -> None:
    # The thread is started now, because at exit no thread can be started.
    exiting = threading.Event()

    def last_words() -> None:
        exiting.wait()
        send()

    thread = threading.Thread(target=last_words, name="last spans", daemon=True)
    thread.start()

    def wait() -> None:
        exiting.set()
        thread.join(_LAST_WORDS_S)

    atexit.register(wait)


def now_ns() -> int:
    """The start of a later span, in nanoseconds since the epoch; 0 while tracing is off."""
    return 0 if tracer is None else time.time_ns()


def traceparent_of(span: Span) -> str:
    """The context of a span as W3C ``traceparent``."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def begin(
    name: str,
    kind: str,
    traceparent: str | None,
    attributes: Mapping[str, str | int | float] | None = None,
    *,
    began_ns: int | None = None,
    links: Sequence[Link] = (),
) -> Span:
    """Start a child of ``traceparent``; ``kind`` is server, producer, consumer, client or internal. Needs a tracer."""
    from opentelemetry.trace import SpanKind

    assert tracer is not None
    return tracer.start_span(name, _below(traceparent), SpanKind[kind.upper()], attributes, links, start_time=began_ns)


def end(span: Span, *, error: str | None = None, ended_ns: int | None = None) -> None:
    """End a span; with ``error`` it is marked as failed."""
    if error is not None:
        from opentelemetry.trace import StatusCode

        span.set_status(StatusCode.ERROR, error)
    span.end(ended_ns)


def sampled(traceparent: str | None) -> bool:
    """Whether this trace is recorded."""
    return traceparent is not None and bool(int(traceparent[-2:], 16) & _SAMPLED)


@dataclass(slots=True)
class Phase:
    """A part of shared work; it began and ended at these nanoseconds since the epoch."""

    name: str
    kind: str
    began_ns: int
    ended_ns: int


def shared(
    name: str, kind: str, traceparents: Iterable[str | None], began_ns: int, phases: Sequence[Phase] = (), **about: Any
) -> None:
    """Record work that several requests share and that ends now: a linked span in the trace of each request."""
    if tracer is None:
        return
    parents = [one for one in traceparents if sampled(one)]
    now = time.time_ns()
    for parent in parents:
        links = _links(other for other in parents if other is not parent)
        error = about.get("error")
        span = begin(name, kind, parent, {**about}, began_ns=began_ns, links=links)
        own = traceparent_of(span)
        for phase in phases:
            end(begin(phase.name, phase.kind, own, began_ns=phase.began_ns), ended_ns=phase.ended_ns)
        end(span, error=error, ended_ns=now)


def _links(traceparents: Iterable[str | None]) -> list[Link]:
    from itertools import islice

    from opentelemetry.trace import Link

    return [Link(_context(other)) for other in islice(traceparents, _MOST_LINKS) if other is not None]


def _context(traceparent: str) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags

    _, trace, span, flags = traceparent.split("-")
    return SpanContext(int(trace, 16), int(span, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))


def _below(traceparent: str | None) -> Context:
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, set_span_in_context

    if traceparent is None:
        return Context()
    return set_span_in_context(NonRecordingSpan(_context(traceparent)), Context())
