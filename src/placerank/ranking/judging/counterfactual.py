"""What another policy would have earned, from what one policy showed and how likely it was to show just that.

A unit is one decision: what was shown, with which chance (its propensity), and what came of it. Weights are the chance
that the other policy decides the same over that propensity (Horvitz and Thompson 1952). Where few units carry most of
the weight the estimate is luck: the effective sample size (Kish 1965) says so, and nothing is concluded then.

See Swaminathan and Joachims 2015 for self-normalisation, Dudik, Langford and Li 2011 for the doubly robust estimate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from placerank.ranking.lists import list_utilities

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from placerank.ranking.lists import ShownLists
    from placerank.ranking.model import Model

#: Effective units below which no estimate is concluded from.
LEAST_EFFECTIVE: Final = 50.0
_Z: Final = 1.96


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean reward with its 95 % interval, from so many effective units."""

    value: float
    low: float
    high: float
    effective: float

    @property
    def conclusive(self) -> bool:
        """Whether there are units enough to conclude anything."""
        return self.effective >= LEAST_EFFECTIVE


@dataclass(frozen=True, eq=False)
class Logged:
    """N decisions: ``propensities`` of what was shown, ``target`` chances of the same under the other policy, rewards.

    All float64 [N]. Raises ValueError where a propensity is not above 0, or shapes differ.
    """

    propensities: NDArray[np.float64]
    target: NDArray[np.float64]
    rewards: NDArray[np.float64]

    def __post_init__(self) -> None:
        if not self.propensities.shape == self.target.shape == self.rewards.shape:
            raise ValueError("Each decision needs a propensity, a chance under the other policy and a reward.")
        if not (self.propensities > 0).all():
            raise ValueError("What was shown had a chance to be shown: its propensity is above 0.")

    @property
    def weights(self) -> NDArray[np.float64]:
        """How much each decision counts."""
        return self.target / self.propensities


def effective_size(weights: NDArray[np.float64]) -> float:
    """To how many equally weighted units these come."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares > 0 else 0.0


def ips(logged: Logged) -> Estimate:
    """Inverse propensity scoring: without bias, and of great variance."""
    weights = logged.weights
    return _estimate(weights * logged.rewards, weights)


def self_normalised(logged: Logged) -> Estimate:
    """IPS over the sum of the weights: a little bias for much less variance."""
    weights = logged.weights
    total = weights.sum()
    if total <= 0:
        return Estimate(0.0, 0.0, 0.0, 0.0)
    value = float((weights * logged.rewards).sum() / total)
    error = float(np.sqrt((weights**2 * (logged.rewards - value) ** 2).sum()) / total)
    return Estimate(value, value - _Z * error, value + _Z * error, effective_size(weights))


def doubly_robust(logged: Logged, expected: NDArray[np.float64], expected_target: NDArray[np.float64]) -> Estimate:
    """A model's expectation, corrected by what came: right if the model or the propensities are.

    ``expected`` [N] is the reward that a model expects of what was shown, ``expected_target`` [N] of the other policy.
    """
    weights = logged.weights
    return _estimate(expected_target + weights * (logged.rewards - expected), weights)


def first_places(model: Model, lists: ShownLists, propensities: NDArray[np.float64]) -> Logged:
    """Would the traveller have taken the place that ``model`` puts first? From lists that were shown in random order.

    ``propensities`` [L] are the chances that a list had the first place that it had, given its places; the reward is
    that this place was chosen. Every list must have a place.
    """
    firsts = lists.offsets[:-1]
    utilities = list_utilities(model, lists)
    greatest = np.maximum.reduceat(utilities, firsts)
    same = (utilities[firsts] == greatest).astype(np.float64)
    return Logged(propensities, same, (lists.chosen == 0).astype(np.float64))


def _estimate(values: NDArray[np.float64], weights: NDArray[np.float64]) -> Estimate:
    value = float(values.mean())
    error = float(values.std() / np.sqrt(len(values)))
    return Estimate(value, value - _Z * error, value + _Z * error, effective_size(weights))
