"""Learning from shown lists: which of these places, or none of them.

The loss compares the alternatives of one list (softmax over its places and choosing nothing, McFadden 1974), with a
ridge toward the prior: what the data does not say stays as it was judged. The problem is convex and has few weights,
so Newton's method solves it in about ten steps, the same every time.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from placerank.ranking.errors import NotEnoughData
from placerank.ranking.features import WEIGHT_NAMES
from placerank.ranking.lists import Prepared, ShownLists, chunks
from placerank.ranking.metrics import evaluate
from placerank.ranking.model import GREATEST_WEIGHT, Model, probabilities
from placerank.ranking.prior import prior

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from placerank.ranking.lists import Alternatives

__all__ = ["ShownLists", "Trained", "split", "train"]

#: Share of the travellers whose lists are kept for judging.
_HELD_OUT: Final = 0.2
#: Strength of the ridge, in squared units of a weight times its feature's spread.
_RIDGE: Final = 3.0
#: The constant of choosing nothing is all but free: how much is taken at all differs between catalogues.
_FREE_RIDGE: Final = 0.01
_LEAST_SPREAD: Final = 1e-2
_ENOUGH: Final = 1e-8
_EXPECTED_STEPS: Final = 10


@dataclass(frozen=True, eq=False)
class Trained:
    """A new model, its metrics on travellers it had not seen, and those of the model it started from."""

    model: Model
    metrics: dict[str, float]
    baseline_metrics: dict[str, float]


def train(
    lists: ShownLists,
    *,
    seed: int,
    start: Model | None = None,
    max_steps: int = 200,
    min_lists: int = 30,
    progress: Callable[[float], None] = lambda _done: None,
) -> Trained:
    """Learn from ``lists``; the same lists and seed give the same bytes.

    Neither this model nor an earlier one of the same seed has seen the held-out travellers that the metrics are of, so
    that ``baseline_metrics``, those of ``start`` (the prior without one) on the same lists, compare fairly.
    ``progress`` is called with 0..1 before every step, and may raise to stop. Raises NotEnoughData for fewer than
    ``min_lists`` lists or two travellers, ModelError for values that are not finite.
    """
    if len(lists) < min_lists:
        raise NotEnoughData(f"Training needs {min_lists} answered lists; there are {len(lists)}.")
    seen, held_out = split(lists.identities, seed)
    unseen = lists.subset(held_out)
    fitted = _fit(lists.subset(seen), max_steps, progress)
    metrics = evaluate(fitted, unseen)
    progress(1.0)
    return Trained(
        model=Model("logit", fitted.weights, metrics, fitted.normaliser),
        metrics=metrics,
        baseline_metrics=evaluate(start or prior(), unseen),
    )


def split(identities: Sequence[str], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the lists to learn from and of those to judge by; no traveller is in both.

    A traveller's side hangs on the identity and the seed alone, so that no model of this seed, however much later it is
    trained, has seen those by whom two of them are compared. Raises NotEnoughData for fewer than two travellers.
    """
    lots = {identity: _lot(identity, seed) for identity in set(identities)}
    if len(lots) < 2:
        raise NotEnoughData(f"Training needs lists of two travellers or more; there are {len(lots)}.")
    # Among few travellers chance may put all on one side.
    border = min(max(_HELD_OUT, min(lots.values())), sorted(lots.values())[-2])
    unseen = np.array([lots[identity] <= border for identity in identities])
    return np.flatnonzero(~unseen), np.flatnonzero(unseen)


def _lot(identity: str, seed: int) -> float:
    """A number from 0 to 1 that this identity always draws."""
    digest = hashlib.blake2b(f"{seed} {identity}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def _fit(lists: ShownLists, max_steps: int, progress: Callable[[float], None]) -> Model:
    """The weights of least loss on ``lists``, by Newton's method with step halving."""
    problem = _Problem(lists)
    weights = problem.target
    loss, slope, curvature = problem.at(weights)
    for step in range(max_steps):
        progress(min(1.0, step / _EXPECTED_STEPS))
        move: NDArray[np.float64] = np.linalg.solve(curvature, slope).astype(np.float64)
        if slope @ move < _ENOUGH:
            break
        weights, loss, slope, curvature = problem.descend(weights, move, loss)
    normaliser = dict(zip(WEIGHT_NAMES, problem.spread.tolist(), strict=True))
    return Model("logit", np.clip(weights, -GREATEST_WEIGHT, GREATEST_WEIGHT), normaliser=normaliser)


class _Problem:
    """The penalised loss of the lists as a function of the weights; ``spread`` is that of each weight's feature."""

    def __init__(self, lists: ShownLists) -> None:
        self._prepared = Prepared(lists)
        self._spans = chunks(len(lists))
        self.target = prior().weights
        self.spread = self._spreads()
        free = np.array([name == "outside:one" for name in WEIGHT_NAMES])
        self._ridge = np.where(free, _FREE_RIDGE, _RIDGE) * self.spread**2

    def at(self, weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """Loss in nats, its gradient [K] and its Hessian [K, K]."""
        away = weights - self.target
        loss = float(0.5 * self._ridge @ away**2)
        slope, curvature = self._ridge * away, np.diag(self._ridge)
        for start, stop in self._spans:
            part = _likelihood(self._prepared.alternatives(start, stop), weights)
            loss, slope, curvature = loss + part[0], slope + part[1], curvature + part[2]
        return loss, slope, curvature

    def descend(
        self, weights: NDArray[np.float64], move: NDArray[np.float64], loss: float
    ) -> tuple[NDArray[np.float64], float, NDArray[np.float64], NDArray[np.float64]]:
        """Go along ``move``, half as far each time the loss would grow; a convex loss shrinks in the end."""
        for halvings in range(30):
            there = weights - move * 0.5**halvings
            found = self.at(there)
            if found[0] <= loss:
                break
        return there, *found

    def _spreads(self) -> NDArray[np.float64]:
        """Standard deviation of every feature over the alternatives that have it, 1 for the constant."""
        count, total, squares = 0.0, np.zeros(len(WEIGHT_NAMES)), np.zeros(len(WEIGHT_NAMES))
        for start, stop in self._spans:
            part = self._prepared.alternatives(start, stop)
            rows = part.design[part.present]
            count, total, squares = count + len(rows), total + rows.sum(axis=0), squares + (rows**2).sum(axis=0)
        variance = squares / count - (total / count) ** 2
        return np.maximum(np.sqrt(np.maximum(variance, 0.0)), _LEAST_SPREAD)


def _likelihood(
    part: Alternatives, weights: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Negative log likelihood of what was taken, its gradient and its Hessian."""
    utilities = np.where(part.present, part.design @ weights, -np.inf)
    places, nothing = probabilities(utilities[:, :-1], utilities[:, -1])
    chances = np.column_stack([places, nothing])
    every = np.arange(len(chances))
    taken = part.design[every, part.taken]
    expected = np.einsum("lj,ljk->lk", chances, part.design)
    flat = part.design.reshape(-1, part.design.shape[2])
    curvature = flat.T @ (chances.reshape(-1, 1) * flat) - expected.T @ expected
    top = utilities.max(axis=1)
    loss = top + np.log(np.exp(utilities - top[:, None]).sum(axis=1)) - utilities[every, part.taken]
    return float(loss.sum()), (expected - taken).sum(axis=0), curvature
