"""README, schemas and the broker's topology agree with the values and with the code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tools import chart_values
from tools.document_chart import CHART, SUBCHARTS, pages

if TYPE_CHECKING:
    from pathlib import Path

FILES = [CHART / "values.yaml", *(CHART / "charts" / name / "values.yaml" for name in SUBCHARTS)]


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(CHART)))
def test_a_page_is_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == pages()[path], "run: python -m tools.document_chart"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_every_value_is_described(path: Path) -> None:
    bare = [".".join(leaf.path) for value in chart_values.read(path) for leaf in value.leaves() if not leaf.description]
    assert not bare


def test_values_are_read_with_their_comments(tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(
        "# About the file.\n\ngroup:\n  # First\n  # line.\n  # @schema minimum: 2\n  one: 3\n"
        "  # Free.\n  two: {}\n# Map of groups.\n# @schema {each: group, named: ^a}\nthree: {}\n"
    )
    schema = chart_values.schema(chart_values.read(file))
    group = schema["properties"]["group"]
    assert group["additionalProperties"] is False
    assert group["properties"]["one"] == {"description": "First line.", "type": "integer", "minimum": 2}
    assert group["properties"]["two"] == {"description": "Free.", "type": "object"}
    assert schema["properties"]["three"]["patternProperties"]["^a"]["properties"].keys() == {"one", "two"}
    assert schema["properties"]["three"]["additionalProperties"] is False
