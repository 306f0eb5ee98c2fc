"""The publisher's connection: bursts fit into it, and leave it in few writes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import aio_pika
import aiormq.connection
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory

from placerank.network.gathering import Gathering

if TYPE_CHECKING:
    from yarl import URL

# Frames that may wait for the socket. aiormq's own 10 make the eleventh message of a burst wait under the channel's
# lock, and the rest behind it for a turn of the loop each: 3 s to a confirm at 300 travellers. No argument sets it.
aiormq.connection.Connection.FRAME_BUFFER_SIZE = 4096


class Connection(aio_pika.Connection):
    """A connection that writes the messages of a burst together: aiormq writes each by itself."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.kwargs["transport_factory"] = _GatheringFactory()


class _GatheringFactory(TransportFactory):
    async def create(self, url: URL, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        plain = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        reader, writer = await plain.create(url, **options)
        gathering = Gathering(writer, asyncio.get_running_loop().call_soon)
        return reader, cast("asyncio.StreamWriter", gathering)
