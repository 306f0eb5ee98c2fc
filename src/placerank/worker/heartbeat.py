"""The heartbeat file: a liveness check reads its age, without loading the worker's code."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from placerank.telemetry.metrics import HEARTBEAT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger(__name__)

EVERY_S: Final = 2.0
#: A worker that has work, but has started or ended no batch for this long, counts as hung.
HUNG_AFTER_S: Final = 120.0


class Heartbeat:
    """Touches the file as long as the worker makes progress."""

    def __init__(self, file: Path | None, idle_s: Callable[[], float]) -> None:
        """``idle_s`` returns for how long there has been work without any progress."""
        self._file = file
        self._idle_s = idle_s

    def beat(self) -> None:
        """Touch the file, unless the worker hangs."""
        if self._idle_s() > HUNG_AFTER_S:
            log.error("worker: no progress on a batch for more than %d s, heartbeats stopped", HUNG_AFTER_S)
            return
        HEARTBEAT.set_to_current_time()
        if self._file is not None:
            self._file.touch()
