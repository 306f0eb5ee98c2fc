"""Metrics: how well probabilities fit the choices. Higher is better, except for the loss and the calibration error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from placerank.ranking.lists import choice_probabilities

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from placerank.ranking.lists import ShownLists
    from placerank.ranking.model import Model


#: Number of bins, each with equally many rows, in which predicted and observed frequencies are compared.
_BINS: Final = 15


def evaluate(model: Model, lists: ShownLists) -> dict[str, float]:
    """The metrics of ``model`` on ``lists``, which must hold at least one list.

    The metrics of order within a list (``auc_within_lists``, ``ndcg_at_10``, ``mrr``, ``hit_at_1``) use the lists in
    which a place was chosen; ties share their ranks. ``log_loss`` is in nats per list and includes choosing nothing.
    ``precision``, ``recall``, ``f1`` and ``accuracy`` are over rows: the most likely place of a list is predicted as
    chosen unless choosing nothing is more likely. ``auc`` is over all rows of all lists. ``ece`` is the expected
    calibration error of rows (Naeini et al. 2015). ``coverage`` is the share of the different places shown that come
    first in at least one list.
    """
    return judge(*choice_probabilities(model, lists), lists)


def judge(rows: NDArray[np.float64], nothing: NDArray[np.float64], lists: ShownLists) -> dict[str, float]:
    """The metrics of given probabilities: P(chosen) of every row [M], and P(nothing) of every list [L]."""
    return {
        "lists": float(len(lists)),
        "coverage": _coverage(rows, lists),
        **judge_order(rows, nothing, lists),
        **_classification(rows, nothing, chosen_rows(lists), lists),
    }


def judge_order(rows: NDArray[np.float64], nothing: NDArray[np.float64], lists: ShownLists) -> dict[str, float]:
    """The metrics of :func:`judge` that measure probabilities and order."""
    labels = chosen_rows(lists)
    return {
        "auc": area_under_curve(rows, labels),
        "log_loss": float(losses_of(rows, nothing, lists).mean()),
        "ece": calibration_error(rows, labels),
        **_order(rows, lists),
    }


def chosen_rows(lists: ShownLists) -> NDArray[np.bool_]:
    """Which rows [M] were chosen."""
    labels = np.zeros(len(lists.places), dtype=np.bool_)
    some = lists.chosen >= 0
    labels[lists.offsets[:-1][some] + lists.chosen[some]] = True
    return labels


def area_under_curve(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """P(a chosen row scores above a row not chosen), ties counting half; 0.5 if there is only one kind of row."""
    positives, negatives = int(labels.sum()), int((~labels).sum())
    if not positives or not negatives:
        return 0.5
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return float((ranks[inverse][labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def list_losses(model: Model, lists: ShownLists) -> NDArray[np.float64]:
    """Minus the log of the probability that ``model`` gave to the choice of each list, in nats [L]."""
    return losses_of(*choice_probabilities(model, lists), lists)


def losses_of(rows: NDArray[np.float64], nothing: NDArray[np.float64], lists: ShownLists) -> NDArray[np.float64]:
    """The same for given probabilities: P(chosen) of every row [M], and P(nothing) of every list [L]."""
    taken = nothing.copy()
    some = lists.chosen >= 0
    taken[some] = rows[lists.offsets[:-1][some] + lists.chosen[some]]
    return -np.log(np.maximum(taken, np.finfo(np.float64).tiny))


def calibration_error(chances: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """The expected calibration error: the distance of predicted and observed frequencies, as a mean over rows."""
    bins = reliability(chances, labels)
    apart = [len(promised) * abs(float(promised.mean() - came.mean())) for promised, came in bins]
    return sum(apart) / max(1, len(chances))


def reliability(
    chances: NDArray[np.float64], labels: NDArray[np.bool_]
) -> list[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """Predicted probabilities and outcomes in bins of equally many rows, lowest probabilities first."""
    by_chance = np.argsort(chances, kind="stable")
    return [(chances[part], labels[part]) for part in np.array_split(by_chance, _BINS) if len(part)]


def _coverage(rows: NDArray[np.float64], lists: ShownLists) -> float:
    lengths = np.diff(lists.offsets)
    some = lengths > 0
    if not some.any():
        return 0.0
    _, place = np.unique(lists.places, axis=0, return_inverse=True)
    owners = np.repeat(np.arange(len(lists)), lengths)
    by_chance = np.lexsort((-rows, owners))
    firsts = by_chance[lists.offsets[:-1][some]]
    return float(len(np.unique(place[firsts])) / len(np.unique(place)))


def list_areas(model: Model, lists: ShownLists) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The area under the curve of each list with a choice and at least two places, and the indices of these lists."""
    rows, _ = choice_probabilities(model, lists)
    above, equal, others = _places_of_chosen(rows, lists)
    judged = others > 0
    beaten = (others - above - equal / 2)[judged] / others[judged]
    return beaten, np.flatnonzero(lists.chosen >= 0)[judged]


def _order(rows: NDArray[np.float64], lists: ShownLists) -> dict[str, float]:
    above, equal, others = _places_of_chosen(rows, lists)
    if not len(above):
        return {"auc_within_lists": 0.5, "ndcg_at_10": 0.0, "mrr": 0.0, "hit_at_1": 0.0}
    rank = 1 + above + equal / 2
    beaten = (others - above - equal / 2)[others > 0] / others[others > 0]
    return {
        "auc_within_lists": float(beaten.mean()) if len(beaten) else 0.5,
        "ndcg_at_10": float(np.where(rank <= 10, 1 / np.log2(1 + rank), 0.0).mean()),
        "mrr": float((1 / rank).mean()),
        "hit_at_1": float(np.where(above == 0, 1 / (1 + equal), 0.0).mean()),
    }


def _places_of_chosen(
    rows: NDArray[np.float64], lists: ShownLists
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """For each list with a choice: how many places score above the chosen one, how many tie, how many others exist."""
    lengths = np.diff(lists.offsets)
    some = lists.chosen >= 0
    own = np.full(len(lists), np.nan)
    own[some] = rows[lists.offsets[:-1][some] + lists.chosen[some]]
    owners = np.repeat(np.arange(len(lists)), lengths)
    above = np.bincount(owners, rows > own[owners], len(lists))[some].astype(np.int64)
    equal = np.bincount(owners, rows == own[owners], len(lists))[some].astype(np.int64) - 1
    return above, equal, lengths[some] - 1


def _classification(
    rows: NDArray[np.float64], nothing: NDArray[np.float64], labels: NDArray[np.bool_], lists: ShownLists
) -> dict[str, float]:
    called = np.zeros(len(rows), dtype=np.bool_)
    for start, stop, rest in zip(lists.offsets[:-1].tolist(), lists.offsets[1:].tolist(), nothing, strict=True):
        if stop > start:
            likeliest = start + int(rows[start:stop].argmax())
            called[likeliest] = rows[likeliest] > rest
    right = float((called & labels).sum())
    precision = right / max(1.0, float(called.sum()))
    recall = right / max(1.0, float(labels.sum()))
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / max(precision + recall, 1e-12),
        "accuracy": float((called == labels).mean()) if len(rows) else 0.0,
    }
