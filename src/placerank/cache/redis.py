"""The cache in Redis: one key for each finished task, and one channel that announces finished tasks."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, cast

from redis import BlockingConnectionPool, Redis, RedisError
from redis import asyncio as aioredis
from redis.exceptions import AuthenticationError, NoPermissionError

from placerank.cache import announcement
from placerank.cache.announcement import CHANNEL
from placerank.supervision.cancellation import told_to_end
from placerank.supervision.tasks import SupervisedTask
from placerank.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from redis.asyncio.client import PubSub

    from placerank.cache.ports import Listener

log = logging.getLogger(__name__)

_ERRORS = (RedisError, OSError, TimeoutError)
#: On an event loop also a ``CancelledError``, unless this task was told to end: a lost connection cancels its calls.
_LOOP_ERRORS = (*_ERRORS, asyncio.CancelledError)
#: Records just received or read stay in memory for about this long: clients read status and results in a row.
_NEAR_S = 1.0
_MOST_NEAR = 1_000
#: After a failure Redis is not called for this long, so that an outage costs one time-out, not one for each call.
_REST_S = 1.0
#: After this long without a message the subscription is pinged. Without a reply for as long again it is reopened.
_SILENCE_S = 5.0
_PROBE_S = 3.0


def key_of(task_id: UUID) -> str:
    """The Redis key of a task's record."""
    return f"placerank:answer:{task_id}"


def refused(url: str) -> str | None:
    """Why Redis refuses these credentials, in a sentence; none if it accepts them or is unreachable."""
    try:
        with Redis.from_url(url, socket_timeout=_PROBE_S, socket_connect_timeout=_PROBE_S) as redis:
            redis.ping()
    except (AuthenticationError, NoPermissionError) as error:
        return f"Redis refuses user or password: {error}"
    except _ERRORS:
        return None
    return None


class _Rest:
    """True for ``_REST_S`` after a failure: Redis is not called meanwhile."""

    def __init__(self) -> None:
        self._until = 0.0

    def __bool__(self) -> bool:
        return time.monotonic() < self._until

    def after(self, error: BaseException) -> None:
        """Start or extend the rest; a failure that starts it is logged."""
        _raise_if_told_to_end(error)
        metrics.CACHE_FAILURES.inc()
        if not self:
            log.warning("cache: Redis does not answer: %s", error)
        self._until = time.monotonic() + _REST_S


def _raise_if_told_to_end(error: BaseException) -> None:
    if isinstance(error, asyncio.CancelledError) and told_to_end():
        raise error


