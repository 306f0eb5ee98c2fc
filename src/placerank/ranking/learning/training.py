"""Trains a model on shown lists and their choices.

The loss compares the places of one list, and choosing nothing. Several candidates (:data:`objective.CANDIDATES`) are
fitted and evaluated on held-out travellers. The simplest one that no other clearly beats is fitted again on all lists.
With few lists this is one with few free weights; with many lists the richest can win.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from placerank.ranking.errors import NotEnoughData
from placerank.ranking.features import WEIGHT_NAMES
from placerank.ranking.judging.clusters import numbers, standard_error
from placerank.ranking.judging.metrics import evaluate, judge, losses_of
from placerank.ranking.learning.minimise import minimise
from placerank.ranking.learning.objective import CANDIDATES, Objective
from placerank.ranking.lists import ShownLists, choice_probabilities
from placerank.ranking.model import GREATEST_WEIGHT, Model
from placerank.ranking.prior import prior

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from placerank.ranking.learning.objective import Candidate

__all__ = ["Fitted", "ShownLists", "Trained", "fit", "fit_candidate", "learn", "split", "train"]

#: Share of the travellers that are held out for evaluation.
_HELD_OUT: Final = 0.2
#: Below ``_MANY`` lists, candidates are cross-validated in all folds. With more lists, one of the folds is enough.
_FOLDS: Final = 3
_MANY: Final = 5_000
_MAX_STEPS: Final = 150
#: A rough guess, for the progress only.
_EXPECTED_STEPS: Final = 60


@dataclass(frozen=True, eq=False)
class Fitted:
    """The chosen model, fitted on all lists, and the mean loss of each candidate on held-out travellers.

    ``rows`` and ``nothing`` are the candidate's probabilities for the lists ``judged``, from fits that had not seen
    their travellers.
    """

    model: Model
    losses: dict[str, float]
    judged: ShownLists
    rows: NDArray[np.float64]
    nothing: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Trained:
    """A new model, its metrics on held-out travellers, and the baseline's metrics on the same lists."""

    model: Model
    metrics: dict[str, float]
    baseline_metrics: dict[str, float]
    held_out: ShownLists


def train(
    lists: ShownLists,
    *,
    seed: int,
    start: Model | None = None,
    data: Mapping[str, str] | None = None,
    max_steps: int = _MAX_STEPS,
    min_lists: int = 30,
    progress: Callable[[float], None] = lambda _done: None,
) -> Trained:
    """Train on ``lists``; the same lists and seed give the same bytes.

    The metrics are of held-out travellers. Neither this model nor an earlier one of the same seed has seen them, so the
    comparison with ``baseline_metrics`` is fair. The baseline is ``start``, or the prior without it. ``progress`` is
    called with 0..1 before every step, and may raise to stop. Raises NotEnoughData for fewer than ``min_lists`` lists
    or fewer than two travellers, ModelError for values that are not finite.
    """
    if len(lists) < min_lists:
        raise NotEnoughData(f"Training needs {min_lists} answered lists; there are {len(lists)}.")
    seen, held_out = split(lists.identities, seed)
    unseen = lists.subset(held_out)
    fitted = fit(lists.subset(seen), seed=seed, max_steps=max_steps, progress=progress)
    metrics = evaluate(fitted.model, unseen)
    progress(1.0)
    return Trained(
        model=replace(fitted.model, metrics=metrics, data=data or {}),
        metrics=metrics,
        baseline_metrics=evaluate(start or prior(), unseen),
        held_out=unseen,
    )


def learn(lists: ShownLists, *, seed: int, data: Mapping[str, str], min_lists: int = 30) -> Fitted:
    """A model fitted on all of ``lists``, with metrics of held-out travellers in it; ``data`` describes the lists.

    Raises NotEnoughData for fewer than ``min_lists`` lists, fewer than two travellers or no chosen place, ModelError
    for values that are not finite.
    """
    if len(lists) < min_lists:
        raise NotEnoughData(f"Training needs {min_lists} answered lists; there are {len(lists)}.")
    # A list of a file without a choice may be one that was never answered, so that such lists alone say nothing.
    if not (lists.chosen >= 0).any():
        raise NotEnoughData(
            f"Training needs lists from which a place was chosen (label 1): there is none among {len(lists)} lists."
        )
    fitted = fit(lists, seed=seed)
    if not len(fitted.judged):
        raise NotEnoughData(f"Training needs lists of two travellers or more; there are {len(set(lists.identities))}.")
    metrics = judge(fitted.rows, fitted.nothing, fitted.judged)
    return replace(fitted, model=replace(fitted.model, metrics=metrics, data=data))


