"""Trainings as the API needs them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from placerank.domain import Problem, Status, TaskType

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from placerank.db.pool import AsyncDatabase


@dataclass(frozen=True, slots=True)
class TrainingStart:
    """A request to train."""

    task_id: UUID
    options: Mapping[str, Any]
    caller: str = ""
    key: str | None = None
    digest: str | None = None
    traceparent: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class TrainingStanding:
    """The status of a training; ``progress`` goes from 0 to 1."""

    task_id: UUID
    status: Status
    progress: float
    model_version: str | None
    metrics: Mapping[str, float] | None
    problem: Problem | None

    def as_dict(self) -> dict[str, Any]:
        """The body of a status reply."""
        body: dict[str, Any] = {
            "task_id": str(self.task_id),
            "status": self.status,
            "type": TaskType.TRAINING,
            "progress": self.progress,
        }
        if self.metrics is not None:
            body["metrics"] = self.metrics
        if self.model_version is not None:
            body["model_version"] = self.model_version
        if self.problem is not None:
            body["error"] = self.problem.as_dict()
        return body


class TrainingRepository:
    """Trainings in PostgreSQL."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database

    async def start(self, start: TrainingStart) -> bool:
        """Store the training; false if its idempotency key is taken."""
        params = {
            "id": start.task_id,
            "options": json.dumps(dict(start.options)),
            "caller": start.caller,
            "key": start.key,
            "digest": start.digest,
            "traceparent": start.traceparent,
            "request_id": start.request_id,
        }
        return bool(await self._database.fetch("start_training", params))

    async def unfinished(self, most: int) -> int:
        """How many trainings are unfinished, counted up to ``most``."""
        return int((await self._database.fetch("unfinished_trainings", {"limit": most}))[0]["count"])

    async def find_key(self, caller: str, key: str) -> tuple[UUID, str] | None:
        """The task and the digest of the body that are stored for an idempotency key."""
        rows = await self._database.fetch("find_idempotency_key", {"caller": caller, "key": key})
        return (rows[0]["task_id"], rows[0]["digest"]) if rows else None

    async def cancel(self, task_id: UUID) -> None:
        """Cancel the training if it has not finished."""
        await self._database.fetch("cancel_training", {"id": task_id})

    async def standing(self, task_id: UUID) -> TrainingStanding | None:
        """The status of a training; none if it is unknown."""
        rows = await self._database.fetch("read_training", {"id": task_id})
        if not rows:
            return None
        row = rows[0]
        problem = Problem(row["error_code"], row["error_detail"]) if row["error_code"] else None
        return TrainingStanding(
            task_id, Status(row["status"]), row["progress"], row["model_version"], row["metrics"], problem
        )
