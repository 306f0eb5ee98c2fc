"""The decimal mark of a file: a point, or a comma as in ``12,5``."""

from __future__ import annotations

import re
from typing import Final

from placerank.files.problems import UnusableFile, shown

_FRACTION: Final = re.compile(r"\s*[+-]?(?:\d+[.,]\d*|[.,]\d+)(?:[eE][+-]?\d+)?\s*", re.ASCII)
#: 1,234 and 1.234 may be a fraction, or a thousand with its separator.
_EITHER: Final = re.compile(r"\s*[+-]?[1-9]\d{0,2}[.,]\d{3}\s*", re.ASCII)


class Decimals:
    """Reads the fractions of one file: the first decides which mark the file uses, and the others must agree.

    ``settled`` is true when the mark is known to be the point: then only a comma has to be looked at.
    """

    def __init__(self) -> None:
        self.settled = False
        self._mark, self._sure = "", False
        self._first = (0, "")

    def plain(self, line: int, cell: str) -> str:
        """The cell with a point as its mark. Raises ValueError where it has the other mark than the rest of the file.

        A cell that is no number is returned as it is.
        """
        if not _FRACTION.fullmatch(cell):
            return cell
        mark = "," if "," in cell else "."
        if not self._mark:
            self._mark, self._first = mark, (line, cell)
        if mark != self._mark:
            self._disagree(line, cell)
        self._sure = self._sure or not _EITHER.fullmatch(cell)
        self.settled = self._sure and self._mark == "."
        return cell.replace(",", ".")

    def check(self) -> None:
        """Raise ``UnusableFile`` where every fraction of the file may be a thousand."""
        if self._mark == "," and not self._sure:
            line, cell = self._first
            raise UnusableFile(
                f"{shown(cell)} may be a fraction or a thousand, and no other number of the file tells: "
                "write it without the comma, or with a point.",
                line,
            )

    def _disagree(self, line: int, cell: str) -> None:
        other = f"line {self._first[0]} has {shown(self._first[1])}"
        sentence = f"{shown(cell)} and numbers above use comma and point in different ways ({other}): write all alike."
        if not self._sure:
            raise UnusableFile(sentence, line)
        raise ValueError(sentence)
