"""The cache of embedded mode: API and worker share one process, so both use one dictionary."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from placerank.cache.ports import Listener

#: A record has about 3 kB.
_MOST_RECORDS = 10_000


class MemoryCache:
    """The API's cache and the workers' cache in one object."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: OrderedDict[UUID, bytes] = OrderedDict()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listener: Listener | None = None

    @property
    def listening(self) -> bool:
        """Whether every wake-up arrives at present."""
        return self._listener is not None

    async def open(self, listener: Listener) -> None:
        """Call the listener on this loop from now on."""
        self._loop, self._listener = asyncio.get_running_loop(), listener

    async def close(self) -> None:
        """Stop calling the listener."""
        self._loop = self._listener = None

    def near(self, task_id: UUID) -> bytes | None:
        """The record of a finished task."""
        with self._lock:
            return self._records.get(task_id)

    async def get(self, task_ids: Sequence[UUID]) -> dict[UUID, bytes]:
        """The records of those tasks that are known to have finished."""
        with self._lock:
            return {task_id: self._records[task_id] for task_id in task_ids if task_id in self._records}

    async def put(self, records: Mapping[UUID, bytes], *, wake: bool) -> None:
        """Remember records; with ``wake`` tell the listener."""
        self._remember(records)
        if wake:
            self._announce(list(records))

    async def forget(self, task_ids: Sequence[UUID]) -> None:
        """Drop records."""
        with self._lock:
            for task_id in task_ids:
                self._records.pop(task_id, None)

    async def alive(self) -> bool:
        """Always true: the dictionary cannot be unreachable."""
        return True

    def store(self, records: Mapping[UUID, bytes]) -> None:
        """Remember records and tell the listener."""
        self._remember(records)
        self._announce(list(records))

    def _remember(self, records: Mapping[UUID, bytes]) -> None:
        with self._lock:
            self._records.update(records)
            while len(self._records) > _MOST_RECORDS:
                self._records.popitem(last=False)

    def _announce(self, task_ids: Sequence[UUID]) -> None:
        if self._loop is not None and self._listener is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._listener, task_ids)
