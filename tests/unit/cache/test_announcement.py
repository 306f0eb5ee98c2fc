"""Announcements of finished tasks are decoded as they were encoded; anything else is ignored."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placerank.cache import announcement

RECORDS = st.dictionaries(st.uuids(), st.binary(min_size=1, max_size=50), max_size=9)


@given(RECORDS)
def test_a_few_records_come_along(records: dict[UUID, bytes]) -> None:
    assert announcement.decode(announcement.encode(records, 3)) == records


@pytest.mark.parametrize(("listeners", "comes_along"), [(0, True), (1, True), (10, True), (11, False)])
def test_all_copies_together_stay_small(listeners: int, comes_along: bool) -> None:
    records = {uuid4(): b"x" * 3_000}
    data = announcement.encode(records, listeners)
    assert (len(data) > 3_000) is comes_along
    assert {*announcement.decode(data)} == {*records}


@given(RECORDS.filter(bool), st.data())
def test_what_ends_too_soon_is_refused(records: dict[UUID, bytes], data: st.DataObject) -> None:
    whole = announcement.encode(records, 1)
    frames = {0}
    for record in records.values():
        frames.add(max(frames) + 20 + len(record))
    cut = data.draw(st.integers(1, len(whole) - 1).filter(lambda at: at not in frames))
    with pytest.raises(ValueError, match="in the middle"):
        announcement.decode(whole[:cut])
