"""Shown lists in files: CSV or TSV, each plain or gzipped, ten consecutive rows a list.

A row has the 13 columns of a traveller, the 17 of a place, and ``label``: 1 for the place chosen from its list.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

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
from placerank.ranking.lists import ShownLists
from placerank.schema.flags import parse_flag
from placerank.schema.traveller import parse_children

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

LIST_ROWS: Final = 10
_LABEL: Final = "label"
_COLUMNS: Final = (*TRAVELLER_FIELDS, *PLACE_FIELDS, _LABEL)


@dataclass(frozen=True, eq=False)
class Impressions:
    """The lists of a file, and the sha256 of their rows."""

    lists: ShownLists
    digest: str


def read_impressions(path: Path, list_rows: int = LIST_ROWS) -> Impressions:
    """Read a file of shown lists; raises ``PlacerankError`` that names the first bad line."""
    try:
        with _opened(path) as text:
            return _read(path.name, text, list_rows)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise PlacerankError(f"{path} cannot be read: {error}") from None


def _opened(path: Path) -> TextIO:
    if path.name.lower().endswith(".gz"):
        return cast("TextIO", gzip.open(path, "rt", encoding="utf-8-sig", newline=""))
    return path.open(encoding="utf-8-sig", newline="")


def _read(name: str, text: TextIO, list_rows: int) -> Impressions:
    first = text.readline()
    delimiter = "\t" if "\t" in first else ","
    header = [cell.strip() for cell in next(csv.reader([first], delimiter=delimiter), [])]
    if missing := [column for column in _COLUMNS if column not in header]:
        raise PlacerankError(f"{name} lacks columns: {', '.join(missing)}.")
    digest, order = sha256(), [header.index(column) for column in _COLUMNS]
    travellers: list[Traveller] = []
    identities: list[str] = []
    places: list[list[float]] = []
    chosen: list[int] = []
    for rows in _lists(name, csv.reader(text, delimiter=delimiter), order, list_rows):
        line = 2 + len(travellers) * list_rows
        with _at(name, line):
            who = rows[0][: len(TRAVELLER_FIELDS)]
            travellers.append(_traveller(who))
            identities.append(identity_of(None, json.dumps(who).encode()))
        places += [_at_line(name, line + one, row) for one, row in enumerate(rows)]
        chosen.append(_choice(name, line, rows))
        digest.update(json.dumps(rows).encode())
    values = np.array(places, dtype=np.float64).reshape(len(places), len(PLACE_FIELDS))
    offsets = np.arange(len(travellers) + 1, dtype=np.int64) * list_rows
    lists = ShownLists(travellers, identities, values, offsets, np.array(chosen, dtype=np.int64))
    return Impressions(lists, digest.hexdigest())


def _lists(name: str, reader: Any, order: Sequence[int], list_rows: int) -> Iterator[list[list[str]]]:
    """Yield the rows of each list, with their cells in the order of the columns; blank lines are skipped."""
    rows: list[list[str]] = []
    for cells in reader:
        if not cells:
            continue
        if len(cells) <= max(order):
            raise PlacerankError(f"{name}, line {reader.line_num + 1}: the row has only {len(cells)} columns.")
        rows.append([cells[one] for one in order])
        if len(rows) == list_rows:
            if any(row[: len(TRAVELLER_FIELDS)] != rows[0][: len(TRAVELLER_FIELDS)] for row in rows):
                raise PlacerankError(
                    f"{name}, line {reader.line_num + 1}: {list_rows} consecutive rows are one list, but these are "
                    "not of one traveller."
                )
            yield rows
            rows = []
    if rows:
        raise PlacerankError(f"{name} ends within a list: its last list has only {len(rows)} of {list_rows} rows.")


def _traveller(cells: Sequence[str]) -> Traveller:
    row = dict(zip(TRAVELLER_FIELDS, cells, strict=True))
    wishes = {wish: parse_flag(row[wish]) for wish, _ in WISHES}
    return Traveller(
        name=row["name"],
        people_num=int(row["people_num"]),
        people_age=tuple(int(age) for age in json.loads(row["people_age"])),
        children_num=parse_children(row["children_num"]),
        budget=_number(row["budget"]),
        nights=int(row["nights"]),
        time_arrival=date.fromisoformat(row["time_arrival"]),
        **wishes,
    )


def _at_line(name: str, line: int, row: Sequence[str]) -> list[float]:
    cells = row[len(TRAVELLER_FIELDS) : -1]
    with _at(name, line):
        return [
            float(parse_flag(cell)) if field in PLACE_FLAGS else _number(cell)
            for field, cell in zip(PLACE_FIELDS, cells, strict=True)
        ]


def _choice(name: str, line: int, rows: Sequence[Sequence[str]]) -> int:
    with _at(name, line):
        labels = [_number(row[-1]) for row in rows]
    if any(label not in (0.0, 1.0) for label in labels) or sum(labels) > 1:
        raise PlacerankError(f"{name}, line {line}: a label must be 0 or 1, and at most one label of a list is 1.")
    return labels.index(1.0) if 1.0 in labels else NOTHING_CHOSEN


class _at:  # noqa: N801 - reads as a word: with _at(file, line)
    """Turns the error of a bad value into a ``PlacerankError`` that names the line."""

    def __init__(self, name: str, line: int) -> None:
        self._where = f"{name}, line {line}"

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ValueError | KeyError | TypeError):
            raise PlacerankError(f"{self._where}: {error}") from None


def _number(cell: str) -> float:
    value = float(cell)
    if not isfinite(value):
        raise ValueError(f"{cell!r} is not a finite number.")
    return value
