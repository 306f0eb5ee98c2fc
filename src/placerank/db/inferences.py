"""Inferences as the API needs them: start, status, places, choice, cancellation. Each method is one statement."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from placerank.domain import PLACE_FIELDS, Problem, Status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from placerank.db.pool import AsyncDatabase


@dataclass(frozen=True, slots=True)
class Start:
    """A request to rank places. ``traveller`` is canonical JSON; ``key`` is the Idempotency-Key of the request."""

    task_id: UUID
    traveller: bytes
    identity: str
    user_id: str | None
    caller: str = ""
    key: str | None = None
    digest: str | None = None
    deadline_s: float | None = None
    traceparent: str | None = None
    request_id: str | None = None

    def as_json(self) -> str:
        """The start as a row of ``start_inferences``."""
        fields = {
            "id": str(self.task_id),
            "caller": self.caller,
            "key": self.key,
            "digest": self.digest,
            "identity": self.identity,
            "user_id": self.user_id,
            "deadline_s": self.deadline_s,
            "traceparent": self.traceparent,
            "request_id": self.request_id,
        }
        return f'{json.dumps(fields)[:-1]}, "traveller": {self.traveller.decode()}}}'


@dataclass(frozen=True, slots=True)
class Standing:
    """The status of an inference; ``ahead`` is about how many unfinished ones were started before it."""

    status: Status
    model_version: str | None
    problem: Problem | None
    ahead: int


@dataclass(frozen=True, slots=True)
class StoredPlace:
    """A place of an answer: its score, its id, and its values in the order of ``PLACE_FIELDS``."""

    score: float
    location_id: int
    values: Sequence[float | bool]


@dataclass(frozen=True, slots=True)
class Selection:
    """A traveller's choice: a place, or -1."""

    task_id: UUID
    location_id: int


@dataclass(frozen=True, slots=True)
class Selected:
    """The result of a selection. It is recorded if the inference has succeeded and the place was shown.

    ``position`` is the place's position in the answer, from 1, none for -1. ``replaced``: there was an earlier choice.
    """

    status: Status
    shown: bool
    changed: bool = False
    replaced: bool = False
    model_version: str = ""
    position: int | None = None


class InferenceRepository:
    """Inferences in PostgreSQL."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database

    async def start(self, starts: Sequence[Start]) -> dict[UUID, int]:
        """Store starts; returns the number of each. Omits those whose key is taken, and all if there are no places."""
        rows = "[" + ",".join(start.as_json() for start in starts) + "]"
        stored = await self._database.fetch("start_inferences", {"rows": rows})
        return {row["id"]: row["row_id"] for row in stored}

    async def find_key(self, caller: str, key: str) -> tuple[UUID, str] | None:
        """The task and the digest of the body that are stored for an idempotency key."""
        rows = await self._database.fetch("find_idempotency_key", {"caller": caller, "key": key})
        return (rows[0]["task_id"], rows[0]["digest"]) if rows else None

    async def repeats(self, caller: str, key: str) -> bool:
        """Whether a start with this idempotency key repeats an earlier one: the key is stored and has not expired."""
        rows = await self._database.fetch("find_idempotency_key", {"caller": caller, "key": key})
        return bool(rows) and not rows[0]["expired"]

    async def backlog(self, limit: int) -> int:
        """How many inferences are unfinished, counted up to ``limit``."""
        return int((await self._database.fetch("backlog", {"limit": limit}))[0]["count"])

    async def standing(self, task_ids: Sequence[UUID]) -> dict[UUID, Standing]:
        """The status of each known inference."""
        rows = await self._database.fetch("read_status", {"ids": list(task_ids)})
        return {row["id"]: _standing(row) for row in rows}

    async def places(self, task_ids: Sequence[UUID]) -> dict[UUID, list[StoredPlace]]:
        """The places of each finished inference, best first, as they were when they were shown."""
        found: dict[UUID, list[StoredPlace]] = {}
        for row in await self._database.fetch("read_answers", {"ids": list(task_ids)}):
            place = StoredPlace(row["score"], row["location_id"], [row[name] for name in PLACE_FIELDS])
            found.setdefault(row["task_id"], []).append(place)
        return found

    async def cancel(self, task_id: UUID) -> tuple[Standing, bool] | None:
        """Cancel an unfinished inference; returns its status now, and whether this call changed it; none if unknown."""
        rows = await self._database.fetch("cancel", {"id": task_id})
        if not rows:
            return None
        if rows[0]["changed"]:
            problem = Problem("cancelled", "The client cancelled it.")
            return Standing(Status.REVOKED, None, problem, 0), True
        return _standing({**rows[0], "user_id": 0, "oldest": None}), False

    async def select(self, selections: Sequence[Selection]) -> dict[UUID, Selected]:
        """Record choices, at most one for each task; unknown tasks are left out of the reply."""
        given = json.dumps([{"id": str(s.task_id), "choice": s.location_id} for s in selections])
        rows = await self._database.fetch("select_places", {"rows": given})
        return {row["id"]: _selected(row) for row in rows}


def _selected(row: dict[str, Any]) -> Selected:
    return Selected(
        Status(row["status"]),
        row["shown"],
        changed=row["changed"],
        replaced=row["replaced"],
        model_version=row["model_version"] or "",
        position=row["position"],
    )


def _standing(row: dict[str, Any]) -> Standing:
    problem = Problem(row["error_code"], row["error_detail"]) if row["error_code"] else None
    ahead = max(0, row["user_id"] - row["oldest"]) if row["oldest"] is not None else 0
    return Standing(Status(row["status"]), row["model_version"], problem, ahead)
