"""The heartbeat file: its age says whether the worker lives, to a check that loads nothing of the worker."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from placerank.telemetry.metrics import HEARTBEAT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger(__name__)

EVERY_S: Final = 2.0
#: With work in hand and no batch started or ended for this long, the worker is taken for hung.
HUNG_AFTER_S: Final = 120.0


class Heartbeat:
    """Touches the file as long as the worker gets on with its work."""

    def __init__(self, file: Path | None, idle_s: Callable[[], float]) -> None:
        """``idle_s`` says for how long work has been in hand without any progress."""
        self._file = file
        self._idle_s = idle_s

    def beat(self) -> None:
        """Touch the file, unless the worker hangs."""
        if self._idle_s() > HUNG_AFTER_S:
            log.error("worker: nothing has moved for %d s, no more heartbeats", HUNG_AFTER_S)
            return
        HEARTBEAT.set_to_current_time()
        if self._file is not None:
            self._file.touch()