class _Near:
    """Records in memory for about a second, in two generations; the older one is dropped as a whole."""

    def __init__(self) -> None:
        self._young: dict[UUID, bytes] = {}
        self._old: dict[UUID, bytes] = {}
        self._since = time.monotonic()

    def get(self, task_id: UUID) -> bytes | None:
        """The record, if it is here."""
        self._turn()
        return self._young.get(task_id) or self._old.get(task_id)

    def keep(self, records: Mapping[UUID, bytes]) -> None:
        """Add records."""
        self._turn()
        self._young.update(records)

    def drop(self, task_ids: Sequence[UUID]) -> None:
        """Drop records."""
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
    """The API's cache in Redis, for an event loop."""

    def __init__(self, url: str, *, ttl_s: int, timeout_s: float) -> None:
        self._ttl_s = ttl_s
        pool = aioredis.BlockingConnectionPool.from_url(
            url, max_connections=4, timeout=timeout_s, socket_timeout=timeout_s, socket_connect_timeout=timeout_s
        )
        self._redis = aioredis.Redis.from_pool(pool)
        # The subscriber waits for announcements, so its connection has no read time-out.
        self._subscriber = aioredis.Redis.from_url(url, socket_connect_timeout=timeout_s)
        self._rest = _Rest()
        self._near = _Near()
        self._listening = False
        self._foreign = False
        self._listener: Listener = lambda _: None
        self._task = SupervisedTask("cache listener", self._listen)

    @property
    def listening(self) -> bool:
        """Whether every wake-up arrives at present."""
        return self._listening

    async def open(self, listener: Listener) -> None:
        """Start listening for finished tasks, without waiting for a connection."""
        self._listener = listener
        self._task.start()

    async def close(self) -> None:
        """Close every connection."""
        await self._task.stop()
        await self._subscriber.aclose()
        await self._redis.aclose()

    def near(self, task_id: UUID) -> bytes | None:
        """The record of a finished task, if it was received or read within about ``_NEAR_S``."""
        record = self._near.get(task_id)
        if record is not None:
            metrics.cache_reads("near").inc()
        return record

    async def get(self, task_ids: Sequence[UUID]) -> dict[UUID, bytes]:
        """The records of those tasks that are known to have finished."""
        if self._rest or not task_ids:
            return {}
        try:
            values = cast("list[bytes | None]", await self._redis.mget([key_of(task_id) for task_id in task_ids]))
        except _LOOP_ERRORS as error:
            self._rest.after(error)
            return {}
        read = {task_id: value for task_id, value in zip(task_ids, values, strict=True) if value is not None}
        self._near.keep(read)
        metrics.cache_reads("hit").inc(len(read))
        metrics.cache_reads("miss").inc(len(task_ids) - len(read))
        return read

    async def put(self, records: Mapping[UUID, bytes], *, wake: bool) -> None:
        """Remember records; with ``wake`` tell every listener."""
        if self._rest or not records:
            return
        pipeline = self._redis.pipeline(transaction=False)
        for task_id, record in records.items():
            pipeline.set(key_of(task_id), record, ex=self._ttl_s)
        if wake:
            # This is rare. The announcement carries no records; each API reads them itself.
            pipeline.publish(CHANNEL, announcement.encode(dict.fromkeys(records, b""), 1))
        try:
            await pipeline.execute()
        except _LOOP_ERRORS as error:
            self._rest.after(error)

    async def forget(self, task_ids: Sequence[UUID]) -> None:
        """Drop records."""
        self._near.drop(task_ids)
        if not task_ids:
            return
        try:
            await self._redis.delete(*(key_of(task_id) for task_id in task_ids))
        except _LOOP_ERRORS as error:
            self._rest.after(error)

    async def alive(self) -> bool:
        """Whether Redis answers."""
        try:
            return bool(await self._redis.ping())
        except _LOOP_ERRORS as error:
            _raise_if_told_to_end(error)
            return False

    async def _hear(self, pubsub: PubSub) -> None:
        """Pass announcements on; raises when the connection is lost, or when Redis stops answering on it."""
        asked = False
        while True:
            message = await pubsub.get_message(timeout=_SILENCE_S)
            if message is None:
                if asked:
                    raise TimeoutError("Redis has stopped answering")
                asked = True
                await pubsub.ping()
                continue
            asked, self._listening = False, True
            if message["type"] == "message":
                self._heard(message["data"])

    def _heard(self, data: bytes) -> None:
        try:
            records = announcement.decode(data)
        except ValueError as error:
            metrics.RECORDS_REFUSED.labels("announcement").inc()
            # Whoever sends them may send many; one line for all that come without a good one in between.
            if not self._foreign:
                log.error("cache: ignored a malformed or foreign message on %s: %s", CHANNEL, error)  # noqa: TRY400
            self._foreign = True
            return
        self._foreign = False
        self._near.keep({task_id: record for task_id, record in records.items() if record})
        self._listener(list(records))

    async def _listen(self) -> None:
        while not told_to_end():
            try:
                async with self._subscriber.pubsub() as pubsub:
                    await pubsub.subscribe(CHANNEL)
                    await self._hear(pubsub)
            except _LOOP_ERRORS as error:
                _raise_if_told_to_end(error)
                # Without wake-ups the API works, only slower.
                if self._listening:
                    log.warning("cache: wake-ups are lost until Redis is back: %s", error)
            finally:
                self._listening = False
            await asyncio.sleep(0.5)


class RedisWorkerCache:
    """The workers' cache in Redis, for threads."""

    def __init__(self, url: str, *, ttl_s: int, timeout_s: float) -> None:
        self._ttl_s = ttl_s
        self._rest = _Rest()
        self._listeners = 1
        self._redis = Redis.from_pool(
            BlockingConnectionPool.from_url(
                url, max_connections=2, timeout=timeout_s, socket_timeout=timeout_s, socket_connect_timeout=timeout_s
            )
        )

    def store(self, records: Mapping[UUID, bytes]) -> None:
        """Remember records and tell every listener, in one round trip."""
        if self._rest or not records:
            return
        pipeline = self._redis.pipeline(transaction=False)
        for task_id, record in records.items():
            pipeline.set(key_of(task_id), record, ex=self._ttl_s)
        pipeline.publish(CHANNEL, announcement.encode(records, self._listeners))
        try:
            # PUBLISH returns the number of subscribers that received it.
            self._listeners = pipeline.execute()[-1]
        except _ERRORS as error:
            self._rest.after(error)

    def close(self) -> None:
        """Close every connection."""
        self._redis.close()
