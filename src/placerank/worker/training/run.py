"""A training: read shown lists and choices, fit a model, compare it with the one in use, register the version."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from placerank.db.learning import NewVersion, Promotion
from placerank.db.pool import OUTAGES
from placerank.domain import Problem
from placerank.ranking.errors import ModelError, NotEnoughData
from placerank.ranking.judging.bootstrap import metric_intervals
from placerank.ranking.judging.card import model_card
from placerank.ranking.judging.gate import decide
from placerank.ranking.lists import choice_probabilities
from placerank.ranking.model import Model
from placerank.ranking.prior import prior
from placerank.supervision.threads import SupervisedThread
from placerank.telemetry.metrics import RECORDS_REFUSED, TRAINING_DURATION, TRAINING_PROGRESS
from placerank.worker.deliveries import Stopping, TooManyAttempts
from placerank.worker.training.datasets import dataset_of, learn_from
from placerank.worker.training.expectations import expected_scores, explored_figures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from uuid import UUID

    from placerank.db.learning import AnsweredList, Dataset, LearningRepository
    from placerank.ranking.catalogue import PlaceTable
    from placerank.ranking.judging.gate import Decision
    from placerank.ranking.learning.training import Trained

log = logging.getLogger(__name__)

MOST_ATTEMPTS = 3
_LOOK_EVERY_S = 1.0
_REPORT_EVERY_S = 0.5


class TrainingRun:
    """Runs trainings, one at a time."""

    def __init__(
        self,
        learning: LearningRepository,
        catalogue: Callable[[], PlaceTable],
        first_model: Callable[[], None],
        *,
        min_lists: int,
        max_lists: int,
        lease_s: float,
        answer_size: int,
        first_share: int,
    ) -> None:
        """``first_model`` registers a model if there is none: even the first trained model has to pass the gate.

        ``first_share`` is the first share of the travellers, in per cent, that a version gets when it has passed.
        """
        self._first_model = first_model
        self._answer_size = answer_size
        self._learning = learning
        self._catalogue = catalogue
        self._first_share = first_share
        self._min_lists = min_lists
        self._max_lists = max_lists
        self._lease_s = lease_s
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Interrupt the running training; it returns to the queue."""
        self._stopping.set()

    def run(self, training_id: UUID) -> None:
        """Complete a training; raises what training raises, ``TooManyAttempts`` and ``Stopping``."""
        with TRAINING_DURATION.time():
            self._patiently(lambda: self._attempt(training_id))

    def fail(self, training_id: UUID, problem: Problem) -> None:
        """End a training without a version."""
        self._patiently(lambda: self._learning.fail(training_id, problem))

    def _patiently(self, work: Callable[[], None]) -> None:
        while True:
            try:
                return work()
            except OUTAGES as error:
                log.warning("training: waiting for the database: %s", " ".join(str(error).split()))
                self._pause()

    def _attempt(self, training_id: UUID) -> None:
        # Another worker may hold the lease, even if that worker is dead: then wait until the lease ends.
        while (claim := self._learning.claim(training_id, self._lease_s)) is None:
            if self._learning.finished(training_id):
                return
            self._pause()
        if claim.attempts > MOST_ATTEMPTS:
            raise TooManyAttempts
        with self._renewed_lease(training_id) as report:
            try:
                self._train(training_id, claim.options, report)
            except _Cancelled:
                log.info("training %s: cancelled", training_id)
            except NotEnoughData as error:
                self._learning.fail(training_id, Problem("not_enough_data", str(error)))
            except (Stopping, *OUTAGES):
                # Neither counts as an attempt. The lease is released as soon as the database is reachable.
                self._patiently(lambda: self._learning.release(training_id))
                raise

    def _train(self, training_id: UUID, options: Mapping[str, Any], report: _Report) -> None:
        dataset, answered = self._recorded(training_id, options)
        name, champion = self._champion()
        trained = learn_from(answered, dataset, min_lists=self._min_lists, progress=report.set)
        decision = decide(champion, trained.model, trained.held_out, dataset.seed)
        chances = choice_probabilities(trained.model, trained.held_out)
        intervals = metric_intervals(*chances, trained.held_out, dataset.seed)
        figures = explored_figures(champion, trained.model, answered, dataset.seed)
        version = NewVersion(
            kind=trained.model.kind,
            digest=trained.model.digest,
            artifact=trained.model.to_artifact(),
            metrics=_metrics(trained, decision, name) | {"intervals": intervals},
            card=model_card(trained.model, intervals),
            decision={**decision.as_dict(), "champion_version": name, "counterfactual": figures},
            promotion=self._promotion(champion, trained) if decision.passed else None,
            dataset_id=dataset.id,
        )
        registered = self._learning.register(training_id, version)
        outcome = "passed the gate" if decision.passed else f"refused by the gate: {' '.join(decision.reasons)}"
        log.info("training %s: %s, %s", training_id, registered, outcome)

    def _recorded(self, training_id: UUID, options: Mapping[str, Any]) -> tuple[Dataset, Sequence[AnsweredList]]:
        """The training's lists: those that an earlier attempt recorded, unless some of them have been erased since."""
        dataset = self._learning.dataset(training_id)
        if dataset is not None:
            answered = self._learning.lists_of(dataset)
            if len(answered) == len(dataset.task_ids):
                return dataset, answered
            self._learning.drop(dataset)
        answered = self._learning.lists(int(options.get("max_lists", self._max_lists)))
        if len(answered) < self._min_lists:
            raise NotEnoughData(f"Training needs {self._min_lists} answered lists; there are {len(answered)}.")
        found = dataset_of(answered, int(options.get("seed", 0)))
        return replace(found, id=self._learning.record(training_id, found)), answered

    def _champion(self) -> tuple[str | None, Model]:
        """The version with the greatest share that can be read, else the prior."""
        if not (stored := self._learning.in_use()):
            self._first_model()
            stored = self._learning.in_use()
        for one in stored:
            try:
                return one.version, Model.from_registry(one.artifact, one.digest)
            except ModelError as error:
                RECORDS_REFUSED.labels("model").inc()
                log.error("training: not compared with %s: %s", one.version, error)  # noqa: TRY400 - it says why
        return None, prior()

    def _promotion(self, champion: Model, trained: Trained) -> Promotion:
        travellers, table = trained.held_out.travellers, self._catalogue()
        expected = {
            "canary": expected_scores(trained.model, table, travellers, self._answer_size).as_dict(),
            "champion": expected_scores(champion, table, travellers, self._answer_size).as_dict(),
        }
        return Promotion(self._first_share, expected)

    @contextmanager
    def _renewed_lease(self, training_id: UUID) -> Iterator[_Report]:
        """Report progress and renew the lease on another thread, however long a step of the training takes."""
        report, ended = _Report(self._stopping), threading.Event()

        def renew() -> None:
            while not ended.wait(_REPORT_EVERY_S):
                try:
                    if not self._learning.report(training_id, report.progress, self._lease_s):
                        report.cancel()
                except OUTAGES:
                    continue

        thread = SupervisedThread("training lease", renew, end=ended.set)
        thread.start()
        try:
            yield report
        finally:
            thread.stop()

    def _pause(self) -> None:
        if self._stopping.wait(_LOOK_EVERY_S):
            raise Stopping("the training worker is stopping")


class _Cancelled(Exception):
    """The training has been ended elsewhere, for example cancelled."""


class _Report:
    """The progress of a training; ``set`` raises ``Stopping`` or ``_Cancelled`` when the training has to end."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._cancelled = False
        self.progress = 0.0

    def cancel(self) -> None:
        """End the training at its next step."""
        self._cancelled = True

    def set(self, progress: float) -> None:
        """Record progress; the training calls this."""
        if self._stopping.is_set():
            raise Stopping("the training worker is stopping")
        if self._cancelled:
            raise _Cancelled
        self.progress = progress
        TRAINING_PROGRESS.set(progress)


def _metrics(trained: Trained, decision: Decision, against: str | None) -> dict[str, Any]:
    return {
        **trained.metrics,
        "compared_with": against,
        "compared_log_loss": decision.champion.log_loss,
        "promoted": decision.passed,
        "trained_at": time.time(),
    }
