"""Publishing in embedded mode: to Celery's in-memory broker, which lives in this process."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from kombu import Connection, Exchange, Producer, Queue

from placerank.queue import message, topology
from placerank.queue.flights import flight

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from placerank.queue.message import TaskMessage
    from placerank.queue.topology import WorkQueue

URL = "memory://"


class MemoryPublisher:
    """Messages are in the queue at once, and lost when the process ends; the relay resends them after a restart."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._channel = Connection(URL).channel()
        exchange = Exchange(topology.EXCHANGE, type="topic", durable=True)
        for queue in topology.WORK_QUEUES:
            Queue(queue.name, exchange, routing_key=queue.name)(self._channel).declare()
        self._producer = Producer(self._channel, exchange)

    @property
    def connected(self) -> bool:
        """Always true: the broker is in this process."""
        return True

    async def open(self) -> None:
        """There is nothing to connect to."""

    async def close(self) -> None:
        """The channel ends with the process."""

    async def publish(self, messages: Sequence[TaskMessage], *, confirm_s: float = 0) -> list[UUID]:  # noqa: ARG002
        """Put all into their queues; returns the ids of all."""
        with self._lock, flight(messages) as leaving:
            for item in leaving.messages:
                self._producer.publish(
                    item.body(),
                    routing_key=item.queue.name,
                    headers=item.headers(),
                    correlation_id=str(item.task_id),
                    reply_to="",
                    content_type=message.CONTENT_TYPE,
                    content_encoding=message.CONTENT_ENCODING,
                    delivery_mode=message.PERSISTENT,
                    serializer=None,
                )
            leaving.confirmed = [item.task_id for item in messages]
        return [item.task_id for item in messages]

    async def depth(self, queue: WorkQueue) -> int | None:
        """How many messages wait in a queue."""
        return (await self.look(queue.name))[0]

    async def look(self, name: str) -> tuple[int, int]:
        """How many messages wait in a queue, and how many workers it has: one, in this process."""
        if name not in {queue.name for queue in topology.WORK_QUEUES}:
            return 0, 0
        return int(self._channel.queue_declare(name, passive=True).message_count), 1
