"""An upper bound of requests in flight: above it, the API answers 503 at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from placerank.api.replies import problems
from placerank.errors import Overloaded

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_ALWAYS_SERVED = ("/healthz/", "/metrics")


class Slots:
    """Counts requests in flight; each takes a slot and gives it back, by method or as a context manager."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._active = 0

    def take(self) -> None:
        """Begin a request; raises ``Overloaded`` when too many are under way."""
        if self._active >= self._most:
            raise Overloaded("Too many requests at once; try again in a moment.")
        self._active += 1

    def give_back(self) -> None:
        """End a request."""
        self._active -= 1

    def __enter__(self) -> None:
        self.take()

    def __exit__(self, *_: object) -> None:
        self.give_back()


class ConcurrencyLimit:
    """ASGI middleware that has each request take a slot; health and metrics are always served."""

    def __init__(self, app: ASGIApp, slots: Slots) -> None:
        self._app = app
        self._slots = slots

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request."""
        if scope["type"] != "http" or scope["path"].startswith(_ALWAYS_SERVED):
            await self._app(scope, receive, send)
            return
        try:
            self._slots.take()
        except Overloaded as error:
            await problems.from_error(error)(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._slots.give_back()
