"""What can be wrong with a file: a row that is bad, or the file as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from placerank.errors import PlacerankError

if TYPE_CHECKING:
    from pathlib import Path


class UnusableFile(PlacerankError):
    """A file of which no row may be used: cut off, damaged, not readable to its end, or of another kind.

    Unlike a bad row it is never skipped, because nobody knows which rows are missing.
    """

    def __init__(self, sentence: str, line: int | None = None) -> None:
        super().__init__(sentence)
        self.sentence, self.line = sentence, line
        self.path: Path | None = None

    def __str__(self) -> str:
        where = [str(self.path)] if self.path else []
        where += [f"line {self.line}"] if self.line else []
        return f"{', '.join(where)}: {self.sentence}" if where else self.sentence


@dataclass(frozen=True, slots=True)
class RowProblem:
    """A problem of a row: its line (from 1), the column if a single one is wrong, and a sentence.

    ``element`` is the number (from 1) of an element of a JSON array; several elements may be in one line.
    """

    line: int
    column: str | None
    detail: str
    element: int | None = None

    def __str__(self) -> str:
        where = f"line {self.line}" if self.element is None else f"element {self.element} (line {self.line})"
        return f"{where}: {self.detail}" if self.column is None else f"{where}, column {self.column}: {self.detail}"


@dataclass(slots=True)
class Problems:
    """The problems of the bad rows of a file, and how many rows they are."""

    found: list[RowProblem] = field(default_factory=list)
    rows: int = 0

    def bad_row(self, line: int, *wrong: tuple[str | None, str], element: int | None = None) -> None:
        """Record a bad row with all that is wrong with it: pairs of column and sentence."""
        self.rows += 1
        self.found += [RowProblem(line, column, detail, element) for column, detail in wrong]


def shown(value: object) -> str:
    """A value for an error message: shortened, and with control characters escaped."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def listed(names: list[str]) -> str:
    """Names for a sentence: ``a``, ``a and b``, ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
