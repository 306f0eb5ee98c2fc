from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from placerank.schema.traveller import EXAMPLE, TravellerBody, example_lines, parse_children

ROOT = Path(__file__).resolve().parents[3]
#: A traveller as JSON, in a shell command or in a file.
BODY = re.compile(r'\{[^{}]*"people_num"[^{}]*\}')


def test_the_example_is_a_traveller() -> None:
    body = TravellerBody.model_validate(EXAMPLE)
    assert body.model_dump(mode="json", exclude={"user_id"}) == EXAMPLE


def test_the_example_fits_into_a_shell_command() -> None:
    assert json.loads(example_lines()) == EXAMPLE
    assert max(map(len, example_lines().splitlines())) <= 120
    assert "'" not in example_lines()


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md", "docs/how-to/kind.md"])
def test_pages_show_the_same_example(page: str) -> None:
    shown = [json.loads(body) for body in BODY.findall((ROOT / page).read_text(encoding="utf-8"))]
    assert shown
    assert all({**body, "user_id": None} == {**EXAMPLE, "user_id": None} for body in shown)


@pytest.mark.parametrize(("text", "count"), [("true", 1), ("False", 0), (" 3 ", 3), ("0", 0), ("TRUE", 1)])
def test_children_are_a_number_or_a_truth_value(text: str, count: int) -> None:
    assert parse_children(text) == count


@pytest.mark.parametrize("text", ["", "yes", "1.5", "many"])
def test_other_words_for_children_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"invalid literal"):
        parse_children(text)
