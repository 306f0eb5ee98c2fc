"""How much boxes prune. The tests of the scorer check that rankings stay exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from placerank.demo import synthetic
from placerank.domain import PLACE_FIELDS
from placerank.ranking.catalogue import PlaceTable
from placerank.ranking.prior import prior
from placerank.ranking.scoring import boxes, rough
from placerank.ranking.scoring.scorer import Scorer

PLACES = 100_000


@pytest.fixture
def scorer(monkeypatch: pytest.MonkeyPatch) -> Scorer:
    monkeypatch.setattr(rough, "LARGE", 0)
    columns = synthetic.place_columns(PLACES, seed=6)
    values = np.column_stack([columns[name].astype(np.float64) for name in PLACE_FIELDS])
    return Scorer(prior(), PlaceTable(1, columns["location_id"], columns["location_id"], values))


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of blocks that each call scores, over all travellers."""
    counts: list[int] = []
    of_rows = boxes.BoxedCatalogue._of_rows

    def counted(self: boxes.BoxedCatalogue, *arguments: Any) -> Any:
        counts.append(len(arguments[2]))
        return of_rows(self, *arguments)

    monkeypatch.setattr(boxes.BoxedCatalogue, "_of_rows", counted)
    return counts


def test_most_of_a_large_catalogue_is_never_looked_at(scorer: Scorer, looked: list[int]) -> None:
    travellers = synthetic.travellers(60, seed=6)[:20]
    scorer.rank(travellers, 10)
    assert 0 < sum(looked) * boxes.BLOCK < 0.05 * PLACES * len(travellers)


def test_travellers_who_have_little_in_common_are_ranked_alike(
    scorer: Scorer, looked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scoring blocks for all travellers together or pair by pair changes only the time."""
    travellers = synthetic.travellers(60, seed=7)[:20]
    together = scorer.rank(travellers, 10)
    few = sum(looked)
    monkeypatch.setattr(boxes, "_BY_ITSELF", 0)
    assert scorer.rank(travellers, 10) == together
    assert sum(looked) - few > 2 * few


def test_it_takes_no_more_memory_than_the_features_and_a_fifth(scorer: Scorer) -> None:
    features = PLACES * len(scorer.model.columns) * 4
    assert features < scorer._rough.nbytes + scorer._order.nbytes < 1.2 * features


@pytest.mark.parametrize("n", [1, 31, 512, 1000, 5003])
def test_an_order_by_likeness_has_every_row_once(n: int) -> None:
    features = np.random.default_rng(n).random((n, 3), dtype=np.float32)
    order = boxes.by_likeness(features, np.ones(3))
    assert sorted(order.tolist()) == list(range(n))
