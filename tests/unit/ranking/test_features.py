from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.ranking.helpers import PLACE, TRAVELLER

from placerank.domain import PLACE_FIELDS, PLACE_FLAGS, Traveller
from placerank.ranking.catalogue import place_values
from placerank.ranking.features import (
    PLACE_FEATURES,
    RICH_TERMS,
    TERMS,
    TRAVELLER_FEATURES,
    WEIGHT_NAMES,
    place_features,
    traveller_features,
)
from placerank.ranking.prior import prior

INT_MAX = 2**31 - 1

valid_travellers = st.builds(
    Traveller,
    name=st.text(max_size=3),
    people_num=st.integers(1, INT_MAX),
    people_age=st.lists(st.integers(0, 120), max_size=5).map(tuple),
    children_num=st.integers(0, INT_MAX),
    budget=st.floats(0.0, 1e308),
    nights=st.integers(1, INT_MAX),
    time_arrival=st.just(date(2026, 1, 1)),
    **dict.fromkeys(("pool", "spa", "pet_friendly", "lake", "mountain", "sport"), st.booleans()),
)
valid_place_rows = st.tuples(
    *(
        st.sampled_from([0.0, 1.0])
        if name in PLACE_FLAGS
        else st.floats(0.0 if name == "price" else -1e308, 1e308, allow_nan=False)
        for name in PLACE_FIELDS
    )
)


@given(st.lists(valid_travellers, max_size=4), st.lists(valid_place_rows, max_size=4))
def test_utilities_of_all_valid_values_are_finite(travellers: list[Traveller], rows: list[tuple[float, ...]]) -> None:
    values = np.array(rows, dtype=np.float64).reshape(len(rows), len(PLACE_FIELDS))
    utilities, outside = prior().utilities(travellers, values)
    assert utilities.shape == (len(travellers), len(rows))
    assert np.isfinite(utilities).all()
    assert np.isfinite(outside).all()
    assert (np.abs(utilities) < 1e3).all()


def test_features_have_their_named_columns() -> None:
    assert traveller_features([TRAVELLER]).shape == (1, len(TRAVELLER_FEATURES))
    assert traveller_features([]).shape == (0, len(TRAVELLER_FEATURES))
    assert place_features(np.zeros((3, len(PLACE_FIELDS)))).shape == (3, len(PLACE_FEATURES))


def test_names_are_said_once() -> None:
    for names in (TRAVELLER_FEATURES, PLACE_FEATURES, WEIGHT_NAMES, TERMS):
        assert len(set(names)) == len(names)


def test_values_of_a_traveller_stand_under_their_names() -> None:
    family = Traveller("f", 4, (20, 64, 3, 70), 1, np.e**5, 1, date(2026, 1, 1), True, False, False, False, True, False)
    features = dict(zip(TRAVELLER_FEATURES, traveller_features([family])[0].tolist(), strict=True))
    pairs = {name: value for name, value in features.items() if name.startswith(("part:", "both:"))}
    assert {name: value for name, value in pairs.items() if value} == {
        "part:pool": 0.25,
        "part:mountain": 0.25,
        "both:pool+mountain": 0.5,
    }
    assert {name: value for name, value in features.items() if name not in pairs} == {
        "one": 1.0,
        "pool": 1.0,
        "spa": 0.0,
        "pet_friendly": 0.0,
        "lake": 0.0,
        "mountain": 1.0,
        "sport": 0.0,
        "wishes": 2.0,
        "kids": 1.0,
        "young": 0.25,
        "old": 0.5,
        "log_budget": 5.0,
        "log_nights": 0.0,
        "log_people": np.log(4.0),
    }


def test_parts_of_wishes_add_up_to_the_square_of_the_share_that_is_met() -> None:
    wishing = replace(TRAVELLER, pool=True, spa=True, lake=True)
    having = place_values([replace(PLACE, has_pool=True, near_lake=True, has_sport=True)])
    terms = [term for term in RICH_TERMS if term[0].startswith(("part:", "both:"))]
    mine, its = traveller_features([wishing])[0], place_features(having)[0]
    total = sum(mine[TRAVELLER_FEATURES.index(one)] * its[PLACE_FEATURES.index(other)] for one, other in terms)
    assert total == pytest.approx((2 / 3) ** 2)


def test_who_travels_is_no_feature() -> None:
    other = Traveller("other name", *(getattr(TRAVELLER, name) for name in list(Traveller.__dataclass_fields__)[1:]))
    assert (traveller_features([other]) == traveller_features([TRAVELLER])).all()
