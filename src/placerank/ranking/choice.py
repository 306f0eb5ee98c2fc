"""Choice probabilities from utilities: which of the places shown is chosen, or none.

In a plain conditional logit, the odds of a place are e to the power of its utility (McFadden 1974). People differ from
it in two ways. :class:`Mixture` has three numbers for them; with their defaults it is the plain logit.

- Sometimes a traveller takes a random acceptable place, whatever its utility. This is called a lapse in psychometrics
  (Wichmann and Hill 2001) and a trembling hand in game theory (Selten 1975). Without a lapse rate, a few such choices
  make every preference look weak.
- The decision to take anything may depend more or less strongly on the places shown. So the inclusive value, the log
  of the summed odds, has its own weight (nested logit, McFadden 1978).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Mixture:
    """``lapse``: probability of a random choice among acceptable places. The others weigh the inclusive values."""

    lapse: float = 0.0
    preference: float = 1.0
    acceptance: float = 0.0

    @property
    def usable(self) -> bool:
        """Whether all three numbers are in their valid ranges."""
        return 0.0 <= self.lapse < 1.0 and 0.0 <= self.preference <= 10.0 and 0.0 <= self.acceptance <= 10.0


PLAIN: Final = Mixture()


def probabilities(
    utilities: NDArray[np.float64],
    outside: NDArray[np.float64],
    acceptance: NDArray[np.float64] | None = None,
    mixture: Mixture = PLAIN,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """P(chosen) [..., k] of places with ``utilities`` [..., k], and [...] of choosing nothing; they sum to 1.

    ``acceptance`` [..., k] are the limit and budget terms of the utilities. A utility of -inf marks a position
    without a place.
    """
    chances, inclusive = softmax(utilities)
    against = outside - mixture.preference * inclusive
    if acceptance is not None and mixture != PLAIN:
        alike, accepted = softmax(acceptance)
        chances = (1.0 - mixture.lapse) * chances + mixture.lapse * alike
        against = against - mixture.acceptance * accepted
    nothing = np.where(np.isneginf(inclusive), 1.0, logistic(against))
    return chances * (1.0 - nothing)[..., None], nothing


def softmax(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The softmax of ``values`` [..., k] (0 where all are -inf), and their log-sum-exp [...]."""
    top = values.max(axis=-1, initial=-np.inf)
    level = np.where(np.isneginf(top), 0.0, top)
    weights = np.exp(values - level[..., None])
    total = weights.sum(axis=-1)
    with np.errstate(divide="ignore"):
        inclusive: NDArray[np.float64] = level + np.log(total)
    return weights / np.maximum(total, 1e-300)[..., None], inclusive


def logistic(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + exp(-values)), without overflow."""
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1.0, small) / (1.0 + small)
