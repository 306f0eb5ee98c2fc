"""Uvicorn's HTTP protocol, with one write for each reply. Uvicorn itself writes head and body separately."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from placerank.network.gathering import Gathering

if TYPE_CHECKING:
    import asyncio


class GatheringProtocol(HttpToolsProtocol):
    """Uvicorn's protocol on a transport that merges writes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wrap the transport of a new connection."""
        gathering = Gathering(cast("asyncio.Transport", transport), self.loop.call_soon)
        super().connection_made(cast("asyncio.Transport", gathering))
