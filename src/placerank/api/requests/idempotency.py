"""``Idempotency-Key``: a repeated request returns the task of the first one."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from fastapi.exceptions import RequestValidationError

from placerank.errors import IdempotencyKeyReused

if TYPE_CHECKING:
    from uuid import UUID

    from fastapi import Request

    from placerank.domain import TaskType

_LONGEST = 255


def key_of(request: Request) -> str | None:
    """The key of a request, if it has one; raises ``RequestValidationError`` for an empty or too long one."""
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= _LONGEST:
        message = f"must have 1 to {_LONGEST} characters"
        raise RequestValidationError([{"loc": ("header", "Idempotency-Key"), "msg": message, "type": "value_error"}])
    return key


def caller_of(request: Request) -> str:
    """The owner of the request's key: a digest of its credentials, or an empty string without credentials."""
    credentials = request.headers.get("authorization")
    return hashlib.blake2b(credentials.encode(), digest_size=16).hexdigest() if credentials else ""


def digest(task_type: TaskType, canonical: bytes, user_id: str | None) -> str:
    """A digest of type, parsed body and user id; two requests with the same digest are the same."""
    parts = [task_type.encode(), canonical, (user_id or "").encode()]
    return hashlib.blake2b(b"\0".join(parts), digest_size=16).hexdigest()


def same_request(known: tuple[UUID, str], wanted: str | None) -> UUID:
    """The task stored for a key; raises ``IdempotencyKeyReused`` if it was started with another body."""
    task_id, stored = known
    if stored != wanted:
        raise IdempotencyKeyReused("This Idempotency-Key was used with another body; use a new key.")
    return task_id
