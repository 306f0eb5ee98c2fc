"""One batch of inferences: read the travellers, score the catalogue, store the answers, wake waiting requests."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, TypeVar

from placerank.cache import answers
from placerank.db.jobs import Outcome, Shown
from placerank.db.pool import OUTAGES
from placerank.domain import Job, Problem, Status
from placerank.telemetry.metrics import RETRIED, SCORING_DURATION
from placerank.worker.deliveries import Delivery, Stopping, TooManyAttempts
from placerank.worker.inference.observation import Observation, phase

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from placerank.cache.ports import WorkerCache
    from placerank.db.jobs import JobRepository
    from placerank.worker.inference.exploration import Explorer, Order
    from placerank.worker.inference.serving import ServedModel, Serving, Snapshot

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Maximum of recorded attempts. The first run, in a batch, is not recorded: when a message is redelivered, its worker
#: may have died, or may have returned the message at a shutdown.
MOST_ATTEMPTS = 3
_PAUSES_S = (0.1, 0.2, 0.5, 1.0, 2.0)
_EXPIRED = Problem("deadline_exceeded", "The inference had not started when its deadline passed.")
_NO_PLACES = Problem("no_places", "The catalogue became empty before the inference ran.")


class InferenceBatch:
    """Runs batches. Each id is applied once; ids that are finished or erased are skipped."""

    def __init__(
        self,
        jobs: JobRepository,
        cache: WorkerCache,
        serving: Serving,
        *,
        explorer: Explorer,
        moved: Callable[[], None],
    ) -> None:
        """``moved`` is called while a batch waits for the database, because a waiting batch does not hang."""
        self._jobs = jobs
        self._cache = cache
        self._serving = serving
        self._explorer = explorer
        self._moved = moved
        self._stopping = threading.Event()
        self._given_up = False

    def stop(self) -> None:
        """Stop waiting for an unreachable database."""
        self._stopping.set()

    def run(self, deliveries: Sequence[Delivery]) -> Sequence[None]:
        """Complete these inferences; raises what scoring raises, ``TooManyAttempts`` and ``Stopping``."""
        with Observation(deliveries) as seen:
            with phase("SELECT read_jobs"):
                jobs = self._patiently(lambda: self._jobs.read([delivery.task_id for delivery in deliveries]))
            seen.found(jobs)
            if jobs:
                snapshot = self._serving.current(jobs[0].versions)
                if deliveries[0].redelivered:
                    self._count_attempt(deliveries[0].task_id)
                with SCORING_DURATION.time(), phase("rank", "internal"):
                    outcomes, records = self._outcomes(jobs, snapshot)
                self._finish(outcomes, records, seen)
        return [None] * len(deliveries)

    def fail(self, task_id: UUID, problem: Problem) -> None:
        """End one inference with a problem."""
        record = answers.ended(str(task_id), Status.FAILURE, problem).encode()
        outcome = Outcome(task_id, problem=problem, model_version=self._version_of(task_id))
        self._finish([outcome], {task_id: record}, Observation([Delivery(task_id)]))

    def _version_of(self, task_id: UUID) -> str | None:
        """The version that should have answered; failures count against it."""
        jobs = self._patiently(lambda: self._jobs.read([task_id]))
        return self._serving.current().model_for(jobs[0].identity).version if jobs else None

    def _count_attempt(self, task_id: UUID) -> None:
        # The last step before scoring: if the worker dies from now on, this counts against this inference only.
        RETRIED.inc()
        attempts = self._patiently(lambda: self._jobs.count_attempt(task_id))
        if attempts is not None and attempts > MOST_ATTEMPTS:
            raise TooManyAttempts

    def _outcomes(self, jobs: Sequence[Job], snapshot: Snapshot) -> tuple[list[Outcome], dict[UUID, bytes]]:
        outcomes: list[Outcome] = []
        records: dict[UUID, bytes] = {}
        ready: dict[ServedModel, list[Job]] = {}
        for job in jobs:
            problem = _EXPIRED if job.expired else None if len(snapshot.table) else _NO_PLACES
            if problem is None:
                ready.setdefault(snapshot.model_for(job.identity), []).append(job)
                continue
            outcomes.append(Outcome(job.task_id, problem=problem))
            records[job.task_id] = answers.ended(str(job.task_id), Status.FAILURE, problem).encode()
        for model, together in ready.items():
            orders = self._explorer.orders(model.scorer, [job.traveller for job in together])
            for job, order in zip(together, orders, strict=True):
                outcomes.append(Outcome(job.task_id, shown=_shown(order, snapshot, model)))
                records[job.task_id] = _record(job, order, snapshot, model)
        return outcomes, records

    def _finish(self, outcomes: Sequence[Outcome], records: dict[UUID, bytes], seen: Observation) -> None:
        with phase("UPDATE finish_inferences"):
            applied = self._patiently(lambda: self._jobs.finish(outcomes))
        with phase("SET answers"):
            self._cache.store({task_id: record for task_id, record in records.items() if task_id in applied})
        seen.stored(outcomes, applied)

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Ask the database; if it is unreachable, wait and retry, without counting an attempt or requeueing."""
        failures = 0
        while True:
            if self._given_up:
                # A batch has waited already since the worker is stopping; others would delay its end.
                raise Stopping
            try:
                return ask()
            except OUTAGES as error:
                if failures == 0:
                    log.warning("worker: waiting for the database: %s", str(error).strip())
                self._moved()
                if self._stopping.wait(_PAUSES_S[min(failures, len(_PAUSES_S) - 1)]):
                    self._given_up = True
                    raise Stopping from error
                failures += 1


def _shown(order: Order, snapshot: Snapshot, model: ServedModel) -> Shown:
    table, rows = snapshot.table, list(order.rows)
    return Shown(
        model_version=model.version,
        catalogue_version=table.version,
        candidates=len(table),
        revisions=table.revisions[rows].tolist(),
        location_ids=table.location_ids[rows].tolist(),
        scores=order.scores,
        propensities=order.propensities,
        candidates_digest=table.digest,
        explored=order.explored,
    )


def _record(job: Job, order: Order, snapshot: Snapshot, model: ServedModel) -> bytes:
    scored = ((score, snapshot.rendered(row)) for score, row in zip(order.scores, order.rows, strict=True))
    return answers.succeeded(str(job.task_id), model.version, answers.render_places(scored)).encode()
