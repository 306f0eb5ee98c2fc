"""Travellers in files: text with a header, or JSON objects, with the fields of a request.

In text ``people_age`` is a JSON list. Every bad row is reported with its line.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from placerank.domain import TRAVELLER_FIELDS, WISHES, Traveller
from placerank.files.cells import parse_ages, parse_date, parse_integer
from placerank.files.decimals import Decimals
from placerank.files.lines import is_utf8, opened
from placerank.files.objects import is_json, read_objects
from placerank.files.problems import Problems, RowProblem
from placerank.files.rows import NOT_UTF8
from placerank.files.table import Columns, Table
from placerank.schema.flags import parse_flag
from placerank.schema.traveller import TravellerBody, parse_children

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from placerank.files.lines import Lines

_EXPECTED: Final = Columns("travellers", TRAVELLER_FIELDS)
_PARSERS: Final[dict[str, Callable[[str], Any]]] = {
    **{wish: parse_flag for wish, _ in WISHES},
    "people_num": parse_integer,
    "people_age": parse_ages,
    "children_num": parse_children,
    "nights": parse_integer,
    "time_arrival": lambda cell: parse_date(cell).isoformat(),
}


@dataclass(frozen=True, slots=True)
class TravellersFile:
    """The good rows of a file, in order; the problems of the others, and how many others there are."""

    travellers: list[Traveller] = field(default_factory=list)
    problems: list[RowProblem] = field(default_factory=list)
    bad_rows: int = 0


def read_travellers(path: Path, *, progress: Callable[[int], None] = lambda _: None) -> TravellersFile:
    """Read a file of travellers; ``progress`` gets the bytes read so far.

    Raises ``UnusableFile`` where rows are missing or the file is of another kind, OSError where it cannot be opened.
    """
    travellers: list[Traveller] = []
    problems = Problems()
    with opened(path, progress) as lines:
        for line, element, row in _rows(lines, problems):
            wrong, traveller = _checked(row)
            if traveller is not None:
                travellers.append(traveller)
            else:
                problems.bad_row(line, *wrong, element=element)
    return TravellersFile(travellers, problems.found, problems.rows)


def _rows(lines: Lines, problems: Problems) -> Iterator[tuple[int, int | None, Mapping[str, Any]]]:
    """Yield each row, as the JSON object of a request, with its line, and its number in an array."""
    if is_json(lines):
        for entry in read_objects(lines, _EXPECTED, problems):
            yield entry.line, entry.element, entry.value
        return
    table, decimals = Table(lines, _EXPECTED, problems), Decimals()
    for line, cells in table.rows():
        row, wrong = _from_cells(line, dict(zip(table.header, cells, strict=True)), decimals)
        if wrong:
            problems.bad_row(line, *wrong)
        else:
            yield line, None, row
    decimals.check()


def _from_cells(
    line: int, cells: dict[str, str], decimals: Decimals
) -> tuple[dict[str, Any], list[tuple[str | None, str]]]:
    """The cells as values of a JSON request, and what is wrong with them."""
    row: dict[str, Any] = dict(cells)
    wrong: list[tuple[str | None, str]] = []
    parsers = {"budget": lambda cell: decimals.plain(line, cell), **_PARSERS}
    for name, parse in parsers.items():
        try:
            row[name] = parse(cells[name])
        except (ValueError, OverflowError) as error:
            wrong.append((name, str(error)))
    return row, wrong


def _checked(row: Mapping[str, Any]) -> tuple[list[tuple[str | None, str]], Traveller | None]:
    """What is wrong with a row, and the traveller if it is nothing."""
    if not is_utf8(str(row.get("name"))):
        return [("name", NOT_UTF8)], None
    try:
        body = TravellerBody.model_validate(row)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False, include_context=False)
        return [(str(one["loc"][0]) if one["loc"] else None, f"{one['msg']}.") for one in details], None
    values = {name: getattr(body, name) for name in TRAVELLER_FIELDS}
    return [], Traveller(**{**values, "people_age": tuple(body.people_age)})
