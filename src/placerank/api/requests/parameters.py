"""Reads the parameters of the most frequent routes without FastAPI, whose parsing costs as much as all the rest.

Malformed parameters raise ``RequestValidationError``, as in FastAPI.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from uuid import UUID

from fastapi.exceptions import RequestValidationError

from placerank.api.requests.preferences import LONGEST_WAIT_S
from placerank.telemetry import logs

if TYPE_CHECKING:
    from fastapi import Request

_LONGEST_DEADLINE_S = 86_400.0
_MOST_PLACES = 100
#: ``UUID()`` also accepts braces, ``urn:uuid:``, ``0x``, underscores, hyphens anywhere.
_UUID = re.compile("[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

TASK_ID: dict[str, Any] = {
    "name": "task_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "format": "uuid"},
}
WAIT: dict[str, Any] = {
    "name": "wait",
    "in": "query",
    "description": f"Seconds to wait until it has finished, at most {LONGEST_WAIT_S}.",
    "schema": {"type": "number", "minimum": 0, "default": 0},
}
LIMIT: dict[str, Any] = {
    "name": "limit",
    "in": "query",
    "description": "How many places to return.",
    "schema": {"type": "integer", "minimum": 1, "maximum": _MOST_PLACES, "default": 10},
}
DEADLINE: dict[str, Any] = {
    "name": "deadline",
    "in": "query",
    "description": "If the inference has not started after this many seconds, it fails.",
    "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": _LONGEST_DEADLINE_S},
}


def task_id(request: Request) -> UUID:
    """The id in the path."""
    text = request.path_params["task_id"]
    if not _UUID.fullmatch(text):
        raise _invalid("path", "task_id", "must be a UUID")
    found = UUID(text)
    logs.note("task_id", str(found))
    return found


def traceparent(request: Request) -> str | None:
    """The request's W3C trace context: that of its own span, else the one that the client sent.

    It goes into the message's headers. The broker limits their size and closes the connection above the limit, so
    ``Observed`` accepts only values of the specified format.
    """
    known: str | None = request.scope.get("traceparent")
    return known


def wait_s(request: Request) -> float:
    """``?wait=``: seconds, 0 without it, at most ``LONGEST_WAIT_S``."""
    seconds = _number(request, "wait")
    if seconds is None:
        return 0.0
    if not seconds >= 0:
        raise _invalid("query", "wait", "must be a number of seconds, 0 or greater")
    return min(seconds, LONGEST_WAIT_S)


def deadline_s(request: Request) -> float | None:
    """``?deadline=``: seconds, none without it."""
    seconds = _number(request, "deadline")
    if seconds is not None and not 0 < seconds <= _LONGEST_DEADLINE_S:
        raise _invalid(
            "query", "deadline", f"must be a number of seconds greater than 0, at most {_LONGEST_DEADLINE_S:g}"
        )
    return seconds


def limit(request: Request) -> int:
    """``?limit=``: places, 10 without it."""
    text = _query(request, "limit")
    if text is None:
        return 10
    if not (text.isascii() and text.isdecimal() and len(text) <= 3 and 1 <= int(text) <= _MOST_PLACES):
        raise _invalid("query", "limit", f"must be an integer from 1 to {_MOST_PLACES}")
    return int(text)


def _number(request: Request, name: str) -> float | None:
    text = _query(request, name)
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        raise _invalid("query", name, "must be a number") from None


def _query(request: Request, name: str) -> str | None:
    # Most requests have no query at all.
    return request.query_params.get(name) if request.scope["query_string"] else None


def _invalid(where: str, name: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"loc": (where, name), "msg": message, "type": "value_error"}])
