"""Rows of a file of places: checked value by value, stored in 70 bytes each."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, TypeAlias, overload

from placerank.domain import PLACE_FIELDS, PLACE_FLAGS
from placerank.files.lines import is_utf8
from placerank.files.problems import Problems, shown
from placerank.schema.flags import SPELLINGS, parse_flag

if TYPE_CHECKING:
    from collections.abc import Callable

ID: Final = "location_id"
#: The largest value of PostgreSQL's integer. Negative ids are refused: -1 means "chose none".
MAX_ID: Final = 2**31 - 1

#: ``location_id`` (None where the file has no ids), then the values in the order of ``PLACE_FIELDS``.
#: A plain tuple, so that COPY takes it unchanged, and ``Place(*row)`` too where there is an id.
ParsedPlace: TypeAlias = tuple[
    int | None, bool, bool, bool, bool, float,
    bool, bool, bool, bool, bool, bool, float, float, float, float, float, float,
]  # fmt: skip

#: All spellings of true and false, including JSON's own values (1 and 0 equal True and False).
_FLAGS: Final[dict[Any, bool]] = {True: True, False: False, **SPELLINGS}
NOT_UTF8: Final = "The text is not UTF-8: save the file as UTF-8 (in Excel: CSV UTF-8)."
_NO_ID: Final = -1
_ROW: Final = struct.Struct("=i" + "".join("?" if name in PLACE_FLAGS else "d" for name in PLACE_FIELDS))
_PRICE: Final = 1 + PLACE_FIELDS.index("price")


class PackedRows(Sequence[ParsedPlace]):
    """Rows as packed numbers: a million takes 70 MB instead of 370 MB as tuples. Iterating is faster than indexing."""

    def __init__(self, *, has_ids: bool) -> None:
        self.has_ids = has_ids
        self._bytes = bytearray()

    def append_packed(self, packed: bytes) -> None:
        """Add a row that ``RowChecker`` has packed."""
        self._bytes += packed

    def __len__(self) -> int:
        return len(self._bytes) // _ROW.size

    def __iter__(self) -> Iterator[ParsedPlace]:
        rows: Iterator[Any] = _ROW.iter_unpack(self._bytes)
        return rows if self.has_ids else ((None, *row[1:]) for row in rows)

    @overload
    def __getitem__(self, index: int) -> ParsedPlace: ...
    @overload
    def __getitem__(self, index: slice) -> list[ParsedPlace]: ...
    def __getitem__(self, index: int | slice) -> ParsedPlace | list[ParsedPlace]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        row: Any = _ROW.unpack_from(self._bytes, range(len(self))[index] * _ROW.size)
        return row if self.has_ids else (None, *row[1:])


class RowChecker:
    """Takes rows of values in the order of the columns, keeps the good ones and records the problems of the others.

    ``number`` and ``integer`` convert a cell or raise; they differ between text and JSON.
    """

    def __init__(
        self,
        *,
        has_ids: bool,
        number: Callable[[Any], float],
        integer: Callable[[Any], int],
        problems: Problems,
    ) -> None:
        self.rows = PackedRows(has_ids=has_ids)
        self.problems = problems
        self.columns: Final = (ID, *PLACE_FIELDS) if has_ids else PLACE_FIELDS
        self._converters: Final = [
            integer if name == ID else _FLAGS.__getitem__ if name in PLACE_FLAGS else number for name in self.columns
        ]
        self._before: Final = () if has_ids else (_NO_ID,)
        self._number, self._integer = number, integer
        #: Where each id was first: the number of its element in an array, else its line.
        self._first: dict[int, int] = {}

    def add(self, line: int, values: Sequence[Any], *, doubtful: bool = False, element: int | None = None) -> None:
        """Check one row. Most rows take this fast path; a row that may be bad is examined value by value."""
        try:
            row = [*self._before, *[convert(value) for convert, value in zip(self._converters, values, strict=True)]]
            packed = _ROW.pack(*row)
        except (KeyError, ValueError, TypeError, OverflowError, struct.error):
            doubtful = True
        # A NaN or an infinity makes the sum non-finite. The sum of huge good numbers may overflow too.
        if doubtful or not isfinite(sum(row)) or row[_PRICE] < 0 or (self._before == () and row[0] < 0):
            checked, wrong = self._examine(values)
            if wrong:
                self.problems.bad_row(line, *wrong, element=element)
                return
            row, packed = checked, _ROW.pack(*checked)
        if self._before or self._is_new(int(row[0]), line, element):
            self.rows.append_packed(packed)

    def _examine(self, values: Sequence[Any]) -> tuple[list[Any], list[tuple[str, str]]]:
        """The values of a row, and what is wrong with them: pairs of column and sentence."""
        row: list[Any] = [*self._before]
        wrong = []
        for column, value in zip(self.columns, values, strict=True):
            try:
                row.append(self._value(column, value))
            except ValueError as error:
                wrong.append((column, str(error)))
        return row, wrong

    def _value(self, column: str, value: Any) -> bool | int | float:
        """One value; ValueError with a sentence where it is bad."""
        value = value.strip() if isinstance(value, str) else value
        if value is None or value == "":
            raise ValueError("The value is missing.")
        if isinstance(value, str) and not is_utf8(value):
            raise ValueError(NOT_UTF8)
        if column in PLACE_FLAGS:
            return _flag(value)
        return self._id(value) if column == ID else self._finite(column, value)

    def _finite(self, column: str, value: Any) -> float:
        try:
            number = self._number(_plain(value))
        except OverflowError:
            raise ValueError(f"{shown(value)} is too large a number.") from None
        except ValueError:
            raise ValueError(f"{shown(value)} is not a number.") from None
        if not isfinite(number):
            raise ValueError(f"{shown(value)} is not a finite number.")
        if column == "price" and number < 0:
            raise ValueError(f"The price {shown(value)} is negative.")
        return number

    def _id(self, value: Any) -> int:
        try:
            number = self._integer(_plain(value))
        except ValueError:
            raise ValueError(f"{shown(value)} is not a whole number.") from None
        if not 0 <= number <= MAX_ID:
            raise ValueError(f"{shown(value)} is not between 0 and {MAX_ID}.")
        return number

    def _is_new(self, location_id: int, line: int, element: int | None) -> bool:
        here = line if element is None else element
        first = self._first.setdefault(location_id, here)
        if first != here:
            where = f"line {first}" if element is None else f"element {first}"
            self.problems.bad_row(line, (ID, f"The id {location_id} is already in {where}."), element=element)
        return first == here


def _flag(value: Any) -> bool:
    try:
        return parse_flag(value) if isinstance(value, str) else _FLAGS[value]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{shown(value)} is neither true nor false.") from None


def _plain(value: Any) -> Any:
    """The value; ValueError for text that only Python reads as a number: 1_000, or digits that are not ASCII."""
    if isinstance(value, str) and ("_" in value or not value.isascii()):
        raise ValueError(value)
    return value
