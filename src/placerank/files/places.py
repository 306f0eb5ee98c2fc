"""Places in files: CSV, TSV and JSON lines, each plain or gzipped. The suffix selects the format, else the first line.

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

from placerank.domain import PLACE_FIELDS
from placerank.files.lines import BrokenFileError, Lines, is_utf8
from placerank.files.rows import ID, PackedRows, ParsedPlace, RowChecker, RowProblem
from placerank.files.writing import writing

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from placerank.domain import Place

__all__ = ["ParsedPlace", "PlacesFile", "RowProblem", "UnknownFormatError", "read_places", "write_places"]

CSV, TSV, JSON_LINES = "csv", "tsv", "jsonl"
_SUFFIXES: Final = {".csv": CSV, ".tsv": TSV, ".tab": TSV, ".jsonl": JSON_LINES, ".ndjson": JSON_LINES}
DELIMITERS: Final = {CSV: ",", TSV: "\t"}
_COLUMNS: Final = (ID, *PLACE_FIELDS)
_NOT_UTF8: Final = "The text is not UTF-8."


class UnknownFormatError(ValueError):
    """Neither the name of a file nor its first line shows its format."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} has no known format: give it the suffix .csv, .tsv or .jsonl, then .gz if it is compressed."
        )


@dataclass(frozen=True, slots=True)
class PlacesFile:
    """The good rows of a file, in order, and the problems of the others."""

    rows: Sequence[ParsedPlace]
    problems: list[RowProblem]


def read_places(path: Path, *, progress: Callable[[int], None]) -> PlacesFile:
    """Read a file of places; ``progress`` gets the number of bytes read so far (compressed bytes of a .gz file).

    Problems with the contents are in ``problems``; OSError is raised only where the file cannot be read.
    """
    with path.open("rb", buffering=0) as raw:
        lines = Lines(raw, progress)
        try:
            checker = _read(path.name, lines)
        except (BrokenFileError, UnknownFormatError) as error:
            problem = RowProblem(max(lines.number, 1), None, str(error))
            return PlacesFile(PackedRows(has_ids=False), [problem])
        finally:
            progress(raw.tell())
    return PlacesFile(checker.rows, checker.problems)


def write_places(path: Path, places: Iterable[Place]) -> None:
    """Write places with their ids, in the format that the suffix selects; numbers keep every digit.

    Raises UnknownFormatError. An existing file is replaced only at the end. Equal places give equal files.
    """
    kind = format_of(path.name)
    with writing(path) as text:
        _write(kind, text, map(attrgetter(*_COLUMNS), places))


def _read(name: str, lines: Lines) -> RowChecker:
    head: list[str] = []
    for line in lines:
        head.append(line)
        if line.strip():
            break
    else:
        raise BrokenFileError("The file is empty.")
    kind = format_of(name, head[-1])
    if kind == JSON_LINES:
        return _read_json(lines, head)
    return _read_delimited(lines, csv.reader(chain(head, lines), delimiter=DELIMITERS[kind], strict=True))


def format_of(name: str, line: str = "") -> str:
    """The format of a file, from its suffix, else from its first line."""
    for suffix, kind in _SUFFIXES.items():
        if name.lower().removesuffix(".gz").endswith(suffix):
            return kind
    for mark, kind in (("\t", TSV), (",", CSV)):
        if mark in line:
            return JSON_LINES if line.lstrip().startswith("{") else kind
    raise UnknownFormatError(name)


def _read_delimited(lines: Lines, cells: Any) -> RowChecker:
    """Read a header and the rows of cells below it."""
    notes: list[RowProblem] = []
    _, header = next(delimited_rows(lines, cells, notes), (1, []))
    header = [name.strip() for name in header]
    checker = RowChecker(has_ids=ID in header, number=float, integer=int, problems=notes)
    notes += [RowProblem(1, name, "The column is missing.") for name in PLACE_FIELDS if name not in header]
    notes += [RowProblem(1, name, "The column occurs more than once.") for name in _COLUMNS if header.count(name) > 1]
    if notes:
        return checker
    choose = itemgetter(*map(header.index, checker.columns))
    for line, row in delimited_rows(lines, cells, notes):
        text = "".join(row)
        if len(row) != len(header):
            checker.problem(line, None, f"The row has {len(row)} columns, and the header {len(header)}.")
        elif is_utf8(text):
            checker.add(line, choose(row), doubtful="_" in text or not text.isascii())
        else:
            notes += [
                RowProblem(line, name, _NOT_UTF8) for name, cell in zip(header, row, strict=True) if not is_utf8(cell)
            ]
    return checker


def delimited_rows(lines: Lines, cells: Any, notes: list[RowProblem]) -> Iterator[tuple[int, list[str]]]:
    """Yield every row that is not blank, with the line where it begins: a quoted cell may contain line ends."""
    while True:
        line = cells.line_num + 1
        try:
            row = next(cells)
        except StopIteration:
            return
        except csv.Error as error:
            notes.append(RowProblem(line, None, f"The row is not well formed: {error}."))
        except BrokenFileError as error:
            notes.append(RowProblem(lines.number, None, str(error)))
            return
        else:
            if row:
                yield line, row


def _read_json(lines: Lines, head: list[str]) -> RowChecker:
    """Read one object per line. The first object decides whether places have ids."""
    checker = RowChecker(has_ids=_has_id(head[-1]), number=_json_number, integer=_json_integer)
    line = 0
    try:
        for line, text in enumerate(chain(head, lines), 1):
            if text.strip():
                _add_json(checker, line, text)
    except BrokenFileError as error:
        checker.problem(line + 1, None, str(error))
    return checker


def _add_json(checker: RowChecker, line: int, text: str) -> None:
    if not is_utf8(text):
        return checker.problem(line, None, _NOT_UTF8)
    try:
        place = json.loads(text)
    except (ValueError, RecursionError) as error:
        return checker.problem(line, None, f"The line is not JSON: {error}.")
    if not isinstance(place, dict):
        return checker.problem(line, None, "The line is not a JSON object.")
    if not checker.rows.has_ids and place.get(ID) is not None:
        return checker.problem(line, ID, "This place has an id, but the first place has none.")
    return checker.add(line, [place.get(column) for column in checker.columns])


def _has_id(text: str) -> bool:
    try:
        return json.loads(text).get(ID) is not None
    except (ValueError, RecursionError, AttributeError):
        return f'"{ID}"' in text


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
