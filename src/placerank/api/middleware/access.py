"""Bearer keys (RFC 6750). Without configured keys, every route is open."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from fastapi import Depends, Request
from fastapi.params import Depends as Dependency

from placerank.errors import Forbidden, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    Check = Callable[[Request], None]

_SCHEME = "bearer "


def checks(allowed: Sequence[str], known: Sequence[str] = ()) -> tuple[Check, ...]:
    """A check that raises unless a request has an ``allowed`` key; ``known`` keys are valid for other routes."""
    if not allowed:
        return ()

    def check(request: Request) -> None:
        header = request.headers.get("authorization", "")
        key = header[len(_SCHEME) :].strip() if header.lower().startswith(_SCHEME) else ""
        if _matches(key, allowed):
            return
        if _matches(key, known):
            raise Forbidden("This key is valid for /inference only; use an admin key.")
        raise Unauthorized("Send a configured key in the header 'Authorization: Bearer KEY'.")

    return (check,)


def guard(checks: Sequence[Check]) -> list[Dependency]:
    """The checks as dependencies of routes."""
    return [Depends(_on_the_loop(check)) for check in checks]


def _on_the_loop(check: Check) -> Callable[[Request], Awaitable[None]]:
    # FastAPI would call a plain function on a thread.
    async def checked(request: Request) -> None:
        check(request)

    return checked


def _matches(key: str, keys: Sequence[str]) -> bool:
    return any(hmac.compare_digest(key.encode(), candidate.encode()) for candidate in keys)
