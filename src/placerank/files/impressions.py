"""Shown lists in files: text with a header, or JSON objects; ten consecutive rows are a list.

A row has the 13 columns of a traveller, the 17 of a place, and ``label``: 1 for the place chosen from its list.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha256
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from placerank.domain import (
    NOTHING_CHOSEN,
    PLACE_FIELDS,
    PLACE_FLAGS,
    TRAVELLER_FIELDS,
    WISHES,
    Traveller,
    identity_of,
)
from placerank.errors import PlacerankError
from placerank.files.cells import parse_ages, parse_date, parse_integer, parse_number
from placerank.files.decimals import Decimals
from placerank.files.lines import is_utf8, opened
from placerank.files.objects import is_json, read_objects
from placerank.files.problems import Problems, UnusableFile
from placerank.files.rows import NOT_UTF8
from placerank.files.table import Columns, Table
from placerank.ranking.lists import ShownLists
from placerank.schema.flags import parse_flag
from placerank.schema.traveller import parse_children

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from placerank.files.lines import Lines

LIST_ROWS: Final = 10
_LABEL: Final = "label"
_COLUMNS: Final = (*TRAVELLER_FIELDS, *PLACE_FIELDS, _LABEL)
_WHO: Final = len(TRAVELLER_FIELDS)
#: Where a cell may have a fraction.
_NUMBERS: Final = [_COLUMNS.index(name) for name in ("budget", *PLACE_FIELDS, _LABEL) if name not in PLACE_FLAGS]
_EXPECTED: Final = Columns("shown lists", _COLUMNS)

#: A line, and the cells of its row in the order of the columns.
_Row = tuple[int, list[str]]


@dataclass(frozen=True, eq=False)
class Impressions:
    """The lists of a file, and the sha256 of their rows."""

    lists: ShownLists
    digest: str


@dataclass(slots=True)
class _Found:
    """What has been read so far, one entry for each list; ``places`` has one for each row."""

    travellers: list[Traveller] = field(default_factory=list)
    identities: list[str] = field(default_factory=list)
    places: list[list[float]] = field(default_factory=list)
    chosen: list[int] = field(default_factory=list)

    def add(self, rows: Sequence[_Row]) -> None:
        """Add a list; raises ``PlacerankError`` that names the first bad line."""
        line, first = rows[0]
        with _at(line):
            who = first[:_WHO]
            self.travellers.append(_traveller(who))
            self.identities.append(identity_of(None, json.dumps(who).encode()))
        for number, row in rows:
            with _at(number):
                self.places.append(_place(row))
        self.chosen.append(_choice(rows))


def read_impressions(path: Path, list_rows: int = LIST_ROWS) -> Impressions:
    """Read a file of shown lists; raises ``PlacerankError`` that names the first bad line."""
    found, digest = _Found(), sha256()
    try:
        with opened(path) as lines:
            for rows in _lists(_rows(lines), list_rows):
                found.add(rows)
                digest.update(json.dumps([row for _, row in rows]).encode())
    except OSError as error:
        raise PlacerankError(f"{path} cannot be read: {error}") from None
    values = np.array(found.places, dtype=np.float64).reshape(len(found.places), len(PLACE_FIELDS))
    offsets = np.arange(len(found.travellers) + 1, dtype=np.int64) * list_rows
    chosen = np.array(found.chosen, dtype=np.int64)
    return Impressions(ShownLists(found.travellers, found.identities, values, offsets, chosen), digest.hexdigest())


def _rows(lines: Lines) -> Iterator[_Row]:
    """Yield each row with its line; any bad row ends it, because a list without it is another list."""
    problems = Problems()
    for line, row in _json_rows(lines, problems) if is_json(lines) else _table_rows(lines, problems):
        if problems.found:
            break
        yield line, row
    _stop_at(problems)


def _stop_at(problems: Problems) -> None:
    for problem in problems.found:
        raise UnusableFile(problem.detail, problem.line)


def _table_rows(lines: Lines, problems: Problems) -> Iterator[_Row]:
    table, decimals = Table(lines, _EXPECTED, problems), Decimals()
    order, numbers = [table.header.index(column) for column in _COLUMNS], itemgetter(*_NUMBERS)
    for line, cells in table.rows():
        row = [cells[one] for one in order]
        text = "".join(numbers(row))
        if "," in text or ("." in text and not decimals.settled):
            with _at(line):
                for one in _NUMBERS:
                    row[one] = decimals.plain(line, row[one])
        yield line, row
    decimals.check()


def _json_rows(lines: Lines, problems: Problems) -> Iterator[_Row]:
    for entry in read_objects(lines, _EXPECTED, problems):
        yield entry.line, [_cell(entry.value.get(column)) for column in _COLUMNS]


def _cell(value: Any) -> str:
    """A JSON value as text has it."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value)


def _lists(rows: Iterator[_Row], list_rows: int) -> Iterator[list[_Row]]:
    """Yield the rows of each list."""
    found: list[_Row] = []
    for line, row in rows:
        found.append((line, row))
        if len(found) == list_rows:
            who = found[0][1][:_WHO]
            if any(one[:_WHO] != who for _, one in found):
                raise UnusableFile(
                    f"{list_rows} consecutive rows are one list, but the {list_rows} that end here are not of one "
                    "traveller.",
                    line,
                )
            yield found
            found = []
    if found:
        raise UnusableFile(f"The file ends within a list: its last list has only {len(found)} of {list_rows} rows.")


def _traveller(cells: Sequence[str]) -> Traveller:
    row = dict(zip(TRAVELLER_FIELDS, cells, strict=True))
    if not is_utf8(row["name"]):
        raise ValueError(NOT_UTF8)
    wishes = {wish: parse_flag(row[wish]) for wish, _ in WISHES}
    return Traveller(
        name=row["name"],
        people_num=parse_integer(row["people_num"]),
        people_age=tuple(parse_ages(row["people_age"])),
        children_num=parse_children(row["children_num"]),
        budget=parse_number(row["budget"]),
        nights=parse_integer(row["nights"]),
        time_arrival=parse_date(row["time_arrival"]),
        **wishes,
    )


def _place(row: Sequence[str]) -> list[float]:
    return [
        float(parse_flag(cell)) if field in PLACE_FLAGS else parse_number(cell)
        for field, cell in zip(PLACE_FIELDS, row[_WHO:-1], strict=True)
    ]


def _choice(rows: Sequence[_Row]) -> int:
    labels = [_label(line, row[-1]) for line, row in rows]
    if sum(labels) > 1:
        raise UnusableFile("At most one label of a list is 1.", rows[0][0])
    return labels.index(True) if any(labels) else NOTHING_CHOSEN


def _label(line: int, cell: str) -> bool:
    try:
        return parse_flag(cell)
    except ValueError:
        raise UnusableFile(f"A label must be 0 or 1, not {cell!r}.", line) from None


class _at:  # noqa: N801 - reads as a word: with _at(line)
    """Turns the error of a bad value into an ``UnusableFile`` that names the line."""

    def __init__(self, line: int) -> None:
        self._line = line

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ValueError | KeyError | TypeError | OverflowError):
            raise UnusableFile(str(error), self._line) from None
