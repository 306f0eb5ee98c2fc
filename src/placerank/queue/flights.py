"""Metrics and traces of flights. A flight is a group of messages that are published together."""

from __future__ import annotations

import logging
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from placerank.telemetry import logs, tracing
from placerank.telemetry.metrics import CONFIRMS_IN_FLIGHT, PUBLISH_DURATION, PUBLISHED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from uuid import UUID

    from opentelemetry.trace import Span
    from prometheus_client import Counter as Series

    from placerank.queue.message import TaskMessage

log = logging.getLogger(__name__)


class Flight:
    """``messages`` carry the contexts of their own spans; ``confirmed`` has the ids that the broker confirmed."""

    def __init__(self, messages: Sequence[TaskMessage]) -> None:
        self.messages = messages
        self.confirmed: list[UUID] = []
        self._spans: dict[UUID, Span] = {}
        if tracing.tracer is not None:
            self.messages = [self._traced(message) for message in messages]

    def _traced(self, message: TaskMessage) -> TaskMessage:
        if not tracing.sampled(message.traceparent):
            return message
        attributes = {"messaging.system": "rabbitmq", "placerank.task_id": str(message.task_id)}
        span = tracing.begin(f"publish {message.queue.name}", "producer", message.traceparent, attributes)
        self._spans[message.task_id] = span
        return replace(message, traceparent=tracing.traceparent_of(span))

    def land(self, seconds: float) -> None:
        """Count confirmed and unconfirmed messages, and end the spans."""
        arrived = set(self.confirmed)
        counts = Counter((message.queue.name, message.task_id in arrived) for message in self.messages)
        for (queue, confirmed), count in counts.items():
            _published(queue, confirmed=confirmed).inc(count)
        PUBLISH_DURATION.observe(seconds)
        for task_id, span in self._spans.items():
            tracing.end(span, error=None if task_id in arrived else "not confirmed")
        if log.isEnabledFor(logging.DEBUG):
            for message in self.messages:
                known = logs.about(message.task_id, request_id=message.request_id, traceparent=message.traceparent)
                log.debug("broker: %s", "confirmed" if message.task_id in arrived else "not confirmed", extra=known)


@contextmanager
def flight(messages: Sequence[TaskMessage]) -> Iterator[Flight]:
    """Count and trace the messages that are published in this context."""
    leaving, began = Flight(messages), time.perf_counter()
    CONFIRMS_IN_FLIGHT.inc(len(messages))
    try:
        yield leaving
    finally:
        CONFIRMS_IN_FLIGHT.dec(len(messages))
        leaving.land(time.perf_counter() - began)


@cache
def _published(queue: str, *, confirmed: bool) -> Series:
    return PUBLISHED.labels(queue, "confirmed" if confirmed else "unconfirmed")
