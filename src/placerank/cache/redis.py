"""The cache in Redis: one key a finished task, and one channel on which finished ids are announced."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, cast
from uuid import UUID

from redis import BlockingConnectionPool, Redis, RedisError
from redis import asyncio as aioredis
from redis.exceptions import AuthenticationError, NoPermissionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis.asyncio.client import PubSub

    from placerank.cache.ports import Listener

log = logging.getLogger(__name__)

CHANNEL = "placerank:finished"
_ERRORS = (RedisError, OSError, TimeoutError)
#: Records just read or written are kept here for about so long: status and results are asked one after the other.
_NEAR_S = 1.0
_MOST_NEAR = 1_000
#: After a failure Redis is passed over for this long, so that an outage costs one time-out, not one a call.
_REST_S = 1.0
_ID_BYTES = 16
#: After so many seconds without a word the subscription is asked for one, and given up without an answer.
_SILENCE_S = 5.0
_PROBE_S = 3.0


def key_of(task_id: UUID) -> str:
    """Where the record of a task stands."""
    return f"placerank:answer:{task_id}"


def _announcement(task_ids: Sequence[UUID]) -> bytes:
    return b"".join(task_id.bytes for task_id in task_ids)


def _announced(data: bytes) -> list[UUID]:
    return [UUID(bytes=data[start : start + _ID_BYTES]) for start in range(0, len(data), _ID_BYTES)]


def refused(url: str) -> str | None:
    """Why Redis refuses these credentials, in a sentence; none when it takes them, or is away."""
    try:
        with Redis.from_url(url, socket_timeout=_PROBE_S, socket_connect_timeout=_PROBE_S) as redis:
            redis.ping()
    except (AuthenticationError, NoPermissionError) as error:
        return f"Redis refuses user or password: {error}"
    except _ERRORS:
        return None
    return None


class _Rest:
    """Remembers a failure for a while."""

    def __init__(self) -> None:
        self._until = 0.0

    def __bool__(self) -> bool:
        return time.monotonic() < self._until

    def after(self, error: BaseException) -> None:
        """Begin to rest; the first failure is logged."""
        if not self:
            log.warning("cache: Redis does not answer: %s", error)
        self._until = time.monotonic() + _REST_S


class _Near:
    """Records in memory for a second: two generations, of which the older one is dropped whole."""

    def __init__(self) -> None:
        self._young: dict[UUID, bytes] = {}
        self._old: dict[UUID, bytes] = {}
        self._since = time.monotonic()

    def get(self, task_id: UUID) -> bytes | None:
        """The record, if it is here."""
        self._turn()
        return self._young.get(task_id) or self._old.get(task_id)

    def keep(self, records: Mapping[UUID, bytes]) -> None:
        """Take records in."""
        self._turn()
        self._young.update(records)

    def drop(self, task_ids: Sequence[UUID]) -> None:
        """Let records go."""
        for task_id in task_ids:
            self._young.pop(task_id, None)
            self._old.pop(task_id, None)

    def _turn(self) -> None:
        now = time.monotonic()
        age = now - self._since
        if age > _NEAR_S / 2 or len(self._young) > _MOST_NEAR:
            self._old = self._young if age <= _NEAR_S else {}
            self._young, self._since = {}, now


class RedisApiCache:
    """Redis for an event loop."""

    def __init__(self, url: str, *, ttl_s: int, timeout_s: float) -> None:
        self._ttl_s = ttl_s
        pool = aioredis.BlockingConnectionPool.from_url(
            url, max_connections=4, timeout=timeout_s, socket_timeout=timeout_s, socket_connect_timeout=timeout_s
        )
        self._redis = aioredis.Redis.from_pool(pool)
        # A connection of its own without a read time-out: it waits for announcements.
        self._subscriber = aioredis.Redis.from_url(url, socket_connect_timeout=timeout_s)
        self._rest = _Rest()
        self._near = _Near()
        self._listening = False
        self._task: asyncio.Task[None] | None = None

    @property
    def listening(self) -> bool:
        """Whether every wake-up arrives at present."""
        return self._listening

    async def open(self, listener: Listener) -> None:
        """Start listening for finished tasks, without waiting for a connection."""
        self._task = asyncio.create_task(self._listen(listener), name="cache listener")

    async def close(self) -> None:
        """Close every connection."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._subscriber.aclose()
        await self._redis.aclose()

    async def get(self, task_ids: Sequence[UUID]) -> dict[UUID, bytes]:
        """The records of those tasks that are known to have finished."""
        near = {task_id: record for task_id in task_ids if (record := self._near.get(task_id)) is not None}
        asked = [task_id for task_id in task_ids if task_id not in near]
        if self._rest or not asked:
            return near
        try:
            values = cast("list[bytes | None]", await self._redis.mget([key_of(task_id) for task_id in asked]))
        except _ERRORS as error:
            self._rest.after(error)
            return near
        read = {task_id: value for task_id, value in zip(asked, values, strict=True) if value is not None}
        self._near.keep(read)
        return near | read

    async def put(self, records: Mapping[UUID, bytes], *, wake: bool) -> None:
        """Remember records; with ``wake`` tell every listener."""
        if self._rest or not records:
            return
        pipeline = self._redis.pipeline(transaction=False)
        for task_id, record in records.items():
            pipeline.set(key_of(task_id), record, ex=self._ttl_s)
        if wake:
            pipeline.publish(CHANNEL, _announcement(list(records)))
        try:
            await pipeline.execute()
        except _ERRORS as error:
            self._rest.after(error)

    async def forget(self, task_ids: Sequence[UUID]) -> None:
        """Drop records."""
        self._near.drop(task_ids)
        if not task_ids:
            return
        try:
            await self._redis.delete(*(key_of(task_id) for task_id in task_ids))
        except _ERRORS as error:
            self._rest.after(error)

    async def alive(self) -> bool:
        """Whether Redis answers."""
        try:
            return bool(await self._redis.ping())
        except _ERRORS:
            return False

    async def _hear(self, pubsub: PubSub, listener: Listener) -> None:
        """Pass announcements on; raises when the connection is gone, be it without a word."""
        asked = False
        while True:
            message = await pubsub.get_message(timeout=_SILENCE_S)
            if message is None:
                if asked:
                    raise TimeoutError("Redis has fallen silent")
                asked = True
                await pubsub.ping()
                continue
            asked, self._listening = False, True
            if message["type"] == "message" and len(message["data"]) % _ID_BYTES == 0:
                listener(_announced(message["data"]))

    async def _listen(self, listener: Listener) -> None:
        while True:
            try:
                async with self._subscriber.pubsub() as pubsub:
                    await pubsub.subscribe(CHANNEL)
                    await self._hear(pubsub, listener)
            except Exception as error:  # noqa: BLE001 - without wake-ups everything goes on, only slower
                if self._listening:
                    log.warning("cache: wake-ups are lost until Redis is back: %s", error)
            finally:
                self._listening = False
            await asyncio.sleep(0.5)


class RedisWorkerCache:
    """Redis for threads."""

    def __init__(self, url: str, *, ttl_s: int, timeout_s: float) -> None:
        self._ttl_s = ttl_s
        self._rest = _Rest()
        self._redis = Redis.from_pool(
            BlockingConnectionPool.from_url(
                url, max_connections=2, timeout=timeout_s, socket_timeout=timeout_s, socket_connect_timeout=timeout_s
            )
        )

    def store(self, records: Mapping[UUID, bytes]) -> None:
        """Remember records and tell every listener, in one trip."""
        if self._rest or not records:
            return
        pipeline = self._redis.pipeline(transaction=False)
        for task_id, record in records.items():
            pipeline.set(key_of(task_id), record, ex=self._ttl_s)
        pipeline.publish(CHANNEL, _announcement(list(records)))
        try:
            pipeline.execute()
        except _ERRORS as error:
            self._rest.after(error)

    def close(self) -> None:
        """Close every connection."""
        self._redis.close()
