"""What a cache does for the API, on an event loop, and for workers, on their threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    #: Called on the event loop with the ids of tasks that have finished.
    Listener = Callable[[Sequence[UUID]], None]


class ApiCache(Protocol):
    """The API's side. No method raises for a cache that is away: it just knows nothing then."""

    @property
    def listening(self) -> bool:
        """Whether every wake-up arrives at present."""

    async def open(self, listener: Listener) -> None:
        """Start listening for finished tasks, without waiting for a connection."""

    async def close(self) -> None:
        """Let go of the cache."""

    def near(self, task_id: UUID) -> bytes | None:
        """The record of a finished task, if it is at hand; else ``get`` may still know it."""

    async def get(self, task_ids: Sequence[UUID]) -> dict[UUID, bytes]:
        """The records of those tasks that are known to have finished."""

    async def put(self, records: Mapping[UUID, bytes], *, wake: bool) -> None:
        """Remember records; with ``wake`` tell every listener."""

    async def forget(self, task_ids: Sequence[UUID]) -> None:
        """Drop records."""

    async def alive(self) -> bool:
        """Whether the cache answers."""


class WorkerCache(Protocol):
    """The workers' side; safe to call from any thread, and does not raise for a cache that is away."""

    def store(self, records: Mapping[UUID, bytes]) -> None:
        """Remember records and tell every listener, in one trip."""
