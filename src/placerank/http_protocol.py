"""Uvicorn's HTTP protocol, with one write for each reply.

Uvicorn writes a reply's head and then its body, and uvloop hands each to the kernel at once: two system calls and two
packets, and a client that is woken for half a reply.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class GatheringTransport:
    """A transport that writes together what one turn of the event loop has written."""

    def __init__(self, transport: asyncio.Transport, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._transport = transport
        self._call_soon = call_soon
        self._held: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Write before the loop turns."""
        if not self._held:
            self._call_soon(self._flush)
        self._held.append(data)

    def close(self) -> None:
        """Write what is held, then close."""
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self) -> None:
        held, self._held = self._held, []
        if held:
            self._transport.write(b"".join(held))


class GatheringProtocol(HttpToolsProtocol):
    """Uvicorn's protocol on such a transport."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with a new connection."""
        gathering = GatheringTransport(cast("asyncio.Transport", transport), self.loop.call_soon)
        super().connection_made(cast("asyncio.Transport", gathering))
