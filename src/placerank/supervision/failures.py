"""What is done when a part of the process fails: a log line, a count, a restart, or the end of the process."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from placerank.errors import PlacerankError
from placerank.supervision.escalation import escalation
from placerank.supervision.intensity import Intensity, Restarts
from placerank.telemetry.metrics import PART_FAILURES

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)


class EndedByItself(PlacerankError):
    """A part that should run until it is told to end has returned."""


class Failures:
    """The failures of one part of the process."""

    def __init__(
        self,
        part: str,
        intensity: Intensity,
        escalate: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``part`` names it in log lines and in the metric; ``escalate`` gets the sentence after too many failures."""
        self._part = part
        self._intensity = intensity
        self._escalate = escalate or escalation.fail
        self._restarts = Restarts(intensity, clock)
        # The series starts at 0, so that the first failure is seen as an increase.
        self._count = PART_FAILURES.labels(part)

    def add(self, error: BaseException) -> float | None:
        """Log and count a failure. Returns the pause before the restart; none if the process ends instead."""
        self._count.inc()
        pause_s = self._restarts.next_pause_s()
        outcome = "the process ends" if pause_s is None else f"it starts again in {pause_s:g} s"
        log.error("%s failed, %s", self._part, outcome, exc_info=error)
        if pause_s is None:
            self._escalate(self._sentence(error))
        return pause_s

    def _sentence(self, error: BaseException) -> str:
        times, within_s = self._intensity.restarts + 1, self._intensity.within_s
        # Other errors may contain secrets, which only the log hides.
        reason = (
            str(error) if isinstance(error, PlacerankError) else f"{type(error).__name__}; the log has its traceback."
        )
        return f"{self._part} failed {times} times within {within_s:g} s, so this process ends: {reason}"
