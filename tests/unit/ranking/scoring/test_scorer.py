from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.ranking.helpers import PLACE, TRAVELLER, random_model, renumbered, table
from tests.unit.ranking.test_features import valid_place_rows, valid_travellers

from placerank.demo import synthetic
from placerank.domain import PLACE_FIELDS, Place, Traveller
from placerank.ranking.catalogue import PlaceTable
from placerank.ranking.choice import PLAIN, Mixture
from placerank.ranking.errors import ModelError
from placerank.ranking.features import WEIGHT_NAMES
from placerank.ranking.lists import ShownLists, choice_probabilities
from placerank.ranking.model import Model
from placerank.ranking.prior import prior
from placerank.ranking.scoring import boxes, rough
from placerank.ranking.scoring import scorer as scorer_module
from placerank.ranking.scoring.scorer import Ranking, Scorer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BLOCK = rough.MEDIUM_BLOCK
SMALL = rough.SMALL


@pytest.fixture(params=["rough", "boxes"], scope="module", autouse=True)
def finder(request: pytest.FixtureRequest) -> Iterator[str]:
    """Forces one way of finding candidates, for every size of the catalogue."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scorer_module, "_FEW", 0)
        patch.setattr(rough, "LARGE", 0 if request.param == "boxes" else 10**9)
        yield request.param


def plain(model: Model, places: PlaceTable, travellers: Sequence[Traveller], k: int) -> list[Ranking]:
    """Score every place in float64, sort, and keep the first k."""
    utilities, outside = model.utilities(travellers, places.values)
    answers = []
    for mine, nothing in zip(utilities, outside.tolist(), strict=True):
        rows = np.lexsort((places.location_ids, -mine))[:k]
        top = mine[rows].tolist()
        greatest = max([*top, nothing])
        odds = [np.exp(value - greatest) for value in top]
        total = sum(odds) + np.exp(nothing - greatest)
        answers.append(Ranking(tuple(rows.tolist()), tuple(top), tuple(float(odd / total) for odd in odds)))
    return answers


def assert_exact(model: Model, places: PlaceTable, travellers: Sequence[Traveller], k: int) -> None:
    answers = Scorer(model, places).rank(travellers, k)
    for answer, expected in zip(answers, plain(model, places, travellers, k), strict=True):
        assert answer.rows == expected.rows
        assert answer.utilities == expected.utilities
        assert answer.scores == pytest.approx(expected.scores)


def shuffled_ids(places: list[Place], seed: int) -> list[Place]:
    return renumbered(places, (np.random.default_rng(seed).permutation(len(places)) + 1).tolist())


@settings(deadline=None)
@given(
    rows=st.lists(valid_place_rows, min_size=1, max_size=12),
    copies=st.integers(1, 40),
    travellers=st.lists(valid_travellers, min_size=1, max_size=4),
    k=st.integers(1, 15),
    seed=st.integers(0, 5),
)
def test_the_order_is_the_plain_one_with_any_values_and_duplicates(
    rows: list[tuple[float, ...]], copies: int, travellers: list[Traveller], k: int, seed: int
) -> None:
    values = np.repeat(np.array(rows), copies, axis=0)
    ids = np.random.default_rng(seed).permutation(len(values)) + 1
    assert_exact(random_model(seed), PlaceTable(1, ids, np.ones_like(ids), values), travellers, k)


@pytest.mark.parametrize(
    "n", [1, 2, 9, 10, 11, 210, SMALL - 1, SMALL, SMALL + 1, SMALL + BLOCK - 1, SMALL + BLOCK, 3 * SMALL + 1]
)
def test_the_order_is_the_plain_one_at_every_size(n: int) -> None:
    places = table(shuffled_ids(synthetic.places(n, seed=n), seed=n))
    for model in (prior(), random_model(n)):
        assert_exact(model, places, synthetic.travellers(7, seed=n), 10)


@pytest.mark.parametrize("tile_scores", [1, BLOCK, 7 * BLOCK * 5, 100_000])
@pytest.mark.parametrize("n", [300, SMALL + 5 * BLOCK + 3])
def test_the_order_is_the_plain_one_across_tile_borders(
    tile_scores: int, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rough, "TILE_SCORES", tile_scores)
    places = table(shuffled_ids(synthetic.places(n, seed=4), seed=4))
    assert_exact(prior(), places, synthetic.travellers(7, seed=4), 10)


def test_the_order_is_the_plain_one_for_a_lone_traveller_in_many_tiles() -> None:
    columns = synthetic.place_columns(50_000, seed=6)
    values = np.column_stack([columns[name].astype(np.float64) for name in PLACE_FIELDS])
    places = PlaceTable(1, columns["location_id"], columns["location_id"], values)
    for traveller in synthetic.travellers(7, seed=6):
        assert_exact(prior(), places, [traveller], 10)


@pytest.mark.parametrize("k", [1, 31, 33, 700, 3000])
@pytest.mark.parametrize("n", [5, 511, 513, 2500])
def test_the_order_is_the_plain_one_however_many_are_asked_for(n: int, k: int) -> None:
    places = table(shuffled_ids(synthetic.places(n, seed=n), seed=n))
    assert_exact(random_model(k), places, synthetic.travellers(3, seed=n), k)


def test_few_scores_are_all_made_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    places, travellers = table(shuffled_ids(synthetic.places(210, seed=5), seed=5)), synthetic.travellers(6, seed=5)
    asked = []
    monkeypatch.setattr(rough.RoughCatalogue, "possible", lambda *_: asked.append(1))
    monkeypatch.setattr(boxes.BoxedCatalogue, "possible", lambda *_: asked.append(1))
    monkeypatch.setattr(scorer_module, "_FEW", 4 * 210)
    assert_exact(random_model(5), places, travellers[:4], 10)
    assert not asked
    with pytest.raises(TypeError):
        Scorer(prior(), places).rank(travellers[:5], 10)
    assert asked


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_order_is_the_plain_one_wherever_in_a_block_a_budget_ends(seed: int) -> None:
    places = table(synthetic.places(SMALL + 5 * BLOCK, seed=seed))
    prices = np.sort(places.values[:, PLACE_FIELDS.index("price")])
    ends = [*range(1, 2 * BLOCK + 2), *range(len(prices) - BLOCK - 1, len(prices))]
    travellers = [replace(TRAVELLER, budget=float(prices[end])) for end in ends]
    for model in (prior(), random_model(seed)):
        assert_exact(model, places, travellers, 10)


def test_the_order_is_the_plain_one_in_large_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rough, "MEDIUM", SMALL)
    for n in (SMALL + 1, 5 * SMALL + 77):
        places = table(shuffled_ids(synthetic.places(n, seed=n), seed=n))
        assert_exact(random_model(n), places, synthetic.travellers(100 * 6, seed=n)[:100], 10)


@pytest.mark.parametrize("n", [500, 5000])
def test_of_very_many_equals_the_lowest_ids_come_first(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorer_module, "_CHUNK", 1000)
    ids = np.random.default_rng(1).permutation(n) + 1
    places = table(renumbered([PLACE] * n, ids.tolist()))
    for answer in Scorer(prior(), places).rank([TRAVELLER, replace(TRAVELLER, budget=10.0)], 10):
        assert [int(places.location_ids[row]) for row in answer.rows] == list(range(1, 11))
        assert len(set(answer.utilities)) == 1


def test_places_that_differ_by_less_than_float32_can_tell_are_told_apart() -> None:
    n = 4000
    steps = np.random.default_rng(2).permutation(n)
    places = table([replace(PLACE, location_id=i + 1, user_score=2.5 + 1e-12 * int(s)) for i, s in enumerate(steps)])
    (answer,) = Scorer(prior(), places).rank([TRAVELLER], 10)
    assert steps[list(answer.rows)].tolist() == list(range(n - 1, n - 11, -1))


def test_a_price_just_over_the_budget_is_over_it() -> None:
    budget = 300.0
    just_over = float(np.nextafter(budget, np.inf))
    places = table([replace(PLACE, location_id=1, price=just_over), replace(PLACE, location_id=2, price=budget)])
    (answer,) = Scorer(prior(), places).rank([replace(TRAVELLER, budget=budget)], 2)
    assert answer.rows == (1, 0)
    assert answer.utilities[0] > answer.utilities[1] + 1


@pytest.mark.parametrize("mixture", [PLAIN, Mixture(lapse=0.4, preference=0.3, acceptance=0.5)])
@pytest.mark.parametrize("n", [60, SMALL + 100])
def test_an_answer_written_as_a_list_has_the_scores_that_were_served(mixture: Mixture, n: int) -> None:
    model = Model("rich", random_model(8).weights * 0.2, mixture=mixture)
    places = table(synthetic.places(n, seed=1))
    travellers = synthetic.travellers(20, seed=1)
    answers = Scorer(model, places).rank(travellers, 10)
    shown = np.concatenate([places.values[list(answer.rows)] for answer in answers])
    written = ShownLists(travellers, ["a"] * 20, shown, np.arange(21) * 10, np.full(20, -1))
    chances, _ = choice_probabilities(model, written)
    assert chances == pytest.approx(np.concatenate([answer.scores for answer in answers]), abs=1e-9)


def test_scores_are_the_chances_among_what_is_shown() -> None:
    places = table(synthetic.places(50, seed=1))
    (answer,) = Scorer(prior(), places).rank(synthetic.travellers(1, seed=1), 10)
    assert 0 < sum(answer.scores) < 1
    assert list(answer.scores) == sorted(answer.scores, reverse=True)


def test_fewer_places_than_asked_for_are_all_of_them() -> None:
    (answer,) = Scorer(prior(), table(synthetic.places(3, seed=1))).rank([TRAVELLER], 10)
    assert sorted(answer.rows) == [0, 1, 2]


@pytest.mark.parametrize(("n", "k"), [(0, 10), (5, 0)])
def test_nothing_to_rank_is_an_empty_answer(n: int, k: int) -> None:
    scorer = Scorer(prior(), table(synthetic.places(n, seed=1)))
    scorer.warm_up()
    assert scorer.rank([TRAVELLER, TRAVELLER], k) == [Ranking((), (), ())] * 2


def test_nobody_gets_no_answer() -> None:
    assert Scorer(prior(), table(synthetic.places(3, seed=1))).rank([], 10) == []


def test_batches_of_any_order_and_size_give_the_same_answers() -> None:
    scorer = Scorer(prior(), table(synthetic.places(3000, seed=1)))
    travellers = synthetic.travellers(33, seed=1)
    together = scorer.rank(travellers, 10)
    assert [scorer.rank([traveller], 10)[0] for traveller in travellers] == together
    assert scorer.rank(travellers[::-1], 10) == together[::-1]


def test_a_catalogue_with_a_value_that_is_no_number_is_refused() -> None:
    values = table(synthetic.places(5, seed=1)).values
    values[2, PLACE_FIELDS.index("food_rating")] = np.nan
    ids = np.arange(1, 6)
    with pytest.raises(ModelError, match="catalogue"):
        Scorer(prior(), PlaceTable(1, ids, ids, values))


def test_a_traveller_with_a_value_that_is_no_number_is_refused() -> None:
    scorer = Scorer(random_model(1), table(synthetic.places(5, seed=1)))
    with pytest.raises(ModelError, match="traveller"):
        scorer.rank([replace(TRAVELLER, budget=float("nan"))], 3)


def test_the_greatest_weights_are_ranked_exactly_too() -> None:
    signs = np.where(np.random.default_rng(3).random(len(WEIGHT_NAMES)) < 0.5, -1e6, 1e6)
    places = table(synthetic.places(3000, seed=3))
    assert_exact(Model("logit", signs), places, synthetic.travellers(5, seed=3), 10)
