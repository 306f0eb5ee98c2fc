"""Places in files. Reading takes what the content is; writing takes the format that the suffix of the name selects.

Reading reports every bad row instead of stopping at the first one. Writing is atomic: a temporary file gets the name
when it is complete.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, Final

from placerank.domain import PLACE_FIELDS, PLACE_FLAGS
from placerank.files.decimals import Decimals
from placerank.files.lines import opened
from placerank.files.objects import is_json, read_objects
from placerank.files.problems import Problems, RowProblem
from placerank.files.rows import ID, PackedRows, ParsedPlace, RowChecker
from placerank.files.table import Columns, Table
from placerank.files.writing import writing
from placerank.schema.flags import SPELLINGS

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from placerank.domain import Place
    from placerank.files.lines import Lines

__all__ = ["ParsedPlace", "PlacesFile", "RowProblem", "UnknownFormatError", "read_places", "write_places"]

CSV, TSV, JSON_LINES = "csv", "tsv", "jsonl"
_SUFFIXES: Final = {".csv": CSV, ".tsv": TSV, ".tab": TSV, ".jsonl": JSON_LINES, ".ndjson": JSON_LINES}
DELIMITERS: Final = {CSV: ",", TSV: "\t"}
_COLUMNS: Final = (ID, *PLACE_FIELDS)
_EXPECTED: Final = Columns("places", PLACE_FIELDS, (ID,))


class UnknownFormatError(ValueError):
    """The name of a file that is to be written does not show its format."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} has no known format: give it the suffix .csv, .tsv or .jsonl, then .gz if it is compressed."
        )


@dataclass(frozen=True, slots=True)
class PlacesFile:
    """The good rows of a file, in order; the problems of the others, and how many others there are."""

    rows: Sequence[ParsedPlace]
    problems: list[RowProblem]
    bad_rows: int = 0


def read_places(path: Path, *, progress: Callable[[int], None]) -> PlacesFile:
    """Read a file of places; ``progress`` gets the number of bytes read so far (compressed bytes of a .gz file).

    Bad rows are in ``problems``. Raises ``UnusableFile`` where rows are missing or the file is of another kind, OSError
    where it cannot be opened.
    """
    problems = Problems()
    with opened(path, progress) as lines:
        rows = _read_json(lines, problems) if is_json(lines) else _read_table(lines, problems)
    return PlacesFile(rows, problems.found, problems.rows)


def write_places(path: Path, places: Iterable[Place]) -> None:
    """Write places with their ids, in the format that the suffix selects; numbers keep every digit.

    Raises UnknownFormatError. An existing file is replaced only at the end. Equal places give equal files.
    """
    kind = format_of(path.name)
    with writing(path) as text:
        _write(kind, text, map(attrgetter(*_COLUMNS), places))


def format_of(name: str) -> str:
    """The format of a file to write, from its suffix."""
    for suffix, kind in _SUFFIXES.items():
        if name.lower().removesuffix(".gz").endswith(suffix):
            return kind
    raise UnknownFormatError(name)


def _read_table(lines: Lines, problems: Problems) -> PackedRows:
    table, decimals = Table(lines, _EXPECTED, problems), Decimals()
    header = table.header
    checker = RowChecker(has_ids=ID in header, number=float, integer=int, problems=problems)
    choose = itemgetter(*map(header.index, checker.columns))
    bad_rows = 0
    for line, row in table.rows():
        values = choose(row)
        text = "".join(values)
        if "," in text or ("." in text and not decimals.settled):
            values = _with_points(line, values, checker, decimals)
            if values is None:
                continue
        checker.add(line, values, doubtful="_" in text or not text.isascii())
        if problems.rows != bad_rows:
            bad_rows = problems.rows
            if problems.found[-1].column == header[-1]:
                table.check_cut(line, row, tuple(SPELLINGS) if header[-1] in PLACE_FLAGS else ())
    decimals.check()
    return checker.rows


def _with_points(line: int, values: Sequence[str], checker: RowChecker, decimals: Decimals) -> Sequence[str] | None:
    """The values of a row with decimal points; None for a bad row."""
    try:
        return [
            cell if column in PLACE_FLAGS or column == ID else decimals.plain(line, cell)
            for column, cell in zip(checker.columns, values, strict=True)
        ]
    except ValueError as error:
        checker.problems.bad_row(line, (None, str(error)))
        return None


def _read_json(lines: Lines, problems: Problems) -> PackedRows:
    """Read one object for each place. The first object decides whether places have ids."""
    entries = read_objects(lines, _EXPECTED, problems)
    first = next(entries, None)
    has_ids = first is not None and first.value.get(ID) is not None
    checker = RowChecker(has_ids=has_ids, number=_json_number, integer=_json_integer, problems=problems)
    for line, place, element in entries if first is None else chain([first], entries):
        if not has_ids and place.get(ID) is not None:
            wrong = (ID, "This place has an id, but the first place has none.")
            problems.bad_row(line, wrong, element=element)
        else:
            checker.add(line, [place.get(column) for column in checker.columns], element=element)
    return checker.rows


def _json_number(value: Any) -> float:
    """Accepts numbers only: JSON's ``true`` is not a number, although Python would convert it to 1."""
    if type(value) is float or type(value) is int:
        return float(value)
    raise ValueError(value)


def _json_integer(value: Any) -> int:
    if type(value) is int:
        return value
    raise ValueError(value)


def _write(kind: str, text: io.TextIOWrapper, rows: Iterator[tuple[Any, ...]]) -> None:
    if kind == JSON_LINES:
        dump = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
        text.writelines(f"{dump(dict(zip(_COLUMNS, row, strict=True)))}\n" for row in rows)
    else:
        writer = csv.writer(text, delimiter=DELIMITERS[kind], lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(rows)
