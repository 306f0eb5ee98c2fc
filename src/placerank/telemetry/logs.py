"""Log lines: text in a terminal, else one JSON object for each line.

A line about a request has its request id, task id, trace id and model version, as far as they are known. Secrets of
the configuration, and rows that the database quotes in its errors, are removed from every line.
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

#: Fields that identify the request that a line is about.
FIELDS: Final = ("request_id", "task_id", "trace_id", "model_version")
_FORMAT: Final = "%(asctime)s %(levelname)-7s %(message)s"
#: Libraries that log every connection attempt. Our own modules log what matters.
_CHATTY: Final = ("alembic", "aiormq", "aio_pika", "psycopg.pool", "celery", "kombu", "amqp", "uvicorn.error")
#: A shorter secret can be a common word. Hiding it would make many lines unreadable.
_SHORTEST_SECRET: Final = 6
#: After these words PostgreSQL quotes rows. They can hold a traveller's name, for example.
_QUOTED_ROWS: Final = re.compile(r"\n?\b(?:DETAIL|CONTEXT|LINE \d+):[^\n]*(?:\n +\^)?")

_about: ContextVar[dict[str, str] | None] = ContextVar("about", default=None)


def set_up_logging(level: str, style: Format = "auto", *, process: str = "", secrets: Iterable[str] = ()) -> None:
    """Log to standard error from ``level`` up, libraries from WARNING up; ``auto``: text in a terminal, else JSON."""
    as_json = style == "json" or (style == "auto" and not sys.stderr.isatty())
    handler = logging.StreamHandler()
    hidden = [secret for secret in secrets if len(secret) >= _SHORTEST_SECRET]
    handler.setFormatter(JsonFormatter(process, hidden) if as_json else TextFormatter(hidden))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))
    # They warn at every attempt. Our own modules log the same once.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    # It warns that memory:// has no host name.
    logging.getLogger("kombu.connection").setLevel(logging.ERROR)


def about(
    task_id: UUID | str | None = None,
    *,
    request_id: str | None = None,
    traceparent: str | None = None,
    model_version: str | None = None,
) -> dict[str, str]:
    """The ``extra`` for a log line about this request; the trace id is read from the W3C ``traceparent``."""
    found = {
        "request_id": request_id,
        "task_id": None if task_id is None else str(task_id),
        "trace_id": None if traceparent is None else traceparent[3:35],
        "model_version": model_version,
    }
    return {name: value for name, value in found.items() if value}


def begin(fields: dict[str, str]) -> None:
    """Add ``fields`` to every later line of this context; each request has its own context."""
    _about.set(fields)


def note(name: str, value: str) -> None:
    """Add a field to the later lines about the current request."""
    fields = _about.get()
    if fields is not None:
        fields[name] = value


def present(name: str) -> str | None:
    """A field of the current request, if it is known."""
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
    """For a terminal: the message, then the request's fields in brackets."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, followed by the traceback if there is one."""
        line, *trace = super().format(record).split("\n", 1)
        fields = self._fields(record)
        named = f"{line} [{' '.join(f'{name}={value}' for name, value in fields.items())}]" if fields else line
        return self._hide("\n".join([named, *trace]))


class JsonFormatter(_Discreet):
    """For machines: one JSON object for each line."""

    def __init__(self, process: str, secrets: Iterable[str]) -> None:
        super().__init__(secrets)
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """One line, even if the message or the traceback has line breaks."""
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