def fit(
    lists: ShownLists,
    *,
    seed: int,
    max_steps: int = _MAX_STEPS,
    progress: Callable[[float], None] = lambda _done: None,
) -> Fitted:
    """The candidate that predicts unseen travellers best, fitted on all of ``lists``."""
    folds = _folds(lists, seed)
    steps = _Steps(progress, fits=len(CANDIDATES) * len(folds) + 1)
    judged = lists.subset(np.concatenate([np.zeros(0, dtype=np.int64), *(unseen for _, unseen in folds)]))
    chances: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    losses: dict[str, NDArray[np.float64]] = {}
    for candidate in CANDIDATES:
        fits = [_fit(lists.subset(seen), candidate, max_steps, steps) for seen, _ in folds]
        chances[candidate.kind] = _together(
            [choice_probabilities(model, lists.subset(unseen)) for model, (_, unseen) in zip(fits, folds, strict=True)]
        )
        losses[candidate.kind] = losses_of(*chances[candidate.kind], judged)
    best = _simplest_of_the_best(losses, numbers(judged.identities))
    model = _fit(lists, best, max_steps, steps)
    means = {kind: float(each.mean()) for kind, each in losses.items() if len(each)}
    return Fitted(model, means, judged, *chances[best.kind])


def fit_candidate(lists: ShownLists, candidate: Candidate, *, max_steps: int = _MAX_STEPS) -> Model:
    """One candidate fitted on all of ``lists``."""
    return _fit(lists, candidate, max_steps, _Steps(lambda _done: None, fits=1))


def split(identities: Sequence[str], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the lists to train on and of the held-out lists; no traveller is in both.

    A traveller's side depends only on the identity and the seed. So no model of this seed, however late it is trained,
    has seen the travellers on which two models are compared. Raises NotEnoughData for fewer than two travellers.
    """
    lots = {identity: _lot(identity, str(seed)) for identity in set(identities)}
    if len(lots) < 2:
        raise NotEnoughData(f"Training needs lists of two travellers or more; there are {len(lots)}.")
    # If there are few travellers, all of them may fall on one side by chance.
    border = min(max(_HELD_OUT, min(lots.values())), sorted(lots.values())[-2])
    unseen = np.array([lots[identity] <= border for identity in identities])
    return np.flatnonzero(~unseen), np.flatnonzero(unseen)


def _folds(lists: ShownLists, seed: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Folds by traveller: pairs of indices of lists to fit and of held-out lists; none for a single traveller."""
    parts = np.array([int(_lot(identity, f"fold {seed}") * _FOLDS) for identity in lists.identities])
    turns = range(1 if len(lists) >= _MANY else _FOLDS)
    pairs = [(np.flatnonzero(parts != turn), np.flatnonzero(parts == turn)) for turn in turns]
    return [(seen, unseen) for seen, unseen in pairs if len(seen) and len(unseen)]


def _together(
    parts: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows, nothing = zip((np.zeros(0), np.zeros(0)), *parts, strict=True)
    return np.concatenate(rows), np.concatenate(nothing)


def _lot(identity: str, salt: str) -> float:
    """A number from 0 to 1 that depends only on the identity and the salt."""
    digest = hashlib.blake2b(f"{salt} {identity}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def _simplest_of_the_best(losses: dict[str, NDArray[np.float64]], travellers: NDArray[np.int64]) -> Candidate:
    """The candidate with the lowest loss; a richer one has to win by more than a standard error, by traveller."""
    best = CANDIDATES[0]
    for candidate in CANDIDATES[1:]:
        gains = losses[best.kind] - losses[candidate.kind]
        if len(gains) and gains.mean() > standard_error(gains - gains.mean(), travellers):
            best = candidate
    return best


def _fit(lists: ShownLists, candidate: Candidate, max_steps: int, steps: _Steps) -> Model:
    """A candidate with the weights that minimise its objective on ``lists``."""
    objective = Objective(lists, candidate)
    point = minimise(objective, objective.start, max_steps=max_steps, progress=steps.within)
    steps.next()
    weights, mixture = objective.unfold(point)
    normaliser = dict(zip(WEIGHT_NAMES, objective.spread.tolist(), strict=True))
    return Model(candidate.kind, np.clip(weights, -GREATEST_WEIGHT, GREATEST_WEIGHT), {}, normaliser, mixture)


class _Steps:
    """Progress over several fits, from 0 to 1; it never decreases."""

    def __init__(self, progress: Callable[[float], None], fits: int) -> None:
        self._progress = progress
        self._fits = fits
        self._done = 0

    def within(self, step: int) -> None:
        self._progress((self._done + min(0.99, step / _EXPECTED_STEPS)) / self._fits)

    def next(self) -> None:
        self._done += 1
