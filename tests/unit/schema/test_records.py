"""Rows that a training reads: the whole ones pass, each odd one is named."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placerank.schema.records import dataset_problem, list_problem, texts

PLACES = {7: (1.0, 2.0), 8: (3.0, 4.0), 9: (float("nan"), 1.0)}
LIST: dict[str, Any] = {
    "revisions": [7, 8],
    "location_ids": [1, 2],
    "choice": 2,
    "people_num": 1,
    "people_age": [30],
    "children_num": 0,
    "budget": 100.0,
    "nights": 3,
    **dict.fromkeys(("pool", "spa", "pet_friendly", "lake", "mountain", "sport"), False),
}
IDS = [UUID(int=1), UUID(int=2)]
DATASET: dict[str, Any] = {"task_ids": IDS, "choices": [-1, 3]}


@pytest.mark.parametrize("choice", [1, 2, -1, None])
def test_a_whole_list_passes(choice: int | None) -> None:
    assert list_problem(LIST | {"choice": choice}, PLACES) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("revisions", None),
        ("revisions", [7, None]),
        ("revisions", [7]),
        ("revisions", [7, 99]),
        ("revisions", [7, 9]),
        ("revisions", [[7], [8]]),
        ("location_ids", None),
        ("location_ids", [1]),
        ("choice", 3),
        ("people_age", None),
        ("people_age", [None]),
        ("budget", None),
        ("budget", float("nan")),
        ("budget", float("inf")),
        ("spa", None),
    ],
)
def test_an_odd_list_is_named(name: str, value: object) -> None:
    assert list_problem(LIST | {name: value}, PLACES)


def test_a_whole_dataset_passes() -> None:
    assert dataset_problem(DATASET) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task_ids", None),
        ("task_ids", []),
        ("task_ids", [IDS[0], None]),
        ("task_ids", [IDS[0], IDS[0]]),
        ("task_ids", [*IDS, uuid4()]),
        ("choices", None),
        ("choices", [1]),
        ("choices", [1, None]),
        ("choices", [1, -2]),
        ("choices", [1, 70_000]),
    ],
)
def test_an_odd_dataset_is_named(name: str, value: object) -> None:
    assert dataset_problem(DATASET | {name: value})


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_of_any_json_only_texts_are_taken(value: object) -> None:
    assert all(isinstance(text, str) for text in texts(value).values())
