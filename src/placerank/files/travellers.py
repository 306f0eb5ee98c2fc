"""Travellers in files: CSV, TSV and JSON lines, each plain or gzipped, with the fields of a request.

In CSV and TSV ``people_age`` is a JSON list. Every bad row is reported with its line.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from placerank.domain import TRAVELLER_FIELDS, WISHES, Traveller
from placerank.files.lines import BrokenFileError, Lines, is_utf8
from placerank.files.places import DELIMITERS, JSON_LINES, UnknownFormatError, delimited_rows, format_of
from placerank.files.rows import RowProblem
from placerank.schema.flags import parse_flag
from placerank.schema.traveller import TravellerBody, parse_children

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class TravellersFile:
    """The good rows of a file, in order, and the problems of the others."""

    travellers: list[Traveller] = field(default_factory=list)
    problems: list[RowProblem] = field(default_factory=list)


def read_travellers(path: Path, *, progress: Callable[[int], None] = lambda _: None) -> TravellersFile:
    """Read a file of travellers; ``progress`` gets the bytes read so far. Raises OSError where it cannot be read."""
    found = TravellersFile()
    with path.open("rb", buffering=0) as raw:
        lines = Lines(raw, progress)
        try:
            for line, row in _rows(path.name, lines, found.problems):
                _add(found, line, row)
        except (BrokenFileError, UnknownFormatError) as error:
            found.problems.append(RowProblem(max(lines.number, 1), None, str(error)))
    return found


def _rows(name: str, lines: Lines, problems: list[RowProblem]) -> Iterator[tuple[int, Any]]:
    """Yield each row, as the JSON object of a request, with its line."""
    first = next(iter(lines), "")
    if not first.strip():
        raise BrokenFileError("The file or its first line is empty.")
    kind, text = format_of(name, first), chain([first], lines)
    if kind == JSON_LINES:
        yield from _objects(text, problems)
        return
    rows = delimited_rows(lines, csv.reader(text, delimiter=DELIMITERS[kind], strict=True), problems)
    header = [cell.strip() for cell in next(rows, (1, []))[1]]
    problems += [RowProblem(1, one, "The column is missing.") for one in TRAVELLER_FIELDS if one not in header]
    for line, cells in () if problems else rows:
        if len(cells) != len(header):
            problems.append(RowProblem(line, None, f"The row has {len(cells)} columns, and the header {len(header)}."))
        elif row := _from_cells(dict(zip(header, cells, strict=True)), line, problems):
            yield line, row


def _objects(lines: Iterator[str], problems: list[RowProblem]) -> Iterator[tuple[int, Any]]:
    for line, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            yield line, json.loads(text)
        except (ValueError, RecursionError) as error:
            problems.append(RowProblem(line, None, f"The line is not JSON: {error}."))


def _from_cells(row: dict[str, str], line: int, problems: list[RowProblem]) -> dict[str, Any] | None:
    """The cells as values of a JSON request: a list of ages, and the number of children, which may be a boolean."""
    try:
        ages = json.loads(row["people_age"])
    except (ValueError, RecursionError):
        problems.append(RowProblem(line, "people_age", "The value is not a list of ages such as [41, 38]."))
        return None
    wishes = {wish: _read(parse_flag, row[wish]) for wish, _ in WISHES}
    return {**row, **wishes, "people_age": ages, "children_num": _read(parse_children, row["children_num"])}


def _read(parse: Callable[[str], int], cell: str) -> Any:
    """The cell's value; an invalid cell stays unchanged, and the validation of the row reports it."""
    try:
        return parse(cell)
    except ValueError:
        return cell


def _add(found: TravellersFile, line: int, row: Any) -> None:
    if not is_utf8(str(row)):
        found.problems.append(RowProblem(line, None, "The text is not UTF-8."))
        return
    try:
        body = TravellerBody.model_validate(row)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False, include_context=False):
            column = str(detail["loc"][0]) if detail["loc"] else None
            found.problems.append(RowProblem(line, column, f"{detail['msg']}."))
        return
    values = {name: getattr(body, name) for name in TRAVELLER_FIELDS}
    found.travellers.append(Traveller(**{**values, "people_age": tuple(body.people_age)}))
