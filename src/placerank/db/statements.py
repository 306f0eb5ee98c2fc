"""The named statements of ``sql/*.sql``, loaded once."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, LiteralString, cast

import aiosql


@cache
def statement(name: str) -> LiteralString:
    """The text of a named statement, with psycopg's placeholders; raises ``KeyError`` for an unknown name."""
    try:
        return cast("LiteralString", getattr(_load(), name).sql)
    except AttributeError:
        raise KeyError(f"no statement is named {name}") from None


@cache
def _load() -> Any:
    return aiosql.from_path(Path(__file__).parent / "sql", "psycopg", mandatory_parameters=False)
