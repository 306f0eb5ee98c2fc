"""Metrics, traces and log lines of a batch; the batch itself is recorded once, when it has ended."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Self

from placerank.telemetry import logs, metrics, tracing
from placerank.telemetry.tracing import Phase

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType
    from uuid import UUID

    from placerank.db.jobs import Outcome
    from placerank.domain import Job
    from placerank.worker.deliveries import Delivery

log = logging.getLogger(__name__)

_present: ContextVar[Observation | None] = ContextVar("observation", default=None)


class Observation:
    """Observes one batch, from its first read to the stored answers."""

    def __init__(self, deliveries: Sequence[Delivery]) -> None:
        self._deliveries = deliveries
        self._waited_s: dict[UUID, float] = {}
        self._phases: list[Phase] = []
        self._began_ns = time.time_ns()
        self._began = time.perf_counter()
        self._read_at = self._began

    def __enter__(self) -> Self:
        self._token = _present.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _present.reset(self._token)
        metrics.BATCH_SIZE.observe(len(self._deliveries))
        metrics.BATCH_DURATION.observe(time.perf_counter() - self._began)
        if tracing.tracer is not None:
            self._trace(None if error is None else type(error).__name__)

    def found(self, jobs: Sequence[Job]) -> None:
        """Record the unfinished jobs of the batch, and how long they have waited."""
        self._read_at = time.perf_counter()
        for job in jobs:
            self._waited_s[job.task_id] = job.waited_s
            metrics.QUEUE_WAIT.observe(job.waited_s)

    def add_phase(self, name: str, kind: str, began_ns: int) -> None:
        """Record a phase of the batch that has ended."""
        self._phases.append(Phase(name, kind, began_ns, time.time_ns()))

    def stored(self, outcomes: Sequence[Outcome], applied: set[UUID]) -> None:
        """Record the outcomes; ``applied`` are the ids of those that were stored."""
        since_read = time.perf_counter() - self._read_at
        telling = log.isEnabledFor(logging.DEBUG)
        for outcome in outcomes:
            if outcome.task_id not in applied:
                continue
            if outcome.shown is None:
                metrics.FAILED.labels(outcome.problem.code if outcome.problem else "internal_error").inc()
            else:
                answers, scores = metrics.version_series(outcome.shown.model_version)
                answers.inc()
                if outcome.shown.scores:
                    scores.observe(outcome.shown.scores[0])
            if outcome.task_id in self._waited_s:
                metrics.ANSWER_AGE.observe(self._waited_s[outcome.task_id] + since_read)
            if telling:
                log.debug("worker: %s", _how(outcome), extra=self.about(outcome))
        metrics.UNUSED.inc(len(outcomes) - len(applied))

    def about(self, outcome: Outcome) -> dict[str, str]:
        """The fields of a log line about this outcome."""
        delivery = next((one for one in self._deliveries if one.task_id == outcome.task_id), None)
        version = None if outcome.shown is None else outcome.shown.model_version
        if delivery is None:
            return logs.about(outcome.task_id, model_version=version)
        return logs.about(
            outcome.task_id,
            request_id=delivery.request_id,
            traceparent=delivery.traceparent,
            model_version=version,
        )

    def _trace(self, error: str | None) -> None:
        for delivery in self._deliveries:
            waited_s = self._waited_s.get(delivery.task_id)
            if waited_s is not None and tracing.sampled(delivery.traceparent):
                began_ns = self._began_ns - int(waited_s * 1e9)
                span = tracing.begin("queue wait", "consumer", delivery.traceparent, began_ns=began_ns)
                tracing.end(span, ended_ns=self._began_ns)
        about: dict[str, str | int] = {"placerank.batch_size": len(self._deliveries)}
        if error is not None:
            about["error"] = error
        traceparents = [delivery.traceparent for delivery in self._deliveries]
        tracing.shared("batch", "consumer", traceparents, self._began_ns, self._phases, **about)


def _how(outcome: Outcome) -> str:
    return "answered" if outcome.problem is None else f"ended: {outcome.problem.code}"


def phase(name: str, kind: str = "client") -> AbstractContextManager[None]:
    """Times a phase of the current batch for its trace; does nothing without tracing."""
    return nullcontext() if tracing.tracer is None else _timed(name, kind)


@contextmanager
def _timed(name: str, kind: str) -> Iterator[None]:
    began_ns = time.time_ns()
    try:
        yield
    finally:
        observation = _present.get()
        if observation is not None:
            observation.add_phase(name, kind, began_ns)
