"""The end of a process of which a part cannot be kept running."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from placerank.errors import PlacerankError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)

#: The shutdown may hang because of the same fault. Below Kubernetes' grace periods of all our processes.
GRACE_S: Final = 30.0


class PartFailed(PlacerankError):
    """A part of the process cannot be kept running."""


class Escalation:
    """Ends the process as SIGTERM does, but with an error: a sentence and exit code 1."""

    def __init__(
        self,
        end: Callable[[], None] = lambda: os.kill(os.getpid(), signal.SIGTERM),
        force: Callable[[int], object] = os._exit,
    ) -> None:
        """``end`` starts the shutdown, from any thread; ``force`` ends the process if that takes too long."""
        self._end = end
        self._force = force
        self._lock = threading.Lock()
        self._grace_s: float | None = None
        self._over = threading.Event()
        self.sentence: str | None = None

    def fail(self, sentence: str) -> None:
        """End the process because of this; only the first call counts."""
        with self._lock:
            if self.sentence is not None:
                return
            self.sentence = sentence
        log.critical("%s", sentence)
        if self._grace_s is not None:
            self._begin_shutdown(self._grace_s)

    @contextmanager
    def armed(self, grace_s: float = GRACE_S) -> Iterator[None]:
        """While inside, a failure ends the process; on leaving, it is raised as ``PartFailed``."""
        self._over.clear()
        self._grace_s = grace_s
        if self.sentence is not None:
            self._begin_shutdown(grace_s)
        try:
            yield
        finally:
            self._grace_s = None
            self._over.set()
            if self.sentence is not None:
                # It replaces the exit code 0 of the shutdown.
                sentence, self.sentence = self.sentence, None
                raise PartFailed(sentence) from None

    def _begin_shutdown(self, grace_s: float) -> None:
        threading.Thread(target=self._force_later, args=(grace_s,), name="forced end", daemon=True).start()
        self._end()

    def _force_later(self, grace_s: float) -> None:
        if not self._over.wait(grace_s):
            sys.stderr.write(f"placerank: {self.sentence} The shutdown took longer than {grace_s:g} s.\n")
            sys.stderr.flush()
            self._force(1)


#: This process's own.
escalation: Final = Escalation()
