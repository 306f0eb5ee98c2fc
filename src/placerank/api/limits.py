"""A bound on requests in flight: beyond it the answer is 503, at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from placerank.api import problems
from placerank.errors import Overloaded

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_ALWAYS_SERVED = ("/healthz/", "/metrics")


class ConcurrencyLimit:
    """ASGI middleware that counts requests in flight; health and metrics are always served."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most
        self._active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request."""
        if scope["type"] != "http" or scope["path"].startswith(_ALWAYS_SERVED):
            await self._app(scope, receive, send)
            return
        if self._active >= self._most:
            refusal = problems.from_error(Overloaded("Too many requests at once; try again in a moment."))
            await refusal(scope, receive, send)
            return
        self._active += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._active -= 1
