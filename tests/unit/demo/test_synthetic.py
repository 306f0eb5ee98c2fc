from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from placerank.demo import synthetic
from placerank.domain import PLACE_FIELDS, PLACE_FLAGS


def test_everything_is_the_same_for_a_seed_and_another_for_another() -> None:
    assert synthetic.places(20, 1) == synthetic.places(20, 1) != synthetic.places(20, 2)
    assert synthetic.travellers(20, 1) == synthetic.travellers(20, 1) != synthetic.travellers(20, 2)
    assert list(synthetic.shown_lists(20, 30, 1)) == list(synthetic.shown_lists(20, 30, 1))


def test_places_have_ids_from_one_and_values_like_real_ones() -> None:
    columns = synthetic.place_columns(5000, 3)
    assert tuple(columns) == ("location_id", *PLACE_FIELDS)
    assert columns["location_id"].tolist() == list(range(1, 5001))
    assert 40 <= columns["price"].min() < 150
    assert 1500 < columns["price"].max() <= 2700
    for name in PLACE_FLAGS:
        assert columns[name].dtype == np.bool_
        assert 0.2 < columns[name].mean() < 0.8
    for name in set(PLACE_FIELDS) - {*PLACE_FLAGS, "price"}:
        assert columns[name].min() >= 0
        assert columns[name].max() <= 6


def test_places_are_the_columns_row_by_row() -> None:
    columns, places = synthetic.place_columns(10, 3), synthetic.places(10, 3)
    for name, column in columns.items():
        assert [getattr(place, name) for place in places] == column.tolist()
    assert type(places[0].location_id) is int
    assert type(places[0].children) is bool


def test_travellers_are_valid_and_come_back() -> None:
    travellers = synthetic.travellers(300, 1)
    assert len(travellers) == 300
    assert len(set(travellers)) < 100
    for traveller in travellers:
        assert traveller.people_num == len(traveller.people_age) >= 1
        assert all(0 <= age <= 120 for age in traveller.people_age)
        assert traveller.children_num == sum(age < 18 for age in traveller.people_age)
        assert traveller.budget > 0
        assert traveller.nights >= 1


@pytest.mark.parametrize("n", [0, 1, 5])
def test_few_travellers_are_as_many_as_asked_for(n: int) -> None:
    assert len(synthetic.travellers(n, 1)) == n


def test_the_best_place_is_worth_most() -> None:
    places = synthetic.places(100, 1)
    for traveller in synthetic.travellers(10, 1):
        utilities = synthetic.true_utility(traveller, places)
        assert utilities[synthetic.best(traveller, places).location_id - 1] == utilities.max()


def test_the_best_place_is_taken_most_often() -> None:
    traveller, rng = synthetic.travellers(1, 1)[0], np.random.default_rng(1)
    places = synthetic.places(10, 1)
    taken = [synthetic.choose(traveller, places, rng) for _ in range(500)]
    utilities = np.append(synthetic.true_utility(traveller, places), 0.0)
    likeliest = int(utilities.argmax())
    assert np.bincount(np.array(taken) % 11, minlength=11).argmax() == likeliest


def test_without_places_nothing_is_taken() -> None:
    assert synthetic.choose(synthetic.travellers(1, 1)[0], [], np.random.default_rng(1)) == -1


def test_places_far_over_the_budget_are_not_taken() -> None:
    poor = replace(synthetic.travellers(1, 1)[0], budget=10.0)
    rng = np.random.default_rng(1)
    taken = [synthetic.choose(poor, synthetic.places(10, 1), rng) for _ in range(50)]
    assert taken.count(-1) > 40


@pytest.mark.parametrize("budget", [0.0, 1e308])
def test_any_budget_has_finite_utilities(budget: float) -> None:
    traveller = replace(synthetic.travellers(1, 1)[0], budget=budget)
    dear = [replace(place, price=1e308) for place in synthetic.places(5, 1)]
    assert np.isfinite(synthetic.true_utility(traveller, [*synthetic.places(5, 1), *dear])).all()


def test_lists_show_ten_different_places_and_some_end_without_a_choice() -> None:
    lists = list(synthetic.shown_lists(300, 50, 2))
    assert len(lists) == 300
    for _, _, shown, chosen in lists:
        assert len({place.location_id for place in shown}) == len(shown) == 10
        assert -1 <= chosen < 10
    nothing = np.mean([chosen < 0 for _, _, _, chosen in lists])
    assert 0 < nothing < 0.5


def test_lists_of_a_small_catalogue_are_shorter() -> None:
    assert {len(shown) for _, _, shown, _ in synthetic.shown_lists(5, 4, 1)} == {4}
