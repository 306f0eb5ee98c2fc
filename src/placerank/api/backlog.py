"""The limit of the backlog: when it is full, ``start`` answers 503 at once."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from placerank.errors import Overloaded

if TYPE_CHECKING:
    from placerank.db.inferences import InferenceRepository

_FRESH_S = 0.25
#: A count older than this is refreshed in the background, so that requests hardly ever wait for a count.
_RENEWED_S = 0.15


class Backlog:
    """Counts unfinished inferences; a count is never used when it is older than ``_FRESH_S``."""

    def __init__(self, inferences: InferenceRepository, limit: int) -> None:
        self._inferences = inferences
        self._limit = limit
        self._count = 0
        self._counted_at = float("-inf")
        self._counting: asyncio.Task[None] | None = None

    async def check(self) -> None:
        """Raise ``Overloaded`` when the limit is reached."""
        age_s = time.monotonic() - self._counted_at
        if age_s > _RENEWED_S and (self._counting is None or self._counting.done()):
            self._counting = asyncio.create_task(self._recount())
            # Callers that await the task get its exception. Without callers asyncio would report it as not retrieved.
            self._counting.add_done_callback(lambda done: done.cancelled() or done.exception())
        if age_s > _FRESH_S and self._counting is not None:
            await asyncio.shield(self._counting)
        if self._count >= self._limit:
            raise Overloaded(f"The backlog is full: {self._count} inferences are unfinished; try again in a moment.")

    async def _recount(self) -> None:
        at = time.monotonic()
        self._count = await self._inferences.backlog(self._limit)
        self._counted_at = at
