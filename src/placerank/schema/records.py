"""Checks of rows that a training reads: what is wrong with one, in a clause, or none."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from placerank.domain import NOTHING_CHOSEN, WISHES

if TYPE_CHECKING:
    from collections.abc import Sequence

#: A position in a list is stored with a choice; no answer is nearly as long.
_MOST_SHOWN: Final = 1_000
_NUMBERS: Final = ("people_num", "children_num", "budget", "nights")


def list_problem(row: Mapping[str, Any], places: Mapping[int, Sequence[float]]) -> str | None:
    """What is wrong with an answered list; ``places`` has the values of each revision."""
    revisions, location_ids, choice = row["revisions"], row["location_ids"], row["choice"]
    if not _is_whole(revisions) or not _is_whole(location_ids) or len(revisions) != len(location_ids):
        return "its places are not stored as they were shown"
    if missing := [one for one in revisions if one not in places]:
        return f"revision {missing[0]} of a place is not stored"
    if not all(isfinite(value) for one in revisions for value in places[one]):
        return "a place has a value that is not a finite number"
    if choice is not None and choice != NOTHING_CHOSEN and choice not in location_ids:
        return f"the chosen place {choice} was not shown"
    return _traveller_problem(row)


def dataset_problem(row: Mapping[str, Any]) -> str | None:
    """What is wrong with a dataset."""
    task_ids, choices = row["task_ids"], row["choices"]
    if not _is_whole(task_ids) or not task_ids or len(set(task_ids)) != len(task_ids):
        return "its lists are missing, or one of them is there twice"
    if not _is_whole(choices) or len(choices) != len(task_ids):
        return f"it has not one choice for each of its {len(task_ids)} lists"
    if not all(NOTHING_CHOSEN <= one < _MOST_SHOWN for one in choices):
        return "a choice is not a position in a list"
    return None


def texts(value: object) -> dict[str, str]:
    """The texts in a JSON object, empty if it is none."""
    if not isinstance(value, Mapping):
        return {}
    return {name: text for name, text in value.items() if isinstance(text, str)}


def _traveller_problem(row: Mapping[str, Any]) -> str | None:
    ages = row["people_age"]
    if not _is_whole(ages) or not all(isfinite(age) for age in ages):
        return "the traveller's ages are not numbers"
    if any(row[name] is None or not isfinite(row[name]) for name in _NUMBERS):
        return "a number of the traveller is not finite"
    if any(row[wish] is None for wish, _ in WISHES):
        return "a wish of the traveller is missing"
    return None


def _is_whole(values: object) -> bool:
    """Whether it is a list without gaps; PostgreSQL's arrays may have some."""
    return isinstance(values, list) and all(one is not None and not isinstance(one, list) for one in values)
