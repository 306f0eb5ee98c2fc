"""A lost connection cancels what waits for it: that is an error of the broker, and ends nobody's task."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast
from uuid import uuid4

import pytest

from placerank.queue import topology
from placerank.queue.message import TaskMessage
from placerank.queue.publisher import AmqpPublisher

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel
    from aiormq.channel import Channel as Wire


class Lost:
    """A channel of a lost connection, as aiormq leaves it: the answers are cancelled futures."""

    async def declare_queue(self, *_: object, **__: object) -> None:
        await self._answer()

    async def basic_publish(self, *_: object, **__: object) -> None:
        await self._answer()

    async def _answer(self) -> None:
        answer = asyncio.get_running_loop().create_future()
        answer.cancel()
        await answer


class Silent(Lost):
    """A channel on which no answer comes."""

    async def _answer(self) -> None:
        await asyncio.Event().wait()


def publisher(channel: Lost) -> AmqpPublisher:
    made = AmqpPublisher("amqp://127.0.0.1:1/")
    made._channel, made._wire = cast("AbstractChannel", channel), cast("Wire", channel)
    return made


async def test_a_queue_of_a_lost_connection_has_no_known_length() -> None:
    assert await publisher(Lost()).depth(topology.INFERENCE) is None


async def test_messages_on_a_lost_connection_are_not_confirmed() -> None:
    assert await publisher(Lost()).publish([TaskMessage(topology.INFERENCE, uuid4()) for _ in range(3)]) == []


async def test_who_is_told_to_end_while_it_waits_ends() -> None:
    silent = publisher(Silent())
    calls = [
        asyncio.create_task(silent.depth(topology.INFERENCE)),
        asyncio.create_task(silent.publish([TaskMessage(topology.INFERENCE, uuid4())])),
    ]
    await asyncio.sleep(0)
    for call in calls:
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(call, 5)
