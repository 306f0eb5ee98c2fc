"""The registry of models: versions, their artifacts, and how much of the traffic each one serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from placerank.errors import NotFound, ShareConflict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from placerank.db.pool import AsyncDatabase

WHOLE = 100


class ModelRepository:
    """Versions and shares in PostgreSQL, for the API."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database

    async def set_share(self, model_id: int, share: int) -> None:
        """Give a version ``share`` per cent of the travellers; the others give way or take over."""
        await self._database.in_time(self._set_share(model_id, share))

    async def _set_share(self, model_id: int, share: int) -> None:
        async with self._database.transaction() as transaction:
            await transaction.fetch("lock_models")
            present = {row["id"]: row["use_percentage"] for row in await transaction.fetch("shares")}
            for changed_id, changed in shares_after(present, model_id, share).items():
                await transaction.fetch("set_share", {"id": changed_id, "share": changed})
            await transaction.fetch("bump_models")


def shares_after(present: Mapping[int, int], model_id: int, share: int) -> dict[int, int]:
    """The shares that change when one is set, given all of them, the greatest first; together they stay 100.

    What the version gives up goes to the one with the greatest share among the others; what it gains comes from them
    in that order. Raises ``NotFound``, or ``ShareConflict`` when no other version could take over.
    """
    if model_id not in present:
        raise NotFound(f"No model has the id {model_id}.")
    others: Sequence[int] = [other for other in present if other != model_id]
    if not others and share != WHOLE:
        raise ShareConflict("This is the only version: there is no other to serve the rest.")
    changed = {model_id: share}
    left = WHOLE - share
    kept = sum(present[other] for other in others)
    for other in others:
        if kept <= left:
            break
        given = min(present[other], kept - left)
        changed[other] = present[other] - given
        kept -= given
    if kept < left:
        changed[others[0]] = present[others[0]] + left - kept
    return changed


def describe(row: Mapping[str, Any]) -> dict[str, Any]:
    """A version as clients see it."""
    body = dict(row)
    body["share"] = body["use_percentage"]
    return body
