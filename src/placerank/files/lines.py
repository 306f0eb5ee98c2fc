"""The lines of a text file, numbered, and the end of the file checked."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from placerank.files.content import Content
from placerank.files.problems import UnusableFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: Longer than any row. A file with a longer line has another format; reading stops before it fills the memory.
_LINE_BYTES: Final = 1 << 20
_PIECE_BYTES: Final = 1 << 16
#: Lines between two progress reports, which gives about fifty reports a second.
_PROGRESS_LINES: Final = 4096


class Lines:
    """The lines of a file as text, numbered from 1; a byte that is not UTF-8 becomes a lone surrogate (``is_utf8``)."""

    def __init__(self, content: Content, progress: Callable[[int], None]) -> None:
        self._content, self._progress = content, progress
        self._last = b""
        self.head = content.head.decode("utf-8", "surrogateescape")
        self.encoding = content.encoding
        self.number = 0
        self._text = self._decoded()
        if not self.head.strip():
            raise UnusableFile("The file is empty.")

    def __iter__(self) -> Iterator[str]:
        return self._text

    @property
    def unended(self) -> bool:
        """Whether the line read last has no line end, so that it may be a part of a line."""
        return not self._last.endswith(b"\n")

    def pieces(self) -> Iterator[str]:
        """The same text in pieces of some length, for formats without lines."""
        kept = b""
        while piece := self._content.read(_PIECE_BYTES):
            self._progress(self._content.position)
            whole, kept = _whole_characters(kept + piece)
            yield whole.decode("utf-8", "surrogateescape")
        if kept:
            raise UnusableFile("The file ends within a character: it is cut off.")

    def _decoded(self) -> Iterator[str]:
        readline = self._content.readline
        while line := readline(_LINE_BYTES):
            self.number += 1
            self._last = line
            if len(line) == _LINE_BYTES:
                raise UnusableFile(f"The line is longer than {_LINE_BYTES - 1} bytes.")
            if self.number % _PROGRESS_LINES == 0:
                self._progress(self._content.position)
            yield line.decode("utf-8", "surrogateescape")
        if _whole_characters(self._last)[1]:
            raise UnusableFile("The file ends within a character: it is cut off.")


@contextmanager
def opened(path: Path, progress: Callable[[int], None] = lambda _: None) -> Iterator[Lines]:
    """Open a text file; raises OSError where there is none, and ``UnusableFile`` with path and line for the rest."""
    with path.open("rb", buffering=0) as raw:
        lines = None
        try:
            content = Content(raw)
            lines = Lines(content, progress)
            yield lines
            progress(content.position)
        except UnusableFile as error:
            error.path = path
            error.line = error.line or (lines.number if lines is not None else 0) or 1
            raise


def is_utf8(text: str) -> bool:
    """Whether decoded text has no lone surrogates, which means that its bytes were UTF-8."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return False
    return True


def _whole_characters(data: bytes) -> tuple[bytes, bytes]:
    """These bytes up to a character that only begins at their end, and the beginning of that character."""
    for back in range(1, min(3, len(data)) + 1):
        first = data[-back]
        if first & 0xC0 != 0x80:
            # The number of ones that a first byte begins with is how many bytes its character has.
            length = 4 if first >= 0xF0 else 3 if first >= 0xE0 else 2 if first >= 0xC0 else 1
            return (data[:-back], data[-back:]) if length > back else (data, b"")
    return data, b""
