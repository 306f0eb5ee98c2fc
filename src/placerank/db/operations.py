"""What operators do to the stored data: delete old rows, and restart failed tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from placerank.domain import TaskType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from uuid import UUID

    from placerank.db.pool import AsyncDatabase

#: Few enough that locks are short, many enough that a million rows take minutes.
_BATCH: Final = 2_000
#: The timeout of one batch, on a busy database.
_LONG_S: Final = 60.0
_REVIVE: Final = {TaskType.INFERENCE: "revive_inferences", TaskType.TRAINING: "revive_trainings"}


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows were deleted."""

    inferences: int
    keys: int
    places: int


class OperationsRepository:
    """Retention and replays. Raises ``DatabaseUnavailable``."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database

    async def prune(self, before: datetime, progress: Callable[[int], None] = lambda _count: None) -> Pruned:
        """Delete finished inferences started before ``before``, in batches; then old keys and old revisions of places.

        After an interruption the next call goes on. ``progress`` gets the number of inferences deleted so far.
        """
        inferences, after = 0, 0
        while True:
            params = {"before": before, "after": after, "batch": _BATCH}
            row = (await self._database.fetch("prune_inferences", params, timeout_s=_LONG_S))[0]
            inferences += row["inferences"]
            progress(inferences)
            if row["last"] is None:
                break
            after = row["last"]
        keys = (await self._database.fetch("prune_keys", timeout_s=_LONG_S))[0]["keys"]
        places = (await self._database.fetch("prune_places", {"before": before}, timeout_s=_LONG_S))[0]["places"]
        return Pruned(inferences, keys, places)

    async def revive(self, kind: TaskType, task_ids: Sequence[UUID]) -> set[UUID]:
        """Restart failed tasks: they are PENDING again, and the relay publishes them. Returns those that had failed."""
        rows = await self._database.fetch(_REVIVE[kind], {"ids": list(task_ids)}, timeout_s=_LONG_S)
        return {row["id"] for row in rows}
