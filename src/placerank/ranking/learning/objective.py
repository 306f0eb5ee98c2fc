"""The objective of training: the negative log likelihood of the choices, plus a penalty that regularises the weights.

Each candidate (:data:`CANDIDATES`) has its own free weights and its own penalty. Weights are scaled by the spread of
their features, so that one penalty strength fits all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from placerank.ranking.choice import Mixture, logistic, softmax
from placerank.ranking.features import (
    BASE_TERMS,
    BUDGET_TERMS,
    LIMIT_TERMS,
    PLACE_FEATURES,
    POOLS,
    TERMS,
    TRAVELLER_FEATURES,
    WEIGHT_NAMES,
)
from placerank.ranking.lists import (
    LIMIT_COLUMNS,
    LIMIT_ROWS,
    LIMITS,
    OUTSIDE_ROWS,
    TERM_COLUMNS,
    TERM_ROWS,
    Block,
    Prepared,
    chunks,
)
from placerank.ranking.prior import prior

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from placerank.ranking.lists import ShownLists
    from placerank.ranking.model import Kind

_LEAST_SPREAD: Final = 1e-2
#: Width of the smoothing of the absolute value around zero, so that it has a gradient there.
_ROUND: Final = 0.05
_POOL: Final = np.array([[name in pool for name in WEIGHT_NAMES] for pool in POOLS], dtype=np.float64)
_IS_BUDGET: Final = np.array([name in BUDGET_TERMS for name in WEIGHT_NAMES])
_IS_LIMIT: Final = np.array([name in {f"{one}*{other}" for one, other in LIMIT_TERMS} for name in WEIGHT_NAMES])
_IS_OUTSIDE: Final = np.array([name.startswith("outside:") for name in WEIGHT_NAMES])
_IS_CONSTANT: Final = np.array([name == "outside:one" for name in WEIGHT_NAMES])
_IS_BASE: Final = np.array([one < len(BASE_TERMS) or one >= len(TERMS) for one in range(len(WEIGHT_NAMES))])
#: Catalogues differ in how often nothing is chosen, so this constant is hardly regularised. Neither are limits, because
#: choices can only show that a limit's weight is lower than expected.
_FREE: Final = 0.01


@dataclass(frozen=True, slots=True)
class Candidate:
    """A kind of model: ``ridge`` pulls weights toward the prior's, ``lasso`` toward those of their pool."""

    kind: Kind
    rich: bool
    mixed: bool
    ridge: float
    lasso: float


#: Simplest first: a later candidate is chosen only if it is clearly better.
CANDIDATES: Final = (
    Candidate("logit", rich=False, mixed=False, ridge=3.0, lasso=0.0),
    Candidate("lapse", rich=False, mixed=True, ridge=0.03, lasso=6.0),
    Candidate("rich", rich=True, mixed=True, ridge=0.03, lasso=6.0),
)


