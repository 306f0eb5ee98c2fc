"""The lines of a text file, plain or gzipped, as far as they can be read."""

from __future__ import annotations

import gzip
import io
import zlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_GZIP_MAGIC: Final = b"\x1f\x8b"
_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_BUFFER: Final = 1 << 20
#: Longer than any row. A file with a longer line has another format; reading stops before it fills the memory.
_LINE_BYTES: Final = 1 << 20
#: Lines between two progress reports, which gives about fifty reports a second.
_PROGRESS_LINES: Final = 4096


class BrokenFileError(Exception):
    """The file cannot be read any further."""


class Lines:
    """The lines of a file as text, numbered from 1; a byte that is not UTF-8 becomes a lone surrogate (``is_utf8``)."""

    def __init__(self, raw: io.FileIO, progress: Callable[[int], None]) -> None:
        packed = raw.read(2) == _GZIP_MAGIC
        raw.seek(0)
        source: Any = gzip.GzipFile(fileobj=raw) if packed else raw
        self._stream = io.BufferedReader(source, _BUFFER)
        self._raw, self._progress = raw, progress
        self.number = 0
        self._text = self._decoded()

    def __iter__(self) -> Iterator[str]:
        return self._text

    def _decoded(self) -> Iterator[str]:
        encoding = "utf-8-sig"
        while line := self._next():
            self.number += 1
            if self.number == 1 and line.startswith(_UTF16_MARKS):
                raise BrokenFileError("The file is UTF-16. Save it as UTF-8.")
            if len(line) == _LINE_BYTES:
                raise BrokenFileError(f"The line is longer than {_LINE_BYTES - 1} bytes.")
            if self.number % _PROGRESS_LINES == 0:
                self._progress(self._raw.tell())
            yield line.decode(encoding, "surrogateescape")
            encoding = "utf-8"

    def _next(self) -> bytes:
        try:
            return self._stream.readline(_LINE_BYTES)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            self.number += 1
            raise BrokenFileError(f"The compressed file is cut off or damaged here ({error}).") from error


def is_utf8(text: str) -> bool:
    """Whether decoded text has no lone surrogates, which means that its bytes were UTF-8."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return False
    return True
