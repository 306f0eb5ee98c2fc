"""Reads Redis' memory use and its number of records."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from redis import RedisError
from redis import asyncio as aioredis

from placerank.supervision.cancellation import told_to_end

#: A lost connection cancels its calls, so that a ``CancelledError`` may come from Redis too.
_ERRORS = (RedisError, OSError, TimeoutError, asyncio.CancelledError)


@dataclass(frozen=True, slots=True)
class CacheFigures:
    """Memory in bytes (limit 0: no limit), stored records, and records evicted for lack of memory."""

    memory_bytes: int
    memory_limit_bytes: int
    records: int
    evicted: int


class RedisProbe:
    """Reads Redis' own figures; each reading opens and closes a connection."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._url = url
        self._timeout_s = timeout_s

    async def look(self) -> CacheFigures | None:
        """The figures; none while Redis does not answer."""
        redis = aioredis.Redis.from_url(
            self._url, socket_timeout=self._timeout_s, socket_connect_timeout=self._timeout_s
        )
        try:
            found = await redis.info()
            records = await redis.dbsize()
        except _ERRORS as error:
            if isinstance(error, asyncio.CancelledError) and told_to_end():
                raise
            return None
        finally:
            await redis.aclose()
        limit = int(found.get("maxmemory", 0))
        return CacheFigures(int(found["used_memory"]), limit, int(records), int(found.get("evicted_keys", 0)))
