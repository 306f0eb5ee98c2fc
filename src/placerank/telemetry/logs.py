"""Log lines: readable in a terminal, one JSON object each where machines read them.

A line about a request names it: request id, task id, trace id and model version, as far as they are known. Secrets of
the configuration and rows that the database quotes in its errors never get into a line.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

Format = Literal["auto", "text", "json"]

#: What a line may say of the request that it is about.
FIELDS: Final = ("request_id", "task_id", "trace_id", "model_version")
_FORMAT: Final = "%(asctime)s %(levelname)-7s %(message)s"
#: Libraries that tell of every connection attempt; what matters of it our own modules say.
_CHATTY: Final = ("alembic", "aiormq", "aio_pika", "psycopg.pool", "celery", "kombu", "amqp", "uvicorn.error")
#: A shorter one is a word that lines are full of.
_SHORTEST_SECRET: Final = 6
#: Behind these words PostgreSQL quotes rows: a traveller's name, for example.
_QUOTED_ROWS: Final = re.compile(r"\n?\b(?:DETAIL|CONTEXT|LINE \d+):[^\n]*(?:\n +\^)?")

_about: ContextVar[dict[str, str] | None] = ContextVar("about", default=None)


def set_up_logging(level: str, style: Format = "auto", *, process: str = "", secrets: Iterable[str] = ()) -> None:
    """Log to standard error, from ``level`` up; libraries from WARNING up. ``auto`` is JSON without a terminal."""
    as_json = style == "json" or (style == "auto" and not sys.stderr.isatty())
    handler = logging.StreamHandler()
    hidden = [secret for secret in secrets if len(secret) >= _SHORTEST_SECRET]
    handler.setFormatter(JsonFormatter(process, hidden) if as_json else TextFormatter(hidden))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))
    # Their warnings repeat, at every attempt, what the publisher says once.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    # It misses a host name in memory://.
    logging.getLogger("kombu.connection").setLevel(logging.ERROR)


def about(
    task_id: UUID | str | None = None,
    *,
    request_id: str | None = None,
    traceparent: str | None = None,
    model_version: str | None = None,
) -> dict[str, str]:
    """What a line is about, as a logger's ``extra``; of a W3C ``traceparent`` the trace id is taken."""
    found = {
        "request_id": request_id,
        "task_id": None if task_id is None else str(task_id),
        "trace_id": None if traceparent is None else traceparent[3:35],
        "model_version": model_version,
    }
    return {name: value for name, value in found.items() if value}


def begin(fields: dict[str, str]) -> None:
    """Every line of this context is about these from now on: of a request, each of which has a context of its own."""
    _about.set(fields)


def note(name: str, value: str) -> None:
    """Add what has become known of the request in hand."""
    fields = _about.get()
    if fields is not None:
        fields[name] = value


def present(name: str) -> str | None:
    """What is known of the request in hand."""
    fields = _about.get()
    return None if fields is None else fields.get(name)


class _Discreet(logging.Formatter):
    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__(_FORMAT)
        longest_first = sorted({*secrets}, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def _hide(self, text: str) -> str:
        text = _QUOTED_ROWS.sub("", text)
        return text if self._secrets is None else self._secrets.sub("***", text)

    def _fields(self, record: logging.LogRecord) -> dict[str, str]:
        known = _about.get() or {}
        found = {name: getattr(record, name, None) or known.get(name) for name in FIELDS}
        return {name: str(value) for name, value in found.items() if value}


class TextFormatter(_Discreet):
    """For a terminal: the sentence, and in brackets what it is about."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback below it where there is one."""
        line, *trace = super().format(record).split("\n", 1)
        fields = self._fields(record)
        named = f"{line} [{' '.join(f'{name}={value}' for name, value in fields.items())}]" if fields else line
        return self._hide("\n".join([named, *trace]))


class JsonFormatter(_Discreet):
    """For machines: one JSON object a line."""

    def __init__(self, process: str, secrets: Iterable[str]) -> None:
        super().__init__(secrets)
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the message and the traceback hold."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "process": self._process,
            "logger": record.name,
            "message": self._hide(record.getMessage()),
            **self._fields(record),
        }
        if record.exc_info:
            line["exception"] = self._hide(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)
