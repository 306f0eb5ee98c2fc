"""Estimates the mean reward of another policy from logged decisions and their propensities (off-policy evaluation).

A unit is one decision: what was shown, the probability of showing it (its propensity), and the reward. Its weight is
the probability that the other policy decides the same, divided by the propensity (Horvitz and Thompson 1952). If few
units carry most of the weight, the estimate depends on luck. The effective sample size (Kish 1965) shows this, and an
estimate with a small one is not conclusive. The decisions of one traveller are similar: the standard errors are by
traveller, and an estimate from a few travellers is not conclusive either.

See Swaminathan and Joachims 2015 for self-normalisation, Dudik, Langford and Li 2011 for the doubly robust estimate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from placerank.ranking.judging.clusters import numbers, standard_error
from placerank.ranking.lists import list_utilities

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from placerank.ranking.lists import ShownLists
    from placerank.ranking.model import Model

#: Effective sample size below which an estimate is not conclusive.
LEAST_EFFECTIVE: Final = 50.0
#: The same for the effective number of travellers: of fewer, the standard error itself is too uncertain.
LEAST_TRAVELLERS: Final = 10.0
_Z: Final = 1.96


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean reward with its 95 % interval, its effective sample size and its effective number of travellers."""

    value: float
    low: float
    high: float
    effective: float
    travellers: float

    @property
    def conclusive(self) -> bool:
        """Whether there are enough decisions, of enough travellers, to conclude anything."""
        return self.effective >= LEAST_EFFECTIVE and self.travellers >= LEAST_TRAVELLERS


@dataclass(frozen=True, eq=False)
class Logged:
    """N decisions with their rewards; ``target`` are the probabilities of the same decisions under the other policy.

    All float64 [N]; rewards are from 0 to 1. ``identities`` [N] are the travellers; without them, every decision is one
    of another traveller. Raises ValueError if a propensity is not above 0 or if the shapes differ.
    """

    propensities: NDArray[np.float64]
    target: NDArray[np.float64]
    rewards: NDArray[np.float64]
    identities: Sequence[str] | None = None

    def __post_init__(self) -> None:
        owned = self.identities is None or len(self.identities) == len(self.propensities)
        if not (self.propensities.shape == self.target.shape == self.rewards.shape and owned):
            raise ValueError("Each decision needs a propensity, a probability under the other policy and a reward.")
        if not (self.propensities > 0).all():
            raise ValueError("Every propensity must be above 0.")

    @property
    def weights(self) -> NDArray[np.float64]:
        """The importance weight of each decision."""
        return self.target / self.propensities

    @property
    def travellers(self) -> NDArray[np.int64]:
        """The traveller of each decision, as a number."""
        return np.arange(len(self.rewards)) if self.identities is None else numbers(self.identities)


def effective_size(weights: NDArray[np.float64]) -> float:
    """The effective sample size of units with these weights (Kish 1965)."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares > 0 else 0.0


def ips(logged: Logged) -> Estimate:
    """Inverse propensity scoring: unbiased, with high variance."""
    return _estimate(logged, logged.weights * logged.rewards)


def self_normalised(logged: Logged) -> Estimate:
    """IPS divided by the sum of the weights: slightly biased, with much less variance."""
    weights = logged.weights
    total = weights.sum()
    if total <= 0:
        return Estimate(0.0, 0.0, 0.0, 0.0, 0.0)
    value = float((weights * logged.rewards).sum() / total)
    return _interval(logged, value, standard_error(logged.rewards - value, logged.travellers, weights))


def doubly_robust(logged: Logged, expected: NDArray[np.float64], expected_target: NDArray[np.float64]) -> Estimate:
    """A model's expected rewards, corrected by the observed ones: right if the model or the propensities are right.

    ``expected`` [N] are the rewards that a model expects of what was shown, ``expected_target`` [N] of what the other
    policy would show.
    """
    weights = logged.weights
    return _estimate(logged, expected_target + weights * (logged.rewards - expected))


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
    return Logged(propensities, target, (lists.chosen == 0).astype(np.float64), lists.identities)


def _estimate(logged: Logged, values: NDArray[np.float64]) -> Estimate:
    value = float(values.mean())
    return _interval(logged, value, standard_error(values - value, logged.travellers))


def _interval(logged: Logged, value: float, error: float) -> Estimate:
    # A single traveller says nothing about others: any mean reward is possible.
    low, high = (value - _Z * error, value + _Z * error) if np.isfinite(error) else (min(value, 0.0), max(value, 1.0))
    own = np.bincount(logged.travellers, logged.weights).astype(np.float64)
    return Estimate(value, low, high, effective_size(logged.weights), effective_size(own))
