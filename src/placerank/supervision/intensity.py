"""How often a part may fail, and how long it pauses before it starts again."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Intensity:
    """The most restarts within a time (Erlang/OTP's restart intensity), and the pause before each of them."""

    restarts: int = 4
    within_s: float = 60.0
    #: The last one is used for all further restarts.
    pauses_s: tuple[float, ...] = (0.1, 0.5, 1.0, 2.0)


class Restarts:
    """Counts the failures of one part against an intensity."""

    def __init__(self, intensity: Intensity, clock: Callable[[], float] = time.monotonic) -> None:
        self._intensity = intensity
        self._clock = clock
        self._failed_at: deque[float] = deque()

    def next_pause_s(self) -> float | None:
        """Record a failure. Returns the pause before the restart, or none if there were too many failures."""
        now, intensity = self._clock(), self._intensity
        self._failed_at.append(now)
        while now - self._failed_at[0] > intensity.within_s:
            self._failed_at.popleft()
        failures = len(self._failed_at)
        if failures > intensity.restarts:
            return None
        return intensity.pauses_s[min(failures, len(intensity.pauses_s)) - 1]
