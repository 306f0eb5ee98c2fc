"""Merges concurrent calls into one: one statement, one commit, one round trip."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from placerank.errors import Overloaded, ServiceUnavailable
from placerank.supervision.cancellation import told_to_end

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Sequence

T = TypeVar("T")
R = TypeVar("R")


class Coalescer(Generic[T, R]):
    """Merges calls with one item each into calls of a function that takes many items.

    A flight is one running call of that function. While fewer than ``flights`` are running, an item is sent at once.
    Otherwise items are queued, and are sent together when a flight returns. So a single call never waits in the
    queue, and concurrent calls share a flight.
    """

    def __init__(
        self,
        run: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        *,
        flights: int = 2,
        most: int = 256,
        waiting: int = 4096,
        key: Callable[[T], Hashable] | None = None,
    ) -> None:
        """``run`` returns results in the order of its items; a flight never has two items with the same ``key``."""
        self._run = run
        self._free = flights
        self._most = most
        self._limit = waiting
        self._key = key
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(self, item: T) -> R:
        """The result for one item; raises what ``run`` raised, or ``Overloaded`` when the queue is full."""
        if len(self._waiting) >= self._limit:
            raise Overloaded("Too many requests are waiting; try again in a moment.")
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._free:
            self._depart()
        return await future

    def _depart(self) -> None:
        self._free -= 1
        task = asyncio.create_task(self._fly())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fly(self) -> None:
        try:
            # Yield once, so that items submitted in the same turn of the event loop join this flight.
            await asyncio.sleep(0)
            while self._waiting:
                await self._run_flight(self._board())
        finally:
            self._free += 1

    async def _run_flight(self, flight: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = await self._run([item for item, _ in flight])
            arrived = list(zip(flight, results, strict=True))
        except ServiceUnavailable as error:
            # Queued items would fail in the same way after a longer wait. So they fail now.
            _fail([*flight, *self._waiting], error)
            self._waiting.clear()
        except asyncio.CancelledError:
            # Nobody else would resolve them, and their callers would wait for ever.
            _fail(flight, ServiceUnavailable("The request was interrupted; try again."))
            if told_to_end():
                raise
        except Exception as error:  # noqa: BLE001 - the callers get it
            await self._isolate(flight, error)
        else:
            for (_, future), result in arrived:
                if not future.done():
                    future.set_result(result)

    async def _isolate(self, flight: list[tuple[T, asyncio.Future[R]]], error: Exception) -> None:
        """Retry each item of a failed flight on its own, so that one bad item fails alone."""
        if len(flight) == 1:
            _fail(flight, error)
            return
        for entry in flight:
            await self._run_flight([entry])

    def _board(self) -> list[tuple[T, asyncio.Future[R]]]:
        flight: list[tuple[T, asyncio.Future[R]]] = []
        left: list[tuple[T, asyncio.Future[R]]] = []
        keys: set[Any] = set()
        while self._waiting and len(flight) < self._most:
            entry = self._waiting.popleft()
            key = None if self._key is None else self._key(entry[0])
            if key is not None and key in keys:
                left.append(entry)
                continue
            keys.add(key)
            flight.append(entry)
        self._waiting.extendleft(reversed(left))
        return flight


def _fail(flight: Sequence[tuple[Any, asyncio.Future[Any]]], error: Exception) -> None:
    for _, future in flight:
        if not future.done():
            future.set_exception(error)
