"""Estimates the mean reward of another policy from logged decisions and their propensities (off-policy evaluation).

A unit is one decision: what was shown, the probability of showing it (its propensity), and the reward. Its weight is
the probability that the other policy decides the same, divided by the propensity (Horvitz and Thompson 1952). If few
units carry most of the weight, the estimate depends on luck. The effective sample size (Kish 1965) shows this, and an
estimate with a small one is not conclusive.

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

#: Effective sample size below which an estimate is not conclusive.
LEAST_EFFECTIVE: Final = 50.0
_Z: Final = 1.96


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean reward with its 95 % interval and its effective sample size."""

    value: float
    low: float
    high: float
    effective: float

    @property
    def conclusive(self) -> bool:
        """Whether the effective sample size is large enough to conclude anything."""
        return self.effective >= LEAST_EFFECTIVE


@dataclass(frozen=True, eq=False)
class Logged:
    """N decisions with their rewards; ``target`` are the probabilities of the same decisions under the other policy.

    All float64 [N]. Raises ValueError if a propensity is not above 0 or if the shapes differ.
    """

    propensities: NDArray[np.float64]
    target: NDArray[np.float64]
    rewards: NDArray[np.float64]

    def __post_init__(self) -> None:
        if not self.propensities.shape == self.target.shape == self.rewards.shape:
            raise ValueError("Each decision needs a propensity, a probability under the other policy and a reward.")
        if not (self.propensities > 0).all():
            raise ValueError("Every propensity must be above 0.")

    @property
    def weights(self) -> NDArray[np.float64]:
        """The importance weight of each decision."""
        return self.target / self.propensities


def effective_size(weights: NDArray[np.float64]) -> float:
    """The effective sample size of these weights (Kish 1965)."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares > 0 else 0.0


def ips(logged: Logged) -> Estimate:
    """Inverse propensity scoring: unbiased, with high variance."""
    weights = logged.weights
    return _estimate(weights * logged.rewards, weights)


def self_normalised(logged: Logged) -> Estimate:
    """IPS divided by the sum of the weights: slightly biased, with much less variance."""
    weights = logged.weights
    total = weights.sum()
    if total <= 0:
        return Estimate(0.0, 0.0, 0.0, 0.0)
    value = float((weights * logged.rewards).sum() / total)
    error = float(np.sqrt((weights**2 * (logged.rewards - value) ** 2).sum()) / total)
    return Estimate(value, value - _Z * error, value + _Z * error, effective_size(weights))


def doubly_robust(logged: Logged, expected: NDArray[np.float64], expected_target: NDArray[np.float64]) -> Estimate:
    """A model's expected rewards, corrected by the observed ones: right if the model or the propensities are right.

    ``expected`` [N] are the rewards that a model expects of what was shown, ``expected_target`` [N] of what the other
    policy would show.
    """
    weights = logged.weights
    return _estimate(expected_target + weights * (logged.rewards - expected), weights)


def first_places(model: Model, lists: ShownLists, propensities: NDArray[np.float64]) -> Logged:
    """Decisions about the first place of lists shown in random order; the other policy shows the best of ``model``.

    ``propensities`` [L] are the probabilities of each list's first place, given its places. The reward is 1 if the
    first place was chosen, else 0. Every list must have a place. Of places with the same utility, each is equally
    likely to be shown: without it, a list with ties would count once for each of them.
    """
    firsts = lists.offsets[:-1]
    utilities = list_utilities(model, lists)
    greatest = np.maximum.reduceat(utilities, firsts)
    is_best = utilities == np.repeat(greatest, np.diff(lists.offsets))
    target = is_best[firsts] / np.add.reduceat(is_best.astype(np.float64), firsts)
    return Logged(propensities, target, (lists.chosen == 0).astype(np.float64))


def _estimate(values: NDArray[np.float64], weights: NDArray[np.float64]) -> Estimate:
    value = float(values.mean())
    error = float(values.std() / np.sqrt(len(values)))
    return Estimate(value, value - _Z * error, value + _Z * error, effective_size(weights))
