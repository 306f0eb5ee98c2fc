"""Reads what is stored, for people who inspect it, and erases what is stored about a traveller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uuid import UUID

    from placerank.db.pool import AsyncDatabase

Row = dict[str, Any]

#: The timeout of statements that grow with the tables: a traveller may have a hundred thousand starts. ``reach`` runs
#: before them with the usual timeout, so an unreachable database is still reported at once.
_LONG_S = 60.0


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list: at most ``limit`` rows, those with ids greater than ``after``."""

    limit: int
    after: int


class ContentRepository:
    """Reads for debugging, and erasure."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database

    async def reach(self) -> None:
        """Raise ``DatabaseUnavailable`` if the database does not answer."""
        await self._database.reach()

    async def info(self) -> Row:
        """How many rows of each kind are stored, and the catalogue's version."""
        await self._database.reach()
        return (await self._database.fetch("info", timeout_s=_LONG_S))[0]

    async def page(self, name: str, page: Page, **params: Any) -> list[Row]:
        """A part of one of the lists: locations, users, results, events, datasets, list_models."""
        return await self._database.fetch(name, {"limit": page.limit, "after": page.after, **params})

    async def one(self, name: str, row_id: int) -> Row | None:
        """One location, user or result."""
        rows = await self._database.fetch(name, {"id": row_id})
        return rows[0] if rows else None

    async def task_exists(self, task_id: UUID) -> bool:
        """Whether an inference with this id is stored."""
        return bool((await self._database.fetch("task_exists", {"id": task_id}))[0]["found"])

    async def erase(self, row_id: int) -> tuple[dict[str, int], list[UUID]]:
        """Erase the traveller of this start with all of their starts; returns counts and the erased tasks."""
        await self._database.reach()
        row = (await self._database.fetch("erase_traveller", {"id": row_id}, timeout_s=_LONG_S))[0]
        task_ids = row["task_ids"] or []
        return {"users": row["users"], "inferences": len(task_ids), "events": row["events"]}, task_ids
