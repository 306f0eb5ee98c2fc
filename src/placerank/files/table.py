"""Rows of cells below a header, separated by commas, semicolons, tabs or ``|``, as programs write them."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from placerank.files.problems import Problems, UnusableFile, listed, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from placerank.files.lines import Lines

_DELIMITERS: Final = (",", ";", "\t", "|")
#: Excel writes it above the header, and reads it.
_SEPARATOR_LINE: Final = re.compile(r'\s*"?sep=(?P<delimiter>[^"\r\n])"?[\s;,]*', re.IGNORECASE)
#: psql writes it below the rows, in the words of its language.
_FOOTER: Final = re.compile(r"\((?P<rows>\d+) \w+\)")
#: psql draws it between the header and the rows.
_RULE: Final = re.compile(r"-+(\+-+)*")
_HALF_NUMBER: Final = re.compile(r"[+-]?\.?|[+-]?[\d.,]+e[+-]?")


@dataclass(frozen=True, slots=True)
class Columns:
    """What the rows of a file are, the columns that they must have, and those that they may have."""

    what: str
    needed: Sequence[str]
    possible: Sequence[str] = ()


class Table:
    """The header of a file and the rows below it; raises ``UnusableFile`` where a column is missing or doubled."""

    def __init__(self, lines: Lines, columns: Columns, problems: Problems) -> None:
        self._lines, self._problems = lines, problems
        first, self._delimiter = _beginning(lines, columns)
        self._cells = csv.reader(chain([first], lines), delimiter=self._delimiter, strict=True)
        self._rows = 0
        line = lines.number
        try:
            header = next(self._cells)
        except csv.Error as error:
            raise UnusableFile(f"The header is not well formed: {error}.", line) from None
        self.header = _named(header, columns)
        _check_header(self.header, columns, first, line)

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each row that is not blank, with the line where it begins and as many cells as the header has."""
        lines, cells, width = self._lines, self._cells, len(self.header)
        while True:
            line = lines.number + 1
            try:
                row = next(cells)
            except StopIteration:
                return
            except csv.Error as error:
                self._malformed(line, error)
                continue
            if lines.number != line:
                self._check_line_ends(line, row)
            if not row or not (row[0] or any(row)):
                continue
            if not self._rows and _RULE.fullmatch(row[0]):
                continue
            self._rows += 1
            if len(row) == width:
                yield line, row
            elif self._is_footer(row):
                return
            else:
                self._wrong_width(line, row)

    def check_cut(self, line: int, row: Sequence[str], valid: Sequence[str]) -> None:
        """Raise ``UnusableFile`` if the file ends within the last cell of this row, which is not valid.

        The cell may be the beginning of a number, or of one of ``valid``.
        """
        if self._lines.unended and is_beginning(row[-1], valid):
            raise UnusableFile(
                f"The last row is cut off: its last cell is {shown(row[-1])}, and it has no line end.", line
            )

    def _malformed(self, line: int, error: csv.Error) -> None:
        if self._lines.number > line or self._lines.unended:
            raise UnusableFile(
                f"The quote that opens in this row is not closed well up to line {self._lines.number} ({error}): "
                "the rows between are not read.",
                line,
            ) from None
        self._rows += 1
        self._problems.bad_row(line, (None, f"The row is not well formed: {error}."))

    def _check_line_ends(self, line: int, row: Sequence[str]) -> None:
        """A quoted cell may hold line ends; raises ``UnusableFile`` where it holds rows."""
        width = len(self.header)
        if len(row) != width or any(
            _holds_rows([part.count(self._delimiter) for part in cell.split("\n")], at, width)
            for at, cell in enumerate(row)
            if "\n" in cell
        ):
            raise UnusableFile(
                f"A quote opens in this row and is closed in line {self._lines.number}, with other rows between: "
                "one quote is too many or missing.",
                line,
            )

    def _wrong_width(self, line: int, row: Sequence[str]) -> None:
        if self._lines.unended and len(row) < len(self.header):
            raise UnusableFile(
                f"The last row is cut off: it has {len(row)} of {len(self.header)} columns and no line end.", line
            )
        self._problems.bad_row(line, (None, f"The row has {len(row)} columns, and the header {len(self.header)}."))

    def _is_footer(self, row: Sequence[str]) -> bool:
        footer = _FOOTER.fullmatch(row[0].strip()) if len(row) == 1 else None
        if footer is None:
            return False
        line = self._lines.number
        if any(text.strip() for text in self._lines):
            raise UnusableFile("Other rows follow this line, which says how many rows there are.", line)
        if int(footer["rows"]) != self._rows - 1:
            raise UnusableFile(f"The file should have {footer['rows']} rows, but has {self._rows - 1}.", line)
        return True


def is_beginning(cell: str, valid: Sequence[str] = ()) -> bool:
    """Whether a cell that is not valid may be the beginning of one that is: of a number, or of one of ``valid``."""
    text = cell.strip().lower()
    return bool(_HALF_NUMBER.fullmatch(text)) or any(one.startswith(text) for one in valid)


def _beginning(lines: Lines, columns: Columns) -> tuple[str, str]:
    """The line in which the header begins, and the delimiter; a line ``sep=`` above it may name the delimiter."""
    before, said = 0, ""
    for line in lines:
        separator = _SEPARATOR_LINE.fullmatch(line)
        if separator is not None and not said:
            said = separator["delimiter"]
        elif line.strip():
            return line, _delimiter(lines.head[before:], columns, said)
        before += len(line)
    raise UnusableFile("The file has no header.")


def _delimiter(head: str, columns: Columns, said: str) -> str:
    """The delimiter with which the header has the most known columns."""
    known = {name.lower() for name in (*columns.needed, *columns.possible)}

    def names(delimiter: str) -> int:
        try:
            header = next(csv.reader(io.StringIO(head, newline=""), delimiter=delimiter), [])
        except csv.Error:
            return 0
        return len(known & {cell.strip().lower() for cell in header})

    return max((said, *_DELIMITERS) if said else _DELIMITERS, key=names)


def _named(header: Sequence[str], columns: Columns) -> list[str]:
    """The names of the header; one that differs from a known column in its case alone is that column."""
    names = [cell.strip() for cell in header]
    known = {*columns.needed, *columns.possible} - set(names)
    return [name.lower() if name.lower() in known else name for name in names]


def _check_header(header: Sequence[str], columns: Columns, first: str, line: int) -> None:
    missing = [name for name in columns.needed if name not in header]
    doubled = [name for name in (*columns.possible, *columns.needed) if header.count(name) > 1]
    if len(missing) == len(columns.needed):
        raise UnusableFile(
            f"None of the {len(missing)} columns is in the header: is it a file of {columns.what}, with a header, and "
            f"separated by commas, semicolons or tabs? It begins with {shown(first.strip())}.",
            line,
        )
    if missing:
        columns_are = "column is" if len(missing) == 1 else "columns are"
        raise UnusableFile(f"The {columns_are} missing: {listed(missing)}.", line)
    if doubled:
        raise UnusableFile(f"The header has more than one column {listed(doubled)}.", line)


def _holds_rows(delimiters: Sequence[int], at: int, width: int) -> bool:
    """Whether the lines of the cell in column ``at`` have as many delimiters as rows that a quote made one cell.

    Such a cell begins with the rest of a row, ends with the beginning of another, and has whole rows between.
    """
    ends: Any = (delimiters[0], delimiters[-1])
    return ends == (width - 1 - at, at) or width - 1 in delimiters[1:-1]
