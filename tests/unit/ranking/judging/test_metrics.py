from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.unit.ranking.helpers import PLACE, TRAVELLER, synthetic_lists

from placerank.domain import PLACE_FIELDS
from placerank.ranking.catalogue import place_values
from placerank.ranking.judging.metrics import area_under_curve, calibration_error, evaluate
from placerank.ranking.lists import ShownLists
from placerank.ranking.prior import prior


def lists_of(scores: list[list[float]], chosen: list[int]) -> ShownLists:
    """Lists of places that the prior orders by ``scores``, which are user scores."""
    places = [replace(PLACE, user_score=score) for shown in scores for score in shown]
    offsets = np.cumsum([0, *map(len, scores)], dtype=np.int64)
    who = [TRAVELLER] * len(scores)
    return ShownLists(who, ["a"] * len(scores), place_values(places), offsets, np.array(chosen, dtype=np.int64))


def test_the_best_place_taken_is_a_perfect_order() -> None:
    found = evaluate(prior(), lists_of([[1, 2, 5], [4, 0]], [2, 0]))
    assert (found["auc_within_lists"], found["ndcg_at_10"], found["mrr"], found["hit_at_1"]) == (1, 1, 1, 1)


def test_the_worst_place_taken_is_none() -> None:
    found = evaluate(prior(), lists_of([[1, 2, 5], [4, 0]], [0, 1]))
    assert (found["auc_within_lists"], found["hit_at_1"]) == (0, 0)
    assert found["mrr"] == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert found["ndcg_at_10"] == pytest.approx((1 / 2 + 1 / np.log2(3)) / 2)


def test_equals_count_half() -> None:
    found = evaluate(prior(), lists_of([[3, 3]], [0]))
    assert (found["auc_within_lists"], found["auc"], found["hit_at_1"]) == (0.5, 0.5, 0.5)


def test_lists_without_a_choice_count_for_the_loss_only() -> None:
    found = evaluate(prior(), lists_of([[1, 2], [1, 2]], [-1, -1]))
    assert found["lists"] == 2
    assert (found["hit_at_1"], found["auc_within_lists"], found["recall"]) == (0, 0.5, 0)
    assert found["log_loss"] > 0


def test_empty_lists_and_lists_of_one_are_judged() -> None:
    found = evaluate(prior(), lists_of([[], [3]], [-1, 0]))
    assert all(np.isfinite(value) for value in found.values())


def test_precision_and_recall_are_the_right_way_round() -> None:
    """Two places are predicted as chosen, one correctly; one of the three chosen places is found."""
    lists = lists_of([[1, 6], [1, 6], [0, 0]], [1, 0, 0])
    lists.places[-2:, PLACE_FIELDS.index("price")] = 1e6
    found = evaluate(prior(), lists)
    assert found["precision"] == pytest.approx(1 / 2)
    assert found["recall"] == pytest.approx(1 / 3)
    assert found["f1"] == pytest.approx(2 / (2 + 3))
    assert found["accuracy"] == pytest.approx(3 / 6)


def test_the_area_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(1)
    scores, labels = rng.integers(0, 8, 60).astype(float), rng.random(60) < 0.3
    pairs = [(one > other) + (one == other) / 2 for one in scores[labels] for other in scores[~labels]]
    assert area_under_curve(scores, labels) == pytest.approx(np.mean(pairs))
    assert area_under_curve(scores, np.zeros(60, dtype=np.bool_)) == 0.5


def test_chances_that_come_true_are_calibrated() -> None:
    rng = np.random.default_rng(1)
    chances = rng.random(40_000)
    assert calibration_error(chances, rng.random(40_000) < chances) < 0.02
    assert calibration_error(chances, rng.random(40_000) < chances**2) > 0.1


def test_a_model_that_puts_one_place_first_everywhere_covers_one() -> None:
    found = evaluate(prior(), lists_of([[1, 2, 5], [5, 3, 2], [4, 5]], [2, 0, 0]))
    assert found["coverage"] == pytest.approx(1 / 5)


def test_all_metrics_are_named() -> None:
    assert set(evaluate(prior(), synthetic_lists(20, seed=1))) == {
        *("ece", "coverage", "lists", "auc", "auc_within_lists", "ndcg_at_10", "mrr", "hit_at_1", "log_loss"),
        *("precision", "recall", "f1", "accuracy"),
    }
