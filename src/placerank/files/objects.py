"""JSON objects in a file: one on each line, one after the other over several lines, or the elements of an array."""

from __future__ import annotations

import json
import re
from itertools import chain, count
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from placerank.files.lines import is_utf8
from placerank.files.problems import Problems, UnusableFile, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from placerank.files.lines import Lines
    from placerank.files.table import Columns

_BLANKS: Final = re.compile(r"[ \t\r\n]*")
#: Longer than any element. An element that is still not complete here is not well formed.
_MOST_CHARACTERS: Final = 1 << 20


class Entry(NamedTuple):
    """An object with the line where it begins, and its number from 1 if it is an element of an array."""

    line: int
    value: Mapping[str, Any]
    element: int | None = None


def is_json(lines: Lines) -> bool:
    """Whether a file holds JSON: it begins with a brace or a bracket."""
    return lines.head.lstrip().startswith(("{", "["))


def read_objects(lines: Lines, columns: Columns, problems: Problems) -> Iterator[Entry]:
    """Every object; raises ``UnusableFile`` where the JSON breaks off or the first object has no known key."""
    entries = _by_line(lines, problems) if _is_by_line(lines.head) else _by_value(lines, problems)
    for first in entries:
        _check_keys(first, columns)
        return chain([first], entries)
    return entries


def _check_keys(entry: Entry, columns: Columns) -> None:
    if not entry.value.keys() & set(columns.needed):
        raise UnusableFile(
            f"None of the {len(columns.needed)} keys is in the first object: is it a file of {columns.what}, with one "
            f"object for each? It begins with {shown(json.dumps(entry.value))}.",
            entry.line,
        )
    if all(isinstance(entry.value.get(name), dict) for name in columns.needed):
        raise UnusableFile(
            "The file has one object for all rows: write one for each (in pandas: orient='records').", entry.line
        )


def _is_by_line(head: str) -> bool:
    """Whether there is one object on each line: not if the file is an array, or its first object has several lines."""
    text = head.lstrip()
    if text.startswith("["):
        return False
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return True
    return "\n" not in text[:end]


def _by_line(lines: Lines, problems: Problems) -> Iterator[Entry]:
    decode = json.JSONDecoder().decode
    for text in lines:
        if text.isspace():
            continue
        line = lines.number
        if not is_utf8(text):
            problems.bad_row(line, (None, f"The text is not {lines.encoding}."))
            continue
        try:
            value = decode(text)
        except (ValueError, RecursionError) as error:
            if lines.unended:
                raise UnusableFile(f"The last line is cut off or is not JSON: {error}.", line) from None
            problems.bad_row(line, (None, f"The line is not JSON: {error}."))
            continue
        if isinstance(value, dict):
            yield Entry(line, value)
        else:
            problems.bad_row(line, (None, "The line is not a JSON object."))


def _by_value(lines: Lines, problems: Problems) -> Iterator[Entry]:
    values = _Values(lines)
    array = values.next_character() == "["
    if array:
        values.skip()
    for element in count(1):
        if values.next_character() == ("]" if array else ""):
            break
        line, value, text = values.take()
        number = element if array else None
        if not is_utf8(text):
            problems.bad_row(line, (None, f"The text is not {lines.encoding}."), element=number)
        elif isinstance(value, dict):
            yield Entry(line, value, number)
        else:
            problems.bad_row(line, (None, "It is not a JSON object."), element=number)
        if values.next_character() == ",":
            values.skip()
        elif array and values.next_character() != "]":
            raise values.broken("a comma or a bracket is missing")
    if array:
        values.skip()
    if values.next_character():
        raise values.broken("more text follows the array")


class _Values:
    """Takes one JSON value after the other from a text that comes in pieces."""

    def __init__(self, lines: Lines) -> None:
        self._pieces = lines.pieces()
        self._decode = json.JSONDecoder().raw_decode
        self._text, self._at = "", 0
        self._line, self._counted = 1, 0

    def next_character(self) -> str:
        """The next character that is not blank; empty at the end of the file."""
        while True:
            found = _BLANKS.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def skip(self) -> None:
        """Go past one character."""
        self._at += 1

    def take(self) -> tuple[int, Any, str]:
        """The line, the value and the text of the value that begins here."""
        line = self._here()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                hopeless = isinstance(error, RecursionError) or len(self._text) - self._at > _MOST_CHARACTERS
                if hopeless or not self._more():
                    raise self.broken(getattr(error, "msg", str(error))) from None
                continue
            # A number that ends with the piece may go on in the next one.
            if end == len(self._text) and self._more():
                continue
            text, self._at = self._text[self._at : end], end
            return line, value, text

    def broken(self, why: str) -> UnusableFile:
        """The error of JSON that is not well formed here, or ends here."""
        ends = "" if self.next_character() else "the file ends here; "
        return UnusableFile(f"The JSON is cut off or not well formed: {ends}{why}.", self._here())

    def _here(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _more(self) -> bool:
        self._here()
        piece = next(self._pieces, "")
        self._text, self._at, self._counted = self._text[self._at :] + piece, 0, 0
        return bool(piece)
