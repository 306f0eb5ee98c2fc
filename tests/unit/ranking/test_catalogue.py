from __future__ import annotations

import numpy as np
import pytest

from placerank.demo import synthetic
from placerank.domain import PLACE_FIELDS
from placerank.ranking.catalogue import PlaceTable


def test_a_place_comes_back_as_it_was_given() -> None:
    places = synthetic.places(20, seed=1)
    table = PlaceTable.from_places(7, places)
    assert [table.place(row) for row in range(len(table))] == places
    assert type(table.place(0).children) is bool
    assert table.version == 7


def test_revisions_are_kept_and_one_by_default() -> None:
    places = synthetic.places(2, seed=1)
    assert PlaceTable.from_places(1, places).revisions.tolist() == [1, 1]
    assert PlaceTable.from_places(1, places, [3, 4]).revisions.tolist() == [3, 4]


def test_an_empty_table_has_all_its_columns() -> None:
    table = PlaceTable.from_places(1, [])
    assert len(table) == 0
    assert table.values.shape == (0, len(PLACE_FIELDS))


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="2 ids"):
        PlaceTable(1, np.arange(2), np.arange(3), np.zeros((2, len(PLACE_FIELDS))))
