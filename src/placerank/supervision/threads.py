"""Threads that run as long as their process, and work that a thread does once."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from placerank.supervision.failures import EndedByItself, Failures
from placerank.supervision.intensity import Intensity

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)


class SupervisedThread:
    """Runs ``run`` on a thread until ``stop``; if it raises or returns before that, it starts again."""

    def __init__(
        self,
        name: str,
        run: Callable[[], object],
        *,
        end: Callable[[], object],
        intensity: Intensity | None = None,
        escalate: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``name`` stands in log lines and in the metric; ``end`` makes ``run`` return soon, from another thread."""
        self._name = name
        self._run = run
        self._end = end
        self._failures = Failures(name, intensity or Intensity(), escalate, clock)
        self._told = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name=name, daemon=True)

    def start(self) -> None:
        """Start running."""
        self._thread.start()

    def stop(self, timeout_s: float | None = None) -> bool:
        """Make it end and wait for that, at most ``timeout_s``; returns whether it has ended."""
        self._told.set()
        self._end()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _supervise(self) -> None:
        while not self._told.is_set():
            error = self._error()
            if self._told.is_set():
                log.debug("%s ended: %r", self._name, error)
                return
            pause_s = self._failures.add(error)
            if pause_s is None or self._told.wait(pause_s):
                return

    def _error(self) -> BaseException:
        try:
            self._run()
        except BaseException as error:  # noqa: BLE001 - it is logged; SystemExit would end the thread silently
            return error
        return EndedByItself(f"{self._name} returned without being told to end.")


class Background:
    """Does some work once, on its own thread; who waits for it gets its error."""

    def __init__(self, name: str, work: Callable[[], object]) -> None:
        self._work = work
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._do, name=name, daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait for the end of the work; raises what the work raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _do(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - it is raised where the work is waited for
            self._error = error
