from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.ranking.helpers import PLACE, TRAVELLER, place_with, traveller_with

from placerank.domain import WISHES
from placerank.ranking.catalogue import place_values
from placerank.ranking.features import RATINGS
from placerank.ranking.prior import prior

if TYPE_CHECKING:
    from placerank.domain import Place, Traveller


def utility(traveller: Traveller, place: Place) -> float:
    utilities, _ = prior().utilities([traveller], place_values([place]))
    return float(utilities[0, 0])


def test_a_place_over_the_budget_is_below_one_within() -> None:
    dear = place_with(price=301.0, **dict.fromkeys(RATINGS, 4.0))
    assert utility(TRAVELLER, dear) < utility(TRAVELLER, PLACE)


def test_far_over_the_budget_is_worse_than_just_over() -> None:
    assert utility(TRAVELLER, place_with(price=3000.0)) < utility(TRAVELLER, place_with(price=310.0))


def test_cheap_is_fine() -> None:
    assert utility(TRAVELLER, place_with(price=50.0)) >= utility(TRAVELLER, PLACE)


def test_the_budget_is_for_one_night_of_the_whole_party() -> None:
    longer, more = traveller_with(nights=20), traveller_with(people_num=5, people_age=(35,) * 5)
    for traveller in (longer, more):
        assert utility(traveller, PLACE) == pytest.approx(utility(TRAVELLER, PLACE))


@pytest.mark.parametrize(("wish", "has"), WISHES)
def test_a_wish_met_is_above_one_not_met(wish: str, has: str) -> None:
    wishing, having = traveller_with(**{wish: True}), place_with(**{has: True})
    assert utility(wishing, having) > utility(wishing, PLACE)
    assert utility(TRAVELLER, having) == utility(TRAVELLER, PLACE)


@pytest.mark.parametrize("rating", RATINGS)
def test_better_rated_is_better(rating: str) -> None:
    assert utility(TRAVELLER, place_with(**{rating: 4.0})) > utility(TRAVELLER, PLACE)


def test_a_family_prefers_a_place_for_families() -> None:
    family = traveller_with(people_num=3, people_age=(35, 40, 4), children_num=1)
    for_families = place_with(children=True, family_rating=4.0, service_rating=1.0)
    for_others = place_with(family_rating=0.5, service_rating=4.5)
    assert utility(family, for_families) > utility(family, for_others)


@pytest.mark.parametrize(("age", "rating"), [(75, "service_rating"), (22, "leisure_rating")])
def test_ages_mind_their_ratings_more(age: int, rating: str) -> None:
    aged = traveller_with(people_age=(age, age))
    better = place_with(**{rating: 4.0})
    assert utility(aged, better) - utility(aged, PLACE) > utility(TRAVELLER, better) - utility(TRAVELLER, PLACE)
