"""Tasks of an event loop that run as long as their process."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from placerank.supervision.failures import EndedByItself, Failures
from placerank.supervision.intensity import Intensity

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

log = logging.getLogger(__name__)

#: A library may swallow a cancellation, so it is repeated.
_CANCELLATIONS: Final = 5
_CANCEL_EVERY_S: Final = 1.0


class SupervisedTask:
    """Runs ``run`` until ``stop``; if it raises, returns or is cancelled before that, it starts again."""

    def __init__(
        self,
        name: str,
        run: Callable[[], Coroutine[Any, Any, None]],
        *,
        intensity: Intensity | None = None,
        escalate: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """``name`` stands in log lines and in the metric. Start it on the loop that it runs on."""
        self._name = name
        self._run = run
        self._failures = Failures(name, intensity or Intensity(), escalate, clock)
        self._sleep = sleep
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start running."""
        self._task = asyncio.create_task(self._supervise(), name=f"supervisor of {self._name}")

    async def stop(self) -> None:
        """Cancel it and wait for its end; harmless if it has not been started."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _supervise(self) -> None:
        pause_s: float | None = 0
        while pause_s is not None:
            if pause_s:
                await self._sleep(pause_s)
            # A task of its own: whoever cancels it, except us, makes it fail and does not end the supervision.
            task = asyncio.create_task(self._run(), name=self._name)
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                await self._end(task)
                raise
            pause_s = self._failures.add(_error_of(task, self._name))

    async def _end(self, task: asyncio.Task[None]) -> None:
        for _ in range(_CANCELLATIONS):
            task.cancel()
            await asyncio.wait({task}, timeout=_CANCEL_EVERY_S)
            if task.done():
                # Reads the exception, which asyncio would report otherwise. At the end it is no failure.
                log.debug("%s ended: %r", self._name, None if task.cancelled() else task.exception())
                return
        log.warning("%s does not end, it is left behind", self._name)


def _error_of(task: asyncio.Task[None], name: str) -> BaseException:
    try:
        task.result()
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it is logged
        return error
    return EndedByItself(f"{name} returned without being told to end.")
