"""Micro-batching: single calls on many threads become batches on one thread.

A batch takes the first item and all others that are already queued; it never waits for more. Under load, items queue up
while a batch runs, so batches grow with the load, and a single call is not delayed. (Compare Crankshaw et al.,
"Clipper", NSDI 2017, section 4.3, which adds a delay.)
"""

from __future__ import annotations

import functools
import logging
import queue
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from placerank.supervision.escalation import escalation
from placerank.supervision.threads import SupervisedThread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True)
class _Call(Generic[T, R]):
    item: T
    alone: bool
    future: Future[R] = field(default_factory=Future)


class MicroBatcher(Generic[T, R]):
    """Runs ``run`` on a thread of its own, on up to ``most`` items at once."""

    def __init__(
        self,
        run: Callable[[Sequence[T]], Sequence[R]],
        *,
        most: int,
        on_start: Callable[[], None] = lambda: None,
        shared: tuple[type[Exception], ...] = (),
        interrupted: Callable[[], Exception] = lambda: RuntimeError("the batch was interrupted"),
        escalate: Callable[[str], None] | None = None,
        name: str = "batcher",
    ) -> None:
        """``run`` returns results in the order of its items; the thread calls ``on_start`` before the first batch.

        An error in ``shared`` is no item's fault: it fails the whole batch, and nothing is run again. If the thread
        fails, ``interrupted`` makes the error of the callers whose items it had taken; if it cannot be started again,
        that of all callers, and ``escalate`` gets the reason.
        """
        self._shared = shared
        self._interrupted = interrupted
        self._escalate = escalate or escalation.fail
        self._ended = False
        self._run = run
        self._most = most
        self._on_start = on_start
        self._calls: queue.SimpleQueue[_Call[T, R] | None] = queue.SimpleQueue()
        end = functools.partial(self._calls.put, None)
        self._thread = SupervisedThread(name, self._loop, end=end, escalate=self._give_up)
        self._moved_at = time.monotonic()
        self._open_calls = 0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float = 10) -> None:
        """Finish the submitted items and end the thread."""
        if self._thread.stop(timeout_s):
            self._ended = True
            self._refuse_waiting()

    def submit(self, item: T, *, alone: bool = False) -> Future[R]:
        """Hand in one item; with ``alone`` it never shares a batch."""
        call: _Call[T, R] = _Call(item, alone)
        self._calls.put(call)
        if self._ended:
            self._refuse_waiting()
        return call.future

    @property
    def idle_s(self) -> float:
        """Seconds since a batch last started or ended, or the queue was last empty; it grows while a batch hangs."""
        if self._open_calls == 0 and self._calls.empty():
            self.moved()
        return time.monotonic() - self._moved_at

    def moved(self) -> None:
        """Record progress; a batch that waits for the end of an outage calls this too."""
        self._moved_at = time.monotonic()

    def _loop(self) -> None:
        self._on_start()
        while (first := self._calls.get()) is not None:
            batch, loners, ending = self._gather(first)
            try:
                if batch:
                    self._run_batch(batch)
                for loner in loners:
                    self._run_batch([loner])
            finally:
                self._refuse([call for call in (*batch, *loners) if not call.future.done()])
            if ending:
                return

    def _give_up(self, sentence: str) -> None:
        self._ended = True
        self._refuse_waiting()
        self._escalate(sentence)

    def _refuse_waiting(self) -> None:
        with suppress(queue.Empty):
            while True:
                if (call := self._calls.get_nowait()) is not None and call.future.set_running_or_notify_cancel():
                    self._refuse([call])

    def _refuse(self, calls: Sequence[_Call[T, R]]) -> None:
        # Nobody else would resolve them, and their callers would wait for ever.
        for call in calls:
            call.future.set_exception(self._interrupted())

    def _gather(self, first: _Call[T, R]) -> tuple[list[_Call[T, R]], list[_Call[T, R]], bool]:
        batch: list[_Call[T, R]] = []
        loners: list[_Call[T, R]] = []
        call: _Call[T, R] | None = first
        while True:
            if call is None:
                return batch, loners, True
            # After this call the caller can no longer cancel. A call that is already cancelled is skipped.
            if call.future.set_running_or_notify_cancel():
                (loners if call.alone else batch).append(call)
            if len(batch) + len(loners) >= self._most:
                return batch, loners, False
            try:
                call = self._calls.get_nowait()
            except queue.Empty:
                return batch, loners, False

    def _run_batch(self, calls: Sequence[_Call[T, R]]) -> None:
        self._open_calls = len(calls)
        self.moved()
        try:
            done = list(zip(calls, self._run([call.item for call in calls]), strict=True))
        except Exception as error:  # noqa: BLE001 - it is passed to the callers
            self._isolate(calls, error)
        else:
            for call, result in done:
                call.future.set_result(result)
        finally:
            self._open_calls = 0
            self.moved()

    def _isolate(self, calls: Sequence[_Call[T, R]], error: Exception) -> None:
        """A batch that raises is run once more, item by item, so that one bad item does not fail its neighbours."""
        if len(calls) == 1 or isinstance(error, self._shared):
            for call in calls:
                call.future.set_exception(error)
            return
        log.warning("batch of %d failed, running its items one by one: %s", len(calls), error)
        for call in calls:
            self._run_batch([call])
