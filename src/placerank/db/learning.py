"""Trainings as the training worker needs them: its lease, the lists it learns from, and the version it registers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from placerank.db.jobs import traveller_of
from placerank.db.pool import run
from placerank.domain import NOTHING_CHOSEN, PLACE_FIELDS, Problem, Status, Traveller

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from placerank.db.pool import Database


@dataclass(frozen=True, slots=True)
class AnsweredList:
    """One list that a traveller was shown and answered; ``chosen`` is a position, -1 for none of the places."""

    task_id: UUID
    identity: str
    traveller: Traveller
    places: Sequence[tuple[float, ...]]
    chosen: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A training that is this worker's for the length of its lease."""

    options: Mapping[str, Any]
    attempts: int


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A trained model on its way into the registry."""

    kind: str
    digest: str
    artifact: bytes
    metrics: Mapping[str, Any]
    promote: bool
    seed: int
    dataset_digest: str
    task_ids: Sequence[UUID]


class LearningRepository:
    """What the training worker reads and writes. Raises psycopg's own errors."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, training_id: UUID, lease_s: float) -> Claim | None:
        """Take the training; none where it has finished or another worker's lease still runs."""
        rows = self._database.fetch("claim_training", {"id": training_id, "lease_s": lease_s})
        return Claim(rows[0]["options"], rows[0]["attempts"]) if rows else None

    def finished(self, training_id: UUID) -> bool:
        """Whether nothing is left to do: it has ended, or is not stored."""
        rows = self._database.fetch("read_training", {"id": training_id})
        return not rows or Status(rows[0]["status"]).finished

    def report(self, training_id: UUID, progress: float, lease_s: float) -> None:
        """Say how far it is, from 0 to 1, and renew the lease."""
        self._database.fetch("report_progress", {"id": training_id, "progress": progress, "lease_s": lease_s})

    def release(self, training_id: UUID) -> None:
        """Give it up unfinished, for the next worker."""
        self._database.fetch("release_training", {"id": training_id})

    def fail(self, training_id: UUID, problem: Problem) -> None:
        """End it without a version."""
        self._database.fetch("finish_training", _ending(training_id, Status.FAILURE, problem=problem))

    def champion(self) -> tuple[str, bytes] | None:
        """The version with the greatest share, and its artifact."""
        rows = self._database.fetch("models_in_use")
        best = max(rows, key=lambda row: row["use_percentage"], default=None)
        return None if best is None else (best["version"], bytes(best["artifact"]))

    def lists(self, most: int) -> list[AnsweredList]:
        """The newest ``most`` answered lists, oldest first, with the places as they were when they were shown."""
        with self._database.transaction() as connection:
            rows = run(connection, "read_lists", {"max_lists": most})
            revisions = sorted({revision for row in rows for revision in row["revisions"]})
            places = {
                row["revision"]: tuple(float(row[name]) for name in PLACE_FIELDS)
                for row in run(connection, "read_revisions", {"revisions": revisions})
            }
        return [_answered(row, places) for row in rows]

    def register(self, training_id: UUID, version: NewVersion) -> str | None:
        """Record dataset, version and the training's end in one transaction; none where it had ended before."""
        with self._database.transaction() as connection:
            run(connection, "lock_models")
            dataset = {
                "training_id": training_id,
                "lists": len(version.task_ids),
                "seed": version.seed,
                "digest": version.dataset_digest,
                "task_ids": list(version.task_ids),
            }
            if version.promote:
                for row in run(connection, "shares"):
                    run(connection, "set_share", {"id": row["id"], "share": 0})
            model = {
                "kind": version.kind,
                "digest": version.digest,
                "artifact": version.artifact,
                "use_percentage": 100 if version.promote else 0,
                "metrics": json.dumps(dict(version.metrics)),
                "training_id": training_id,
                "dataset_id": run(connection, "insert_dataset", dataset)[0]["id"],
            }
            name = str(run(connection, "insert_model", model)[0]["version"])
            run(connection, "bump_models")
            ending = _ending(training_id, Status.SUCCESS, model_version=name, metrics=version.metrics)
            registered = bool(run(connection, "finish_training", ending))
            if not registered:
                raise psycopg.Rollback
        return name if registered else None


def _answered(row: Mapping[str, Any], places: Mapping[int, tuple[float, ...]]) -> AnsweredList:
    choice = row["choice"]
    chosen = NOTHING_CHOSEN if choice == NOTHING_CHOSEN else row["location_ids"].index(choice)
    shown = [places[revision] for revision in row["revisions"]]
    return AnsweredList(row["id"], row["identity"], traveller_of(row), shown, chosen)


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
