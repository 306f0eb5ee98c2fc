"""Minimises a smooth function by L-BFGS (Nocedal and Wright 2006, algorithm 7.5); deterministic."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Function = Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]]
    Pairs = deque[tuple[NDArray[np.float64], NDArray[np.float64], float]]

_MEMORY: Final = 12
#: A step must reach at least this fraction of the decrease that the gradient predicts (Armijo condition).
_ARMIJO: Final = 1e-4
_HALVINGS: Final = 25
#: The search ends after ``_PATIENCE`` steps in a row with a relative decrease below this.
_LITTLE: Final = 1e-7
_PATIENCE: Final = 3


def minimise(
    function: Function,
    start: NDArray[np.float64],
    *,
    max_steps: int,
    progress: Callable[[int], None] = lambda _step: None,
) -> NDArray[np.float64]:
    """A minimum of ``function``, which returns value and gradient [K], searched from ``start``."""
    here = start
    value, slope = function(here)
    pairs: Pairs = deque(maxlen=_MEMORY)
    idle = 0
    for step in range(max_steps):
        progress(step)
        direction = -_newton_like(slope, pairs)
        if slope @ direction >= 0:
            pairs.clear()
            direction = -slope
        found = _along(function, here, value, slope, direction if pairs else direction / max(1.0, _length(slope)))
        if found is None:
            if not pairs:
                break
            pairs.clear()
            continue
        there, new_value, new_slope = found
        moved, bent = there - here, new_slope - slope
        if moved @ bent > 1e-12 * (bent @ bent):
            pairs.append((moved, bent, 1.0 / float(moved @ bent)))
        idle = idle + 1 if value - new_value < _LITTLE * abs(new_value) else 0
        here, value, slope = there, new_value, new_slope
        if idle == _PATIENCE:
            break
    return here


def _along(
    function: Function,
    here: NDArray[np.float64],
    value: float,
    slope: NDArray[np.float64],
    direction: NDArray[np.float64],
) -> tuple[NDArray[np.float64], float, NDArray[np.float64]] | None:
    """Backtracking line search: halves the step until the decrease is sufficient; None if it never is."""
    promised = float(slope @ direction)
    length = 1.0
    for _ in range(_HALVINGS):
        there = here + length * direction
        new_value, new_slope = function(there)
        if new_value <= value + _ARMIJO * length * promised:
            return there, new_value, new_slope
        length /= 2
    return None


def _newton_like(slope: NDArray[np.float64], pairs: Pairs) -> NDArray[np.float64]:
    """The gradient times the inverse Hessian, approximated from the last steps (two-loop recursion)."""
    left = slope.copy()
    shares = []
    for moved, bent, scale in reversed(pairs):
        share = scale * float(moved @ left)
        left -= share * bent
        shares.append(share)
    if pairs:
        moved, bent, scale = pairs[-1]
        left *= 1.0 / (scale * float(bent @ bent))
    for (moved, bent, scale), share in zip(pairs, reversed(shares), strict=True):
        left += moved * (share - scale * float(bent @ left))
    return left


def _length(vector: NDArray[np.float64]) -> float:
    return float(np.sqrt(vector @ vector))
