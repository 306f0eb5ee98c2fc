"""The publisher's connection: it buffers a burst of messages and sends it in few writes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import aio_pika
import aiormq.connection
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory

from placerank.network.gathering import Gathering

if TYPE_CHECKING:
    from yarl import URL

# Frames that may wait for the socket. With aiormq's default of 10, the eleventh message of a burst waits while it holds
# the channel's lock, and each message behind it takes another turn of the event loop: a confirm takes 3 s with 300
# travellers. aiormq has no argument for it.
aiormq.connection.Connection.FRAME_BUFFER_SIZE = 4096


class Connection(aio_pika.Connection):
    """A connection that writes the messages of a burst together; aiormq writes each one separately."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.kwargs["transport_factory"] = _GatheringFactory()


class _GatheringFactory(TransportFactory):
    async def create(self, url: URL, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        plain = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        reader, writer = await plain.create(url, **options)
        gathering = Gathering(writer, asyncio.get_running_loop().call_soon)
        return reader, cast("asyncio.StreamWriter", gathering)
