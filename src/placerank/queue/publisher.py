"""Publishing from an event loop, with many confirms in flight and a connection that reconnects by itself."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol, cast

import aio_pika
from aio_pika.exceptions import AMQPError
from aiormq import spec

from placerank.queue import message, topology
from placerank.queue.connection import Connection
from placerank.queue.flights import flight
from placerank.supervision.cancellation import told_to_end
from placerank.supervision.tasks import SupervisedTask
from placerank.telemetry import logs
from placerank.telemetry.metrics import BROKER_CONNECTED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from aio_pika.abc import AbstractChannel, AbstractConnection
    from aiormq.channel import Channel as Wire

    from placerank.queue.message import TaskMessage
    from placerank.queue.topology import WorkQueue

log = logging.getLogger(__name__)

_RECONNECT_PAUSES_S = (0.1, 0.2, 0.5, 1.0, 2.0)
_CONNECT_TIMEOUT_S = 5.0
#: The timeout of a confirm.
CONFIRM_S = 10.0
#: aiormq cancels what waits on a connection that is lost. Such a ``CancelledError`` is an error of the broker, unless
#: this task was told to end.
_BROKER_ERRORS = (
    AMQPError,
    ConnectionError,
    OSError,
    TimeoutError,
    asyncio.InvalidStateError,
    asyncio.CancelledError,
    RuntimeError,
)


class Publisher(Protocol):
    """Publishes committed tasks to a broker."""

    @property
    def connected(self) -> bool:
        """Whether the broker is connected now."""

    async def open(self) -> None:
        """Start connecting, without waiting for it."""

    async def close(self) -> None:
        """Close the connection."""

    async def publish(self, messages: Sequence[TaskMessage], *, confirm_s: float = CONFIRM_S) -> list[UUID]:
        """Publish all in one flight; returns the ids of those that the broker has confirmed."""

    async def depth(self, queue: WorkQueue) -> int | None:
        """How many messages wait in a queue; none if that is unknown now."""

    async def look(self, name: str) -> tuple[int, int] | None:
        """How many messages wait in a queue and how many workers it has; none if that is unknown now."""


class AmqpPublisher:
    """Publishes to RabbitMQ. Never blocks the event loop; does not raise if the broker is unreachable."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._wire: Wire | None = None
        self._channel: AbstractChannel | None = None
        self._connection: AbstractConnection | None = None
        self._keeper = SupervisedTask("broker connection", self._keep_connected)

    @property
    def connected(self) -> bool:
        """Whether the broker is connected now."""
        return self._wire is not None

    async def open(self) -> None:
        """Start connecting, without waiting for it."""
        self._keeper.start()

    async def close(self) -> None:
        """Stop reconnecting and close the connection."""
        await self._keeper.stop()
        await self._disconnect()

    async def publish(self, messages: Sequence[TaskMessage], *, confirm_s: float = CONFIRM_S) -> list[UUID]:
        """Publish all in one flight; returns the ids of those that the broker has confirmed."""
        wire = self._wire
        if wire is None:
            return []
        with flight(messages) as leaving:
            outcomes = await asyncio.gather(*(self._publish_one(wire, item, confirm_s) for item in leaving.messages))
            leaving.confirmed = [item.task_id for item, arrived in zip(messages, outcomes, strict=True) if arrived]
        return leaving.confirmed

    async def depth(self, queue: WorkQueue) -> int | None:
        """How many messages wait in a queue; none if that is unknown now."""
        found = await self.look(queue.name)
        return None if found is None else found[0]

    async def look(self, name: str) -> tuple[int, int] | None:
        """How many messages wait in a queue and how many workers it has; none if that is unknown now."""
        if self._channel is None:
            return None
        try:
            declared = await self._channel.declare_queue(name, passive=True, timeout=_CONNECT_TIMEOUT_S)
        except _BROKER_ERRORS as error:
            _raise_if_told_to_end(error)
            log.warning("broker: the length of %s cannot be read: %s", name, _reason(error))
            return None
        result = declared.declaration_result
        return result.message_count or 0, result.consumer_count or 0

    @staticmethod
    async def _publish_one(wire: Wire, item: TaskMessage, confirm_s: float) -> bool:
        task_id = str(item.task_id)
        properties = spec.Basic.Properties(
            headers=item.headers(),
            content_type=message.CONTENT_TYPE,
            content_encoding=message.CONTENT_ENCODING,
            delivery_mode=message.PERSISTENT,
            priority=0,
            correlation_id=task_id,
            reply_to="",
            # Without one, aiormq generates an id.
            message_id=task_id,
        )
        try:
            # This waits for the confirm, not for the socket (``wait``). aio_pika's own publish would let each message
            # wait until it is written, one after the other. If the broker rejects the message (a full queue), this
            # raises; because of ``mandatory``, it also raises if the queue does not exist.
            await wire.basic_publish(
                item.body(),
                exchange=topology.EXCHANGE,
                routing_key=item.queue.name,
                properties=properties,
                mandatory=True,
                timeout=confirm_s,
                wait=False,
            )
        except _BROKER_ERRORS as error:
            _raise_if_told_to_end(error)
            about = logs.about(item.task_id, request_id=item.request_id, traceparent=item.traceparent)
            log.debug("broker: not confirmed: %s", _reason(error), extra=about)
            return False
        return True

    async def _keep_connected(self) -> None:
        # If this starts again after a failure, there may be a connection.
        await self._disconnect()
        attempt = 0
        while not told_to_end():
            try:
                closed = await self._connect()
            except _BROKER_ERRORS as error:
                _raise_if_told_to_end(error)
                pause = _RECONNECT_PAUSES_S[min(attempt, len(_RECONNECT_PAUSES_S) - 1)]
                if attempt == 0:
                    log.warning("broker: cannot connect, will retry: %s", _reason(error))
                attempt += 1
                await self._disconnect()
                await asyncio.sleep(0 if told_to_end() else pause)
                continue
            if told_to_end():
                return
            log.info("broker: connected")
            BROKER_CONNECTED.labels("publisher").set(1)
            attempt = 0
            await closed.wait()
            log.warning("broker: the connection was lost")
            await self._disconnect()

    async def _connect(self) -> asyncio.Event:
        closed = asyncio.Event()
        self._connection = await asyncio.wait_for(
            aio_pika.connect(self._url, timeout=_CONNECT_TIMEOUT_S, connection_class=Connection), _CONNECT_TIMEOUT_S
        )
        self._connection.close_callbacks.add(lambda *_: closed.set())
        channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
        channel.close_callbacks.add(lambda *_: closed.set())
        await declare(channel)
        self._channel = channel
        self._wire = cast("Wire", await channel.get_underlay_channel())
        return closed

    async def _disconnect(self) -> None:
        BROKER_CONNECTED.labels("publisher").set(0)
        connection, self._connection, self._channel, self._wire = self._connection, None, None, None
        if connection is not None:
            try:
                await asyncio.wait_for(connection.close(), 1)
            except _BROKER_ERRORS as error:
                _raise_if_told_to_end(error)


def _raise_if_told_to_end(error: BaseException) -> None:
    if isinstance(error, asyncio.CancelledError) and told_to_end():
        raise error


def _reason(error: BaseException) -> str:
    return "the connection was lost" if isinstance(error, asyncio.CancelledError) else str(error)


async def declare(channel: AbstractChannel) -> None:
    """Declare exchanges, queues and bindings; those from imported definitions stay as they are."""
    exchange = await channel.declare_exchange(topology.EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
    dead = await channel.declare_exchange(topology.DEAD_LETTER_EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
    for queue in topology.WORK_QUEUES:
        declared = await channel.declare_queue(queue.name, durable=True, arguments=dict(topology.QUEUE_ARGUMENTS))
        await declared.bind(exchange, queue.name)
    letters = await channel.declare_queue(
        topology.DEAD_LETTER_QUEUE, durable=True, arguments=dict(topology.QUEUE_ARGUMENTS)
    )
    await letters.bind(dead, "#")
