"""Shares of the traffic: whatever is set, their sum stays 100."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placerank.db.shares import shares_after
from placerank.errors import NotFound, ShareConflict


def greatest_first(shares: dict[int, int]) -> dict[int, int]:
    return dict(sorted(shares.items(), key=lambda item: (-item[1], -item[0])))


@given(
    versions=st.integers(2, 6),
    changes=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 100)), max_size=30),
)
def test_the_sum_stays_100_and_the_wanted_share_is_given(versions: int, changes: list[tuple[int, int]]) -> None:
    shares = {number: 100 if number == 0 else 0 for number in range(versions)}
    for chosen, share in changes:
        number = chosen % versions
        shares = greatest_first(shares) | shares_after(greatest_first(shares), number, share)
        assert shares[number] == share
        assert sum(shares.values()) == 100
        assert all(0 <= each <= 100 for each in shares.values())


def test_what_a_version_gives_up_goes_to_the_greatest_other_one() -> None:
    assert shares_after({1: 50, 2: 30, 3: 20}, 3, 5) == {3: 5, 1: 65}


def test_what_it_gains_comes_from_the_greatest_first() -> None:
    assert shares_after({1: 50, 2: 30, 3: 20}, 3, 80) == {3: 80, 1: 0, 2: 20}


def test_what_stays_as_it_is_is_not_named() -> None:
    assert shares_after({1: 60, 2: 40}, 1, 60) == {1: 60}


def test_an_unknown_version_is_not_found() -> None:
    with pytest.raises(NotFound):
        shares_after({1: 100}, 2, 10)


def test_the_only_version_serves_everyone() -> None:
    assert shares_after({1: 100}, 1, 100) == {1: 100}
    with pytest.raises(ShareConflict):
        shares_after({1: 100}, 1, 99)
