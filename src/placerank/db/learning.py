"""Trainings as the training worker needs them: its lease, the lists it learns from, and the version it registers."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import psycopg

from placerank.db.jobs import traveller_of
from placerank.db.pool import follow, run
from placerank.db.shares import WHOLE, present_shares, shares_after, write_shares
from placerank.domain import NOTHING_CHOSEN, PLACE_FIELDS, Problem, Status, Traveller
from placerank.errors import PlacerankError
from placerank.schema import records
from placerank.telemetry.metrics import RECORDS_REFUSED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from psycopg.rows import DictRow

    from placerank.db.pool import Database

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AnsweredList:
    """A list of places that a traveller was shown and answered; ``chosen`` is a position from 0, or -1 for none."""

    task_id: UUID
    identity: str
    traveller: Traveller
    places: Sequence[tuple[float, ...]]
    chosen: int
    explored: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """A training that this worker holds for the duration of its lease."""

    options: Mapping[str, Any]
    attempts: int


@dataclass(frozen=True, slots=True)
class Dataset:
    """Which lists a training learns from, and what was chosen from each when it was recorded."""

    seed: int
    digest: str
    task_ids: Sequence[UUID]
    choices: Sequence[int]
    environment: Mapping[str, str]
    id: int = 0


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A version with its artifact, as the registry has it; neither is checked yet."""

    version: str
    digest: str
    artifact: bytes


@dataclass(frozen=True, slots=True)
class Promotion:
    """How a version goes live: its first share, and the expected scores of this version and of the champion."""

    share: int
    expected: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A model to register. Without ``promotion`` it serves no travellers, unless it is the first version."""

    kind: str
    digest: str
    artifact: bytes
    metrics: Mapping[str, Any]
    card: str
    decision: Mapping[str, Any] | None = None
    promotion: Promotion | None = None
    training_id: UUID | None = None
    dataset_id: int | None = None


class LearningRepository:
    """What the training worker reads and writes. Raises psycopg's own errors."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, training_id: UUID, lease_s: float) -> Claim | None:
        """Take the training; none if it has finished, or if a lease on any training still runs."""
        with self._database.transaction() as connection:
            run(connection, "lock_trainings")
            rows = run(connection, "claim_training", {"id": training_id, "lease_s": lease_s})
        return Claim(rows[0]["options"], rows[0]["attempts"]) if rows else None

    def finished(self, training_id: UUID) -> bool:
        """Whether nothing is left to do: the training has ended, or is not stored."""
        rows = self._database.fetch("read_training", {"id": training_id})
        return not rows or Status(rows[0]["status"]).finished

    def report(self, training_id: UUID, progress: float, lease_s: float) -> bool:
        """Store the progress (0 to 1) and renew the lease; false if the training has ended, for example cancelled."""
        return bool(
            self._database.fetch("report_progress", {"id": training_id, "progress": progress, "lease_s": lease_s})
        )

    def release(self, training_id: UUID) -> None:
        """Hand the unfinished training back, for the next worker."""
        self._database.fetch("release_training", {"id": training_id})

    def fail(self, training_id: UUID, problem: Problem) -> None:
        """End the training without a version."""
        self._database.fetch("finish_training", _ending(training_id, Status.FAILURE, problem=problem))

    def in_use(self) -> list[StoredVersion]:
        """The versions in use, the one with the greatest share first."""
        rows = sorted(self._database.fetch("models_in_use"), key=lambda row: -row["use_percentage"])
        return [StoredVersion(row["version"], row["digest"], bytes(row["artifact"])) for row in rows]

    def lists(self, most: int) -> list[AnsweredList]:
        """The newest ``most`` answered lists, oldest first, with the places as they were when they were shown."""
        return self._lists("read_lists", {"max_lists": most})

    def lists_of(self, dataset: Dataset) -> list[AnsweredList]:
        """The lists of a dataset as they were when it was recorded; fewer where travellers were erased since."""
        chosen = dict(zip(dataset.task_ids, dataset.choices, strict=True))
        found = self._lists("read_lists_again", {"task_ids": list(dataset.task_ids)})
        known = [one for one in found if chosen[one.task_id] < len(one.places)]
        return [replace(one, chosen=chosen[one.task_id]) for one in known]

    def _lists(self, name: str, params: Mapping[str, Any]) -> list[AnsweredList]:
        with self._database.transaction() as connection:
            rows = run(connection, name, params)
            revisions = sorted({one for row in rows for one in row["revisions"] or () if one is not None})
            places = {
                row["revision"]: tuple(float(row[name]) for name in PLACE_FIELDS)
                for row in run(connection, "read_revisions", {"revisions": revisions})
            }
        return [_answered(row, places) for row in _usable(rows, places)]

    def dataset(self, training_id: UUID) -> Dataset | None:
        """The dataset that an earlier attempt at this training recorded; none if it cannot be used."""
        rows = self._database.fetch("read_dataset", {"training_id": training_id})
        try:
            return _dataset(rows[0]) if rows else None
        except PlacerankError as error:
            RECORDS_REFUSED.labels("dataset").inc()
            log.error("training %s: it is recorded anew: %s", training_id, error)  # noqa: TRY400 - the error says why
            return None

    def dataset_of(self, version: str) -> tuple[StoredVersion, Dataset | None] | None:
        """A version and the dataset that it was trained on; none where there is no such version.

        Raises ``PlacerankError`` if the dataset cannot be used.
        """
        rows = self._database.fetch("read_dataset_of_version", {"version": version})
        if not rows:
            return None
        stored = StoredVersion(version, rows[0]["model_digest"], bytes(rows[0]["artifact"]))
        return stored, _dataset(rows[0]) if rows[0]["choices"] is not None else None

    def record(self, training_id: UUID, dataset: Dataset) -> int:
        """Record a training's lists; returns the dataset's id."""
        params = {
            "training_id": training_id,
            "lists": len(dataset.task_ids),
            "seed": dataset.seed,
            "digest": dataset.digest,
            "task_ids": list(dataset.task_ids),
            "choices": list(dataset.choices),
            "environment": json.dumps(dict(dataset.environment)),
        }
        return int(self._database.fetch("insert_dataset", params)[0]["id"])

    def drop(self, dataset: Dataset) -> None:
        """Forget a dataset that no version was trained on."""
        self._database.fetch("delete_dataset", {"id": dataset.id})

    def register(self, training_id: UUID, version: NewVersion) -> str | None:
        """Register the version and end the training in one transaction; none if the training had ended before."""
        with self._database.transaction() as connection:
            name = register(connection, replace(version, training_id=training_id))
            ending = _ending(training_id, Status.SUCCESS, model_version=name, metrics=version.metrics)
            registered = bool(run(connection, "finish_training", ending))
            if not registered:
                raise psycopg.Rollback
        return name if registered else None


