"""From utilities to chances: which of the places shown is chosen, or none.

A plain conditional logit says that a place is taken with odds of e to its utility (McFadden 1974). People do two more
things, for which a :class:`Mixture` has three numbers; with their defaults it is the plain logit.

- Now and then they take any place that is not out of the question, whatever it is worth to them: a lapse, as in
  psychometrics (Wichmann and Hill 2001), a trembling hand in games (Selten 1975). Without it a few such choices make
  every preference look weak.
- Whether anything is taken at all need not follow from how good the best place is: the inclusive value, log of the
  summed odds, counts with a weight of its own (nested logit, McFadden 1978).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Mixture:
    """``lapse``: the chance of a choice among all acceptable places alike; weights of the inclusive values."""

    lapse: float = 0.0
    preference: float = 1.0
    acceptance: float = 0.0

    @property
    def usable(self) -> bool:
        """Whether chances come of it."""
        return 0.0 <= self.lapse < 1.0 and 0.0 <= self.preference <= 10.0 and 0.0 <= self.acceptance <= 10.0


PLAIN: Final = Mixture()


def probabilities(
    utilities: NDArray[np.float64],
    outside: NDArray[np.float64],
    acceptance: NDArray[np.float64] | None = None,
    mixture: Mixture = PLAIN,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """P(chosen) [..., k] of places with ``utilities`` [..., k], and [...] of choosing nothing; together they are 1.

    ``acceptance`` [..., k] is the part of the utilities that says what is out of the question. A utility of -inf
    stands for no place.
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
    """Odds of e to ``values`` [..., k] as chances that add up to 1 (0 where all are -inf), and log of their sum."""
    top = values.max(axis=-1, initial=-np.inf)
    level = np.where(np.isneginf(top), 0.0, top)
    weights = np.exp(values - level[..., None])
    total = weights.sum(axis=-1)
    with np.errstate(divide="ignore"):
        inclusive: NDArray[np.float64] = level + np.log(total)
    return weights / np.maximum(total, 1e-300)[..., None], inclusive


def logistic(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + e to the minus ``values``), without overflow."""
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1.0, small) / (1.0 + small)
