"""Atomic writing: a file is complete under its name, or it does not exist."""

from __future__ import annotations

import gzip
import io
import os
import secrets
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def writing(path: Path) -> Iterator[io.TextIOWrapper]:
    """Yield a text stream, gzipped if the name ends in .gz; the file gets its name when all is written."""
    with ExitStack() as stack:
        file: Any = stack.enter_context(replacing(path))
        if path.name.lower().endswith(".gz"):
            # Level 6 is within two percent of level 9 in half the time. mtime=0: equal text gives equal files.
            file = stack.enter_context(gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0))
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        yield text
        text.detach()


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a temporary file that replaces ``path`` when it is complete and synced; on an error it is removed."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
