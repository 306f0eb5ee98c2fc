"""A training: read what was shown and chosen, learn, compare with what serves now, register the version."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from placerank.db.learning import NewVersion
from placerank.db.pool import OUTAGES
from placerank.domain import PLACE_FIELDS, Problem
from placerank.ranking.errors import NotEnoughData
from placerank.ranking.lists import ShownLists
from placerank.ranking.model import Model
from placerank.ranking.training import train
from placerank.telemetry.metrics import TRAINING_DURATION, TRAINING_PROGRESS
from placerank.worker.inference import Stopping, TooManyAttempts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from uuid import UUID

    from placerank.db.learning import AnsweredList, LearningRepository
    from placerank.ranking.training import Trained

log = logging.getLogger(__name__)

MOST_ATTEMPTS = 3
_LOOK_EVERY_S = 1.0
_REPORT_EVERY_S = 0.5


class TrainingRun:
    """Runs trainings, one at a time."""

    def __init__(self, learning: LearningRepository, *, min_lists: int, max_lists: int, lease_s: float) -> None:
        self._learning = learning
        self._min_lists = min_lists
        self._max_lists = max_lists
        self._lease_s = lease_s
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Give up what is running; it goes back to the queue."""
        self._stopping.set()

    def run(self, training_id: UUID) -> None:
        """Bring a training to its end; raises what training raises, ``TooManyAttempts`` and ``Stopping``."""
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
        # Another worker's lease may still run although that worker is dead: then wait for the lease to end.
        while (claim := self._learning.claim(training_id, self._lease_s)) is None:
            if self._learning.finished(training_id):
                return
            self._pause()
        if claim.attempts > MOST_ATTEMPTS:
            raise TooManyAttempts
        with self._renewed_lease(training_id) as report:
            try:
                self._train(training_id, claim.options, report)
            except NotEnoughData as error:
                self._learning.fail(training_id, Problem("not_enough_data", str(error)))
            except (Stopping, *OUTAGES):
                # Neither is an attempt. The lease is given back as soon as there is a database to give it to.
                self._patiently(lambda: self._learning.release(training_id))
                raise

    def _train(self, training_id: UUID, options: Mapping[str, Any], report: _Report) -> None:
        seed = int(options.get("seed", 0))
        answered = self._learning.lists(int(options.get("max_lists", self._max_lists)))
        champion = self._learning.champion()
        start = None if champion is None else Model.from_artifact(champion[1])
        trained = train(shown_lists(answered), seed=seed, start=start, min_lists=self._min_lists, progress=report.set)
        version = _version(trained, answered, seed, against=None if champion is None else champion[0])
        name = self._learning.register(training_id, version)
        log.info("training %s: %s, %s", training_id, name, "promoted" if version.promote else "kept aside")

    @contextmanager
    def _renewed_lease(self, training_id: UUID) -> Iterator[_Report]:
        """Report progress and renew the lease on a thread, however long a step of the training takes."""
        report, ended = _Report(self._stopping), threading.Event()

        def renew() -> None:
            while not ended.wait(_REPORT_EVERY_S):
                try:
                    self._learning.report(training_id, report.progress, self._lease_s)
                except OUTAGES:
                    continue

        thread = threading.Thread(target=renew, name="training lease", daemon=True)
        thread.start()
        try:
            yield report
        finally:
            ended.set()
            thread.join()

    def _pause(self) -> None:
        if self._stopping.wait(_LOOK_EVERY_S):
            raise Stopping("the training worker is stopping")


class _Report:
    """How far a training is; raises ``Stopping`` in the training when the worker stops."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self.progress = 0.0

    def set(self, progress: float) -> None:
        """The training's own callback."""
        if self._stopping.is_set():
            raise Stopping("the training worker is stopping")
        self.progress = progress
        TRAINING_PROGRESS.set(progress)


def shown_lists(answered: Sequence[AnsweredList]) -> ShownLists:
    """Answered lists as the arrays that training takes."""
    lengths = [len(one.places) for one in answered]
    return ShownLists(
        travellers=[one.traveller for one in answered],
        identities=[one.identity for one in answered],
        places=np.array([place for one in answered for place in one.places], dtype=np.float64).reshape(
            sum(lengths), len(PLACE_FIELDS)
        ),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        chosen=np.array([one.chosen for one in answered], dtype=np.int64),
    )


def _version(trained: Trained, answered: Sequence[AnsweredList], seed: int, against: str | None) -> NewVersion:
    loss, baseline = trained.metrics["log_loss"], trained.baseline_metrics["log_loss"]
    promote = against is None or loss < baseline
    metrics: dict[str, Any] = {
        **trained.metrics,
        "compared_with": against,
        "compared_log_loss": baseline,
        "promoted": promote,
        "trained_at": time.time(),
    }
    return NewVersion(
        kind=trained.model.kind,
        digest=trained.model.digest,
        artifact=trained.model.to_artifact(),
        metrics=metrics,
        promote=promote,
        seed=seed,
        dataset_digest=_digest(answered),
        task_ids=[one.task_id for one in answered],
    )


def _digest(answered: Sequence[AnsweredList]) -> str:
    """What identifies a dataset: which lists it has, and what was chosen from each."""
    digest = hashlib.sha256()
    for one in answered:
        digest.update(one.task_id.bytes + one.chosen.to_bytes(2, signed=True))
    return digest.hexdigest()