def register(connection: psycopg.Connection[DictRow], version: NewVersion) -> str:
    """Register a version on this connection, and start its canary if it has a promotion; returns its name."""
    present = follow(connection, present_shares())
    row = run(
        connection,
        "insert_model",
        {
            "kind": version.kind,
            "digest": version.digest,
            "artifact": version.artifact,
            "use_percentage": 0 if present else WHOLE,
            "metrics": json.dumps(dict(version.metrics)),
            "training_id": version.training_id,
            "dataset_id": version.dataset_id,
            "decision": None if version.decision is None else json.dumps(dict(version.decision)),
            "card": version.card,
        },
    )[0]
    if version.promotion is not None and present:
        _promote(connection, row["id"], present, version.promotion)
    run(connection, "bump_models")
    return str(row["version"])


def _promote(
    connection: psycopg.Connection[DictRow], model_id: int, present: Mapping[int, int], promotion: Promotion
) -> None:
    """Start a canary. If an older one still runs, its travellers go back to its champion first."""
    shares = dict(present)
    ended = {"status": "superseded", "reason": "A newer version passed the gate.", "figures": None}
    for older in run(connection, "end_canary", ended):
        shares[older["champion_id"]] += shares[older["model_id"]]
        shares[older["model_id"]] = 0
    champion = max(shares, key=lambda one: (shares[one], one))
    after = shares_after(_greatest_first({**shares, model_id: 0}), model_id, promotion.share)
    follow(connection, write_shares({**shares, **after}))
    canary = {
        "model_id": model_id,
        "champion_id": champion,
        "share": promotion.share,
        "expected": json.dumps(dict(promotion.expected)),
    }
    run(connection, "start_canary", canary)
    if promotion.share == WHOLE:
        run(connection, "end_canary", {"status": "promoted", "reason": "The first share is 100 %.", "figures": None})


def _greatest_first(shares: Mapping[int, int]) -> dict[int, int]:
    return {one: shares[one] for one in sorted(shares, key=lambda one: (-shares[one], -one))}


def _dataset(row: Mapping[str, Any]) -> Dataset:
    if problem := records.dataset_problem(row):
        raise PlacerankError(f"Dataset {row['id']} cannot be used: {problem}.")
    environment = records.texts(row["environment"])
    return Dataset(row["seed"], row["digest"], row["task_ids"], row["choices"], environment, row["id"])


def _usable(rows: Sequence[Mapping[str, Any]], places: Mapping[int, tuple[float, ...]]) -> Sequence[Mapping[str, Any]]:
    """The rows that are whole; the others are counted, and the first of them is named."""
    problems = {row["id"]: records.list_problem(row, places) for row in rows}
    if odd := [task_id for task_id, problem in problems.items() if problem]:
        RECORDS_REFUSED.labels("list").inc(len(odd))
        log.error("training: %d answered lists are left out; in the first, %s, %s", len(odd), odd[0], problems[odd[0]])
    return [row for row in rows if problems[row["id"]] is None]


def _answered(row: Mapping[str, Any], places: Mapping[int, tuple[float, ...]]) -> AnsweredList:
    choice = row["choice"]
    chosen = row["location_ids"].index(choice) if choice is not None and choice >= 0 else NOTHING_CHOSEN
    shown = [places[revision] for revision in row["revisions"]]
    return AnsweredList(row["id"], row["identity"], traveller_of(row), shown, chosen, row["explored"])


def _ending(
    training_id: UUID,
    status: Status,
    *,
    problem: Problem | None = None,
    model_version: str | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "id": training_id,
        "status": status,
        "progress": 1.0 if status is Status.SUCCESS else 0.0,
        "metrics": None if metrics is None else json.dumps(dict(metrics)),
        "model_version": model_version,
        "error_code": problem.code if problem else None,
        "error_detail": problem.detail if problem else None,
    }
