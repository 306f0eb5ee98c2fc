"""The dead letters, for operators, who read, replay or drop them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import aio_pika
from aio_pika.exceptions import AMQPError

from placerank.errors import PlacerankError
from placerank.queue import topology
from placerank.queue.publisher import declare

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from aio_pika.abc import AbstractIncomingMessage, AbstractQueue

_TIMEOUT_S = 5.0


class BrokerAway(PlacerankError):
    """The broker does not answer, so its dead letters cannot be read."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A task that no worker could finish. ``task`` is the Celery task's name; ``task_id`` is none if unreadable."""

    task: str
    task_id: UUID | None
    reason: str
    message: AbstractIncomingMessage


class DeadLetterQueue:
    """The queue of dead letters. Taken letters return to it when the connection closes, except those dropped."""

    def __init__(self, queue: AbstractQueue) -> None:
        self._queue = queue

    @classmethod
    @asynccontextmanager
    async def opened(cls, url: str) -> AsyncIterator[DeadLetterQueue]:
        """The queue of the broker at ``url``; raises ``BrokerAway``."""
        try:
            connection = await asyncio.wait_for(aio_pika.connect(url, timeout=_TIMEOUT_S), _TIMEOUT_S)
        except (AMQPError, OSError, TimeoutError) as error:
            raise BrokerAway(f"CELERY_BROKER_URL: the broker cannot be reached: {error}") from None
        async with connection:
            channel = await connection.channel()
            await declare(channel)
            yield cls(await channel.get_queue(topology.DEAD_LETTER_QUEUE))

    async def take(self, most: int) -> list[Letter]:
        """The oldest letters, at most ``most``; they are held until the connection closes."""
        letters: list[Letter] = []
        while len(letters) < most and (message := await self._queue.get(fail=False, timeout=_TIMEOUT_S)) is not None:
            letters.append(_letter(message))
        return letters

    @staticmethod
    async def drop(letters: Sequence[Letter]) -> None:
        """Delete letters from the queue."""
        for letter in letters:
            await letter.message.ack()


def _letter(message: AbstractIncomingMessage) -> Letter:
    headers = message.headers
    task = str(headers.get("task") or message.routing_key or "")
    return Letter(task, _uuid(str(message.correlation_id or headers.get("id") or "")), _reason(headers), message)


def _reason(headers: Mapping[str, Any]) -> str:
    """The worker's reason for the dead letter, else the broker's."""
    if reason := headers.get("x-placerank-reason"):
        return str(reason)
    deaths = headers.get("x-death")
    first = deaths[0] if isinstance(deaths, list) and deaths else None
    return str(first.get("reason", "unknown")) if isinstance(first, dict) else "unknown"


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
