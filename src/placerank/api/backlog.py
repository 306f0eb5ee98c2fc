"""Full means no, at once: starts are refused while too much work is unfinished."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from placerank.errors import Overloaded

if TYPE_CHECKING:
    from placerank.db.inferences import InferenceRepository

_FRESH_S = 0.25
#: A count of this age is renewed behind the request that finds it, so that hardly any has to wait for one.
_RENEWED_S = 0.15


class Backlog:
    """The number of unfinished inferences, never older than a quarter of a second when it is used."""

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
            # Whoever waits for it hears of a failure; nobody may be waiting.
            self._counting.add_done_callback(lambda done: done.cancelled() or done.exception())
        if age_s > _FRESH_S and self._counting is not None:
            await asyncio.shield(self._counting)
        if self._count >= self._limit:
            raise Overloaded(f"{self._count} inferences are waiting already; try again in a moment.")

    async def _recount(self) -> None:
        at = time.monotonic()
        self._count = await self._inferences.backlog(self._limit)
        self._counted_at = at
