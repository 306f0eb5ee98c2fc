"""Standard errors by traveller."""

from __future__ import annotations

import numpy as np
import pytest

from placerank.ranking.judging.clusters import numbers, standard_error
from placerank.ranking.learning.objective import CANDIDATES
from placerank.ranking.learning.training import _simplest_of_the_best

RNG = np.random.default_rng(8)


def error(values: np.ndarray, travellers: np.ndarray) -> float:
    return standard_error(values - values.mean(), travellers)


def test_travellers_are_numbered_as_they_come() -> None:
    assert numbers(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]


def test_of_one_list_each_it_is_the_usual_one() -> None:
    values = RNG.normal(size=50)
    assert error(values, np.arange(50)) == pytest.approx(values.std(ddof=1) / np.sqrt(50))


def test_repeated_lists_make_no_difference() -> None:
    values = RNG.normal(size=50)
    assert error(np.repeat(values, 9), np.repeat(np.arange(50), 9)) == pytest.approx(error(values, np.arange(50)))


def test_of_one_traveller_there_is_none() -> None:
    assert error(RNG.normal(size=50), np.zeros(50, dtype=np.int64)) == float("inf")


def test_a_richer_candidate_has_to_win_with_different_travellers() -> None:
    """Two travellers of ten gain much; by list that looks like a hundred gains, by traveller like luck."""
    gains = np.zeros(500)
    gains[:100] = RNG.normal(0.1, 0.01, 100)
    gains[100:] = RNG.normal(-0.01, 0.01, 400)
    losses: dict[str, np.ndarray] = {
        candidate.kind: 1 - gains * (place > 0) for place, candidate in enumerate(CANDIDATES)
    }
    assert _simplest_of_the_best(losses, np.arange(500)) is CANDIDATES[1]
    assert _simplest_of_the_best(losses, np.repeat(np.arange(10), 50)) is CANDIDATES[0]
