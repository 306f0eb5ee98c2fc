"""The content of a file as UTF-8, whatever its name: gzip is unpacked, UTF-16 recoded, other formats are refused."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from typing import TYPE_CHECKING, Any, Final

from placerank.files.problems import UnusableFile

if TYPE_CHECKING:
    from collections.abc import Callable

_BUFFER: Final = 1 << 20
#: What is looked at to recognise a format. A header is never longer.
_HEAD: Final = 1 << 16
_GZIP: Final = b"\x1f\x8b"
_GZIP_LAYERS: Final = 2
_UTF8_MARK: Final = b"\xef\xbb\xbf"
_UTF16: Final = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_UTF32_MARKS: Final = (b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")
_EXPORT: Final = "export its rows as CSV, or unpack it"
#: First bytes of formats that are no text, and what they are.
_CONTAINERS: Final = {
    b"PK\x03\x04": f"a zip archive, as the workbooks of Excel and LibreOffice are: {_EXPORT}",
    b"PK\x05\x06": f"an empty zip archive: {_EXPORT}",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "a workbook of an old Excel: save it as CSV UTF-8",
    b"PAR1": "a Parquet file: export its rows as CSV",
    b"ARROW1": "an Arrow file: export its rows as CSV",
    b"SQLite format 3\0": "an SQLite database: export its rows as CSV",
    b"PGDMP": "a dump of pg_dump: export the table with COPY … TO … (FORMAT csv, HEADER)",
    b"PGCOPY\n\xff\r\n\0": "a binary COPY: export the table with (FORMAT csv, HEADER)",
    b"BZh": "compressed with bzip2: compress it with gzip, or unpack it",
    b"\xfd7zXZ\0": "compressed with xz: compress it with gzip, or unpack it",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: compress it with gzip, or unpack it",
    b"\x04\x22\x4d\x18": "compressed with lz4: compress it with gzip, or unpack it",
    b"\x1f\x9d": "compressed with compress: compress it with gzip, or unpack it",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive: unpack it",
    b"Rar!": "a RAR archive: unpack it",
    b"%PDF": "a PDF: export the rows as CSV",
}
_TAR: Final = (257, b"ustar")


class Content:
    """The bytes of a file, unpacked and as UTF-8 without a byte-order mark.

    ``head`` is their beginning; ``encoding`` is how the file has them. Every error of reading is an ``UnusableFile``.
    """

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = _Raw(raw)
        packed, stream = _unpacked(self._raw)
        self.encoding, text = _as_utf8(packed, stream)
        self.head, self._stream = _ahead(text)
        if b"\r" in self.head and b"\n" not in self.head:
            self._stream = _buffered(_Recoded(self._stream, _line_feeds))
        self.readline: Callable[[int], bytes] = self._stream.readline

    @property
    def position(self) -> int:
        """How many bytes of the file have been read, compressed ones where it is compressed."""
        return self._raw.count

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes; none at the end."""
        return self._stream.read1(size)


class _Raw(io.RawIOBase):
    """A file that counts what is read; an error of the disk names itself."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            got = self._raw.readinto(buffer) or 0
        except OSError as error:
            raise UnusableFile(f"The file cannot be read any further: {error.strerror or error}.") from error
        self.count += got
        return got


class _Recoded(io.RawIOBase):
    """A stream whose bytes go through ``recode``, which gets each piece, and an empty one at the end."""

    def __init__(self, stream: Any, recode: Callable[[bytes], bytes], head: bytes = b"") -> None:
        self._stream, self._recode, self._ready, self._ended = stream, recode, head, False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and not self._ended:
            piece = self._read(len(buffer))
            self._ended = not piece
            self._ready = self._recode(piece)
        taken, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)

    def _read(self, size: int) -> bytes:
        try:
            piece: bytes = self._stream.read1(size)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UnusableFile(f"The compressed file is cut off or damaged here ({error}).") from error
        return piece


def _buffered(raw: io.RawIOBase) -> io.BufferedReader:
    return io.BufferedReader(raw, _BUFFER)


def _ahead(stream: io.BufferedReader) -> tuple[bytes, io.BufferedReader]:
    """The first bytes of a stream, which may be a pipe, and a stream that still has them."""
    head = b""
    while len(head) < _HEAD and (piece := stream.read(_HEAD - len(head))):
        head += piece
    return head, _buffered(_Recoded(stream, bytes, head))


def _unpacked(raw: io.RawIOBase) -> tuple[bytes, io.BufferedReader]:
    head, stream = _ahead(_buffered(raw))
    for _ in range(_GZIP_LAYERS):
        if not head.startswith(_GZIP):
            break
        head, stream = _ahead(_buffered(_Recoded(gzip.GzipFile(fileobj=stream), bytes)))
    _refuse_other_formats(head)
    return head, stream


def _refuse_other_formats(head: bytes) -> None:
    for mark, what in _CONTAINERS.items():
        if head.startswith(mark):
            raise UnusableFile(f"The file is {what}.")
    if head.startswith(_GZIP):
        raise UnusableFile("The file was compressed again and again: unpack it.")
    if head[_TAR[0] :].startswith(_TAR[1]):
        raise UnusableFile("The file is a tar archive: unpack it.")


def _as_utf8(head: bytes, stream: io.BufferedReader) -> tuple[str, io.BufferedReader]:
    if head.startswith(_UTF32_MARKS):
        raise UnusableFile("The file is UTF-32: save it as UTF-8.")
    if name := _UTF16.get(head[:2]):
        stream.read(2)
        return "UTF-16", _buffered(_Recoded(stream, _utf16(name)))
    if b"\0" in head.partition(b"\n")[0]:
        # In UTF-16 one byte of each pair is zero for most letters, and never the other one.
        fewer, more = sorted((head[0::2].count(0), head[1::2].count(0)))
        kind = "UTF-16 without a byte-order mark" if not fewer and 4 * more > len(head) else "no text"
        raise UnusableFile(f"The file is {kind}: save it as UTF-8.")
    if head.startswith(_UTF8_MARK):
        stream.read(len(_UTF8_MARK))
    return "UTF-8", stream


def _utf16(name: str) -> Callable[[bytes], bytes]:
    # Half a pair becomes three bytes that are not UTF-8, so that its row is the bad one.
    decoder = codecs.getincrementaldecoder(name)("surrogatepass")

    def recode(piece: bytes) -> bytes:
        try:
            return decoder.decode(piece, final=not piece).encode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise UnusableFile("The file ends within a character: it is cut off.") from None

    return recode


def _line_feeds(piece: bytes) -> bytes:
    """The line ends of old Macs as those of today."""
    return piece.replace(b"\r", b"\n")