class Objective:
    """The penalised loss of ``lists`` in nats, as a function of a candidate's parameters.

    The parameters are the weights times their spread, the common part of each pool, and three numbers of the mixture:
    the log odds of a lapse, and the weights of the inclusive values.
    """

    def __init__(self, lists: ShownLists, candidate: Candidate) -> None:
        prepared = Prepared(lists)
        blocks = [prepared.block(start, stop) for start, stop in chunks(len(lists))]
        self._blocks = blocks if candidate.rich else [block.narrow() for block in blocks]
        self._mixed = candidate.mixed
        self.spread = _spreads(blocks)
        free = _IS_BASE | candidate.rich
        self._free = np.concatenate(
            [free, (_POOL * free).any(axis=1) & candidate.mixed, np.full(3, candidate.mixed)]
        ).astype(np.float64)
        self._target = np.zeros(len(self._free))
        if not candidate.mixed:
            self._target[: len(WEIGHT_NAMES)] = prior().weights * self.spread
        self._target[-2] = 1.0
        self._ridge, self._lasso = _penalties(candidate)

    @property
    def start(self) -> NDArray[np.float64]:
        """The starting point of the minimisation."""
        begin = self._target.copy()
        if self._mixed:
            begin[: len(WEIGHT_NAMES)][_IS_LIMIT | (np.array(WEIGHT_NAMES) == BUDGET_TERMS[0])] = -2.0
            begin[-3:] = -0.5, 0.2, 0.2
        return begin

    def unfold(self, point: NDArray[np.float64]) -> tuple[NDArray[np.float64], Mixture]:
        """The weights and the mixture at a point of the parameter space."""
        own, shared = point[: len(WEIGHT_NAMES)], point[len(WEIGHT_NAMES) : -3]
        weights = own / self.spread + shared @ _POOL
        if not self._mixed:
            return weights, Mixture()
        return weights, Mixture(float(logistic(point[[-3]])[0]), abs(float(point[-2])), abs(float(point[-1])))

    def __call__(self, point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Loss and gradient."""
        weights, mixture = self.unfold(point)
        away = point - self._target
        rounded = np.sqrt(away**2 + _ROUND**2)
        loss = float(0.5 * self._ridge @ away**2 + self._lasso @ (rounded - _ROUND))
        slope = self._ridge * away + self._lasso * away / rounded
        by_weight, by_mixture = np.zeros(len(WEIGHT_NAMES)), np.zeros(3)
        for block in self._blocks:
            part = likelihood(block, weights, mixture)
            loss, by_weight, by_mixture = loss - part[0], by_weight - part[1], by_mixture - part[2]
        by_mixture *= (1.0, *np.sign(point[-2:]))
        return loss, self._free * (slope + np.concatenate([by_weight / self.spread, _POOL @ by_weight, by_mixture]))


def likelihood(
    block: Block, weights: NDArray[np.float64], mixture: Mixture
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Log likelihood of the choices, and its gradients with respect to the weights and the mixture.

    The mixture's gradient is with respect to the log odds of a lapse and the weights of the inclusive values.
    """
    utilities, acceptance, outside = block.utilities(weights)
    some = block.present.any(axis=1)
    chances, inclusive = softmax(utilities)
    alike, accepted = softmax(acceptance)
    inclusive, accepted = np.where(some, inclusive, 0.0), np.where(some, accepted, 0.0)
    against = outside - mixture.preference * inclusive - mixture.acceptance * accepted
    nothing = logistic(against)
    took = block.chosen >= 0
    mine = np.maximum(block.chosen, 0)
    every = np.arange(len(mine))
    meant = np.where(took, (1.0 - mixture.lapse) * chances[every, mine], 0.0)
    both = np.where(took, meant + mixture.lapse * alike[every, mine], 1.0)
    both = np.maximum(both, 1e-300)
    value = np.where(took, np.log(both) + _log_logistic(-against), _log_logistic(against))
    by_meaning = np.where(took, meant / both, 0.0)
    by_lapse = np.where(took, 1.0 - by_meaning, 0.0)
    by_against = np.where(some, np.where(took, 0.0, 1.0) - nothing, 0.0)
    hit = np.zeros_like(chances)
    hit[every[took], mine[took]] = 1.0
    by_utility = by_meaning[:, None] * (hit - chances) - (by_against * mixture.preference)[:, None] * chances
    by_acceptance = by_lapse[:, None] * (hit - alike) - (by_against * mixture.acceptance)[:, None] * alike
    by_mixture = np.array(
        [
            float((by_lapse - mixture.lapse)[took].sum()),
            float(-(by_against * inclusive).sum()),
            float(-(by_against * accepted).sum()),
        ]
    )
    slope = _by_weight(block, by_utility, by_acceptance, by_against)
    return float(value[some].sum()), slope, by_mixture


def _by_weight(
    block: Block,
    by_utility: NDArray[np.float64],
    by_acceptance: NDArray[np.float64],
    by_outside: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The gradient with respect to the weights, given the gradients with respect to the utilities."""
    by_place = np.matmul(by_utility[:, None, :], block.features)[:, 0]
    terms = np.zeros(len(TERMS))
    terms[: block.terms] = (block.facts.T @ by_place)[TERM_ROWS[: block.terms], TERM_COLUMNS[: block.terms]]
    limited = np.matmul(by_acceptance[:, None, :], block.features[:, :, LIMIT_COLUMNS])[:, 0]
    terms[LIMITS] += (block.facts[:, LIMIT_ROWS] * limited).sum(axis=0)
    budget = np.einsum("lj,ljk->k", by_utility + by_acceptance, block.over)
    return np.concatenate([terms, budget, by_outside @ block.facts[:, OUTSIDE_ROWS]])


def _penalties(candidate: Candidate) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Strengths of ridge and lasso for each parameter."""
    limit = _IS_LIMIT | _IS_BUDGET if candidate.mixed else np.zeros_like(_IS_LIMIT)
    ridge = np.full(len(WEIGHT_NAMES), candidate.ridge)
    lasso = np.full(len(WEIGHT_NAMES), candidate.lasso)
    ridge[limit | _IS_CONSTANT], lasso[limit | _IS_OUTSIDE] = _FREE, 0.0
    if candidate.mixed:
        ridge[_IS_OUTSIDE & ~_IS_CONSTANT] = 1.0
    shared = np.full(len(POOLS), _FREE)
    return np.concatenate([ridge, shared, np.full(3, _FREE)]), np.concatenate([lasso, np.zeros(len(POOLS) + 3)])


def _spreads(blocks: list[Block]) -> NDArray[np.float64]:
    """Standard deviation of every feature over the alternatives that have it, at least 0.01; 1 for the constant."""
    shape = (len(TRAVELLER_FEATURES), len(PLACE_FEATURES))
    count, sums, squares = 0.0, np.zeros(shape), np.zeros(shape)
    budget, outside = [np.zeros((0, len(BUDGET_TERMS)))], [np.zeros((0, len(OUTSIDE_ROWS)))]
    for block in blocks:
        count += block.present.sum()
        sums += block.facts.T @ block.features.sum(axis=1)
        squares += (block.facts**2).T @ (block.features**2).sum(axis=1)
        budget.append(block.over[block.present])
        outside.append(block.facts[:, OUTSIDE_ROWS])
    variance = (squares / max(count, 1.0) - (sums / max(count, 1.0)) ** 2)[TERM_ROWS, TERM_COLUMNS]
    others = [
        np.concatenate(parts).std(axis=0) if len(np.concatenate(parts)) else np.zeros(parts[0].shape[1])
        for parts in (budget, outside)
    ]
    spread: NDArray[np.float64] = np.maximum(
        np.concatenate([np.sqrt(np.maximum(variance, 0.0)), *others]), _LEAST_SPREAD
    )
    spread[_IS_CONSTANT] = 1.0
    return spread


def _log_logistic(values: NDArray[np.float64]) -> NDArray[np.float64]:
    logs: NDArray[np.float64] = -np.logaddexp(0.0, -values)
    return logs
