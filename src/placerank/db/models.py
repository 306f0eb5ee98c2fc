"""The registry of models: versions, their artifacts, and how much of the traffic each one serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from placerank.db.shares import set_share

if TYPE_CHECKING:
    from collections.abc import Mapping

    from placerank.db.pool import AsyncDatabase, Steps


class ModelRepository:
    """Versions and shares in PostgreSQL, for the API."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database

    async def set_share(self, model_id: int, share: int) -> None:
        """Give a version ``share`` per cent of the travellers; the other shares change, so that the sum stays 100."""
        await self._database.in_time(self._follow(set_share(model_id, share)))

    async def _follow(self, steps: Steps[None]) -> None:
        async with self._database.transaction() as transaction:
            await transaction.follow(steps)


def describe(row: Mapping[str, Any]) -> dict[str, Any]:
    """A version as clients see it."""
    body = dict(row)
    body["share"] = body["use_percentage"]
    return body
