from __future__ import annotations

import numpy as np
import pytest
from tests.unit.ranking.helpers import random_model, synthetic_lists

from placerank.ranking import lists as lists_module
from placerank.ranking.choice import probabilities
from placerank.ranking.errors import ModelError
from placerank.ranking.lists import Prepared, ShownLists, choice_probabilities, list_utilities


def uneven(lists: ShownLists) -> ShownLists:
    """The same lists without choices; some are shortened, some empty."""
    lengths = np.arange(len(lists)) % 11
    rows = np.concatenate([np.arange(length) + 10 * one for one, length in enumerate(lengths)])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return ShownLists(lists.travellers, lists.identities, lists.places[rows], offsets, np.full(len(lists), -1))


def test_learning_and_serving_have_the_same_utilities() -> None:
    lists, model = uneven(synthetic_lists(40, seed=3)), random_model(3)
    chances, nothing = choice_probabilities(model, lists)
    for one, traveller in enumerate(lists.travellers):
        span = slice(lists.offsets[one], lists.offsets[one + 1])
        utilities, outside = model.utilities([traveller], lists.places[span])
        expected, rest = probabilities(utilities, outside)
        assert chances[span] == pytest.approx(expected[0])
        assert nothing[one] == pytest.approx(rest[0])
        assert list_utilities(model, lists)[span] == pytest.approx(utilities[0])


def test_probabilities_do_not_depend_on_how_lists_are_taken_together(monkeypatch: pytest.MonkeyPatch) -> None:
    lists, model = uneven(synthetic_lists(40, seed=3)), random_model(3)
    whole = choice_probabilities(model, lists)
    monkeypatch.setattr(lists_module, "chunks", lambda n: [(one, min(one + 7, n)) for one in range(0, n, 7)])
    for together, apart in zip(whole, choice_probabilities(model, lists), strict=True):
        assert together == pytest.approx(apart)


def test_a_subset_has_the_rows_of_its_lists() -> None:
    lists = uneven(synthetic_lists(30, seed=2))
    which = np.array([21, 4, 0, 10])
    some = lists.subset(which)
    for position, one in enumerate(which):
        mine = some.places[some.offsets[position] : some.offsets[position + 1]]
        assert (mine == lists.places[lists.offsets[one] : lists.offsets[one + 1]]).all()
        assert some.identities[position] == lists.identities[one]


@pytest.mark.parametrize("chosen", [-2, 10])
def test_a_choice_outside_its_list_is_refused(chosen: int) -> None:
    lists = synthetic_lists(1, seed=1)
    with pytest.raises(ValueError, match="position"):
        ShownLists(lists.travellers, lists.identities, lists.places, lists.offsets, np.array([chosen]))


def test_parts_that_do_not_fit_are_refused() -> None:
    lists = synthetic_lists(2, seed=1)
    with pytest.raises(ValueError, match="offset"):
        ShownLists(lists.travellers, lists.identities, lists.places, lists.offsets[:-1], lists.chosen)
    with pytest.raises(ValueError, match="rows"):
        ShownLists(lists.travellers, lists.identities, lists.places[:-1], lists.offsets, lists.chosen)


def test_values_that_are_not_numbers_are_refused() -> None:
    lists = synthetic_lists(2, seed=1)
    lists.places[3, 4] = np.nan
    with pytest.raises(ModelError):
        Prepared(lists)
