"""Inferences as a worker needs them: a batch's travellers in one read, a batch's results in one write."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from placerank.domain import TRAVELLER_FIELDS, Job, Problem, Status, Traveller

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from placerank.db.pool import Database


@dataclass(frozen=True, slots=True)
class Shown:
    """The places of one answer, best first, with what was known when they were shown."""

    model_version: str
    catalogue_version: int
    candidates: int
    revisions: Sequence[int]
    location_ids: Sequence[int]
    scores: Sequence[float]
    propensities: Sequence[float]
    candidates_digest: str = ""
    explored: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an inference ended: with places, or with a problem."""

    task_id: UUID
    shown: Shown | None = None
    problem: Problem | None = None
    #: With a problem: the version that should have answered, if it is known.
    model_version: str | None = None

    def as_row(self) -> dict[str, Any]:
        """The outcome as a row of ``finish_inferences``."""
        if self.shown is None:
            problem = self.problem or Problem("internal_error", "The inference failed.")
            return {
                "id": str(self.task_id),
                "status": Status.FAILURE,
                "error_code": problem.code,
                "error_detail": problem.detail,
                "model_version": self.model_version,
            }
        return {
            "id": str(self.task_id),
            "status": Status.SUCCESS,
            "model_version": self.shown.model_version,
            "catalogue_version": self.shown.catalogue_version,
            "candidates": self.shown.candidates,
            "candidates_digest": self.shown.candidates_digest or None,
            "explored": self.shown.explored,
            "revisions": self.shown.revisions,
            "location_ids": self.shown.location_ids,
            "scores": self.shown.scores,
            "propensities": self.shown.propensities,
        }


class JobRepository:
    """Inferences that wait for a worker, in PostgreSQL. Raises psycopg's own errors."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, task_ids: Sequence[UUID]) -> list[Job]:
        """The unfinished inferences among ``task_ids``, with their travellers."""
        rows = json.dumps([{"id": str(task_id)} for task_id in {*task_ids}])
        return [_job(row) for row in self._database.fetch("read_jobs", {"rows": rows})]

    def finish(self, outcomes: Sequence[Outcome]) -> set[UUID]:
        """Store the outcomes in one statement; returns the ids of those stored: they had not finished before."""
        rows = json.dumps([outcome.as_row() for outcome in outcomes], allow_nan=False)
        return {row["id"] for row in self._database.fetch("finish_inferences", {"rows": rows})}

    def count_attempt(self, task_id: UUID) -> int | None:
        """Count an attempt before a redelivered inference runs; returns all its attempts, none if it has finished."""
        rows = self._database.fetch("count_attempt", {"id": task_id})
        return rows[0]["attempts"] if rows else None


def _job(row: Mapping[str, Any]) -> Job:
    versions = row["catalogue"], row["models"]
    return Job(row["id"], traveller_of(row), row["identity"], row["expired"], versions, row["waited_s"])


def traveller_of(row: Mapping[str, Any]) -> Traveller:
    """The traveller in a row that has the 13 columns of ``TRAVELLER_FIELDS``."""
    values = {name: row[name] for name in TRAVELLER_FIELDS}
    values["people_age"] = tuple(values["people_age"])
    return Traveller(**values)
