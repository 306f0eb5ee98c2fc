"""The interfaces of the cache: for the API on an event loop, and for workers on threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    #: Called on the event loop with the ids of tasks that have finished.
    Listener = Callable[[Sequence[UUID]], None]


class ApiCache(Protocol):
    """The API's side. If the cache is unreachable, no method raises: reads find nothing, writes are dropped."""

    @property
    def listening(self) -> bool:
        """Whether every wake-up arrives at present."""

    async def open(self, listener: Listener) -> None:
        """Start listening for finished tasks, without waiting for a connection."""

    async def close(self) -> None:
        """Close every connection."""

    def near(self, task_id: UUID) -> bytes | None:
        """The record of a finished task, if it is in this process's memory; else ``get`` may find it."""

    async def get(self, task_ids: Sequence[UUID]) -> dict[UUID, bytes]:
        """The records of those tasks that are known to have finished."""

    async def put(self, records: Mapping[UUID, bytes], *, wake: bool) -> None:
        """Remember records; with ``wake`` tell every listener."""

    async def forget(self, task_ids: Sequence[UUID]) -> None:
        """Drop records."""

    async def alive(self) -> bool:
        """Whether the cache answers."""


class WorkerCache(Protocol):
    """The workers' side; safe to call from any thread. It does not raise if the cache is unreachable."""

    def store(self, records: Mapping[UUID, bytes]) -> None:
        """Remember records and tell every listener, in one round trip."""
