"""Connection pools that give up after a timeout and reconnect by themselves."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout

from placerank.db.statements import statement
from placerank.errors import DatabaseUnavailable, NotMigrated
from placerank.supervision.cancellation import told_to_end
from placerank.telemetry import metrics
from placerank.telemetry.pools import watch_pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

log = logging.getLogger(__name__)

T = TypeVar("T")

#: A generator that yields a statement's name and parameters, and gets its rows. The caller, sync or async, owns the
#: transaction.
Steps: TypeAlias = Generator[tuple[str, Mapping[str, Any] | None], list[DictRow], T]

#: What psycopg raises if the database is unreachable, or has become read-only after a failover.
OUTAGES = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction, PoolTimeout)

#: After this many seconds a pool stops its own attempts, and the next request starts a new one. Otherwise requests
#: would wait for the pool's back-off, which grows to minutes.
_RECONNECT_S = 2.0
#: A timer that fires this late says that this process stood still, not that the database was slow.
_LATE_S = 0.05


def connection_options(application_name: str) -> dict[str, Any]:
    """The options of every connection: each statement commits by itself, and a dead peer is noticed within seconds."""
    return {
        "autocommit": True,
        "row_factory": dict_row,
        "application_name": application_name,
        "connect_timeout": 2,
        "keepalives_idle": 10,
        "keepalives_interval": 3,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }


class AsyncDatabase:
    """PostgreSQL for an event loop. Each ``fetch`` is one statement and one commit."""

    def __init__(self, url: str, *, application_name: str, pool_size: int, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._name = application_name
        self._unwatch: Callable[[], None] = lambda: None
        self._abandoned: set[asyncio.Task[Any]] = set()
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection[DictRow]] = AsyncConnectionPool(
            url,
            kwargs=connection_options(application_name),
            min_size=1,
            max_size=pool_size,
            timeout=timeout_s,
            reconnect_timeout=_RECONNECT_S,
            open=False,
        )

    async def open(self) -> None:
        """Start connecting, without waiting for it."""
        await self._pool.open()
        self._unwatch = watch_pool(self._name, self._pool)

    async def close(self) -> None:
        """Close every connection."""
        for task in self._abandoned:
            task.cancel()
        self._unwatch()
        await self._pool.close(timeout=1)

    async def fetch(
        self, name: str, params: Mapping[str, Any] | None = None, *, timeout_s: float | None = None
    ) -> list[DictRow]:
        """Run the named statement and return its rows; raises ``DatabaseUnavailable`` when it takes too long."""
        return await self.in_time(self._fetch(name, params), timeout_s)

    async def in_time(self, work: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """Await work for ``timeout_s`` at most, by default the timeout of requests; raises ``DatabaseUnavailable``."""
        task = asyncio.ensure_future(work)
        # Not asyncio.timeout: if psycopg is cancelled, it asks the server to cancel. A hung server hangs that too.
        if not await _ended(task, timeout_s or self._timeout_s):
            self._abandon(task)
            raise DatabaseUnavailable("The database did not answer in time; try again.")
        with _explained():
            return task.result()

    async def reach(self) -> None:
        """Raise ``DatabaseUnavailable`` if the database does not answer."""
        await self.fetch("versions")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncTransaction]:
        """A transaction of several statements. It has no timeout of its own: a request awaits it with ``in_time``."""
        with _explained():
            async with self._pool.connection() as connection:
                try:
                    async with connection.transaction():
                        yield AsyncTransaction(connection)
                except asyncio.CancelledError:
                    # As in ``_fetch``.
                    await connection.close()
                    raise

    async def schema_revision(self) -> str:
        """The revision that the database is at; empty before the first migration."""
        try:
            return str((await self.fetch("schema_revision"))[0]["version_num"])
        except (NotMigrated, IndexError):
            return ""

    async def _fetch(self, name: str, params: Mapping[str, Any] | None) -> list[DictRow]:
        async with self._pool.connection() as connection:
            try:
                return await _timed(connection, name, params)
            except (psycopg.OperationalError, psycopg.InterfaceError):
                # If one connection has died, others often have too: check the idle ones before they fail requests.
                if connection.broken:
                    self._check_soon()
                raise
            except asyncio.CancelledError:
                # The server may get psycopg's request to cancel much later. It would end whatever runs then.
                await connection.close()
                raise

    def _check_soon(self) -> None:
        task = asyncio.ensure_future(self._pool.check())
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _abandon(self, task: asyncio.Task[Any]) -> None:
        task.cancel()
        self._abandoned.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            task.exception()


async def _ended(task: asyncio.Task[Any], within_s: float) -> bool:
    """Whether the task ended in time. If this process stood still meanwhile, what has arrived gets as long again."""
    loop = asyncio.get_running_loop()
    due = loop.time() + within_s
    done, _ = await asyncio.wait({task}, timeout=within_s)
    late_s = loop.time() - due
    if not done and late_s > _LATE_S:
        done, _ = await asyncio.wait({task}, timeout=min(late_s, within_s))
    return bool(done)


@contextmanager
def _explained() -> Iterator[None]:
    """Translate the errors that psycopg raises in an outage into those that clients get."""
    try:
        yield
    except psycopg.errors.UndefinedTable as error:
        raise NotMigrated("The database has not been migrated yet: run placerank migrate.") from error
    except OUTAGES as error:
        metrics.DATABASE_FAILURES.inc()
        log.warning("database: %s: %s", type(error).__name__, " ".join(str(error).split()))
        raise DatabaseUnavailable("The database cannot be reached at the moment; try again.") from error
    except asyncio.CancelledError as error:
        if told_to_end():
            raise
        metrics.DATABASE_FAILURES.inc()
        raise DatabaseUnavailable("The connection to the database was lost; try again.") from error


class AsyncTransaction:
    """An open transaction."""

    def __init__(self, connection: psycopg.AsyncConnection[DictRow]) -> None:
        self._connection = connection

    async def fetch(self, name: str, params: Mapping[str, Any] | None = None) -> list[DictRow]:
        """Run the named statement and return its rows."""
        return await _timed(self._connection, name, params)

    async def follow(self, steps: Steps[T]) -> T:
        """Run these statements one after the other and return the result of ``steps``."""
        try:
            step = next(steps)
            while True:
                step = steps.send(await self.fetch(*step))
        except StopIteration as done:
            return cast("T", done.value)


async def _timed(
    connection: psycopg.AsyncConnection[DictRow], name: str, params: Mapping[str, Any] | None
) -> list[DictRow]:
    began = time.perf_counter()
    cursor = await connection.execute(statement(name), params)
    rows = await cursor.fetchall() if cursor.description else []
    metrics.statement_duration(name).observe(time.perf_counter() - began)
    return rows


class Database:
    """PostgreSQL for threads. Raises psycopg's own errors: the caller decides whether to wait and retry."""

    def __init__(self, url: str, *, application_name: str, pool_size: int) -> None:
        self._name = application_name
        self._unwatch: Callable[[], None] = lambda: None
        self._pool: ConnectionPool[psycopg.Connection[DictRow]] = ConnectionPool(
            url,
            kwargs=connection_options(application_name),
            min_size=1,
            max_size=pool_size,
            timeout=5,
            reconnect_timeout=_RECONNECT_S,
            open=False,
        )

    def open(self) -> None:
        """Start connecting, without waiting for it."""
        self._pool.open()
        self._unwatch = watch_pool(self._name, self._pool)

    def close(self) -> None:
        """Close every connection."""
        self._unwatch()
        self._pool.close(timeout=1)

    def fetch(self, name: str, params: Mapping[str, Any] | None = None) -> list[DictRow]:
        """Run the named statement, in a transaction of its own, and return its rows."""
        with self._pool.connection() as connection:
            return run(connection, name, params)

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection[DictRow]]:
        """A connection with an open transaction, for several calls of ``run``."""
        with self._pool.connection() as connection, connection.transaction():
            yield connection


def run(connection: psycopg.Connection[DictRow], name: str, params: Mapping[str, Any] | None = None) -> list[DictRow]:
    """Run the named statement on this connection and return its rows."""
    began = time.perf_counter()
    cursor = connection.execute(statement(name), params)
    rows = cursor.fetchall() if cursor.description else []
    metrics.statement_duration(name).observe(time.perf_counter() - began)
    return rows


def follow(connection: psycopg.Connection[DictRow], steps: Steps[T]) -> T:
    """Run these statements one after the other on this connection and return the result of ``steps``."""
    try:
        step = next(steps)
        while True:
            step = steps.send(run(connection, *step))
    except StopIteration as done:
        return cast("T", done.value)
