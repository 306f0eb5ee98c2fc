"""PostgreSQL stopped or hanging: the API notices it in time, and needs no restart afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.integration.support import eventually, opened, rows, soon, thread_database, value

from placerank.db.pool import OUTAGES
from placerank.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from tools.services import Services

    from placerank.db.pool import AsyncDatabase, Database

TIMEOUT_S = 0.5
#: What libpq and psycopg wait for on their own is at least this long: connect_timeout.
LONGER_THAN_OURS_S = 2.0
#: For a machine that is busy with other things: a round of twenty requests took 1.2 s there without any outage.
RECOVERED_S = 15.0


@pytest.fixture(params=["stop", "kill", "pause"])
def outage(request: pytest.FixtureRequest, services: Services) -> Iterator[Outage]:
    if not services.owned("postgresql"):
        pytest.skip("PostgreSQL was not started here")
    found = Outage(services, request.param)
    yield found
    found.end()


class Outage:
    """An outage of PostgreSQL of one kind: stopped, killed or paused."""

    def __init__(self, services: Services, way: str) -> None:
        self._services = services
        self._way = way
        self._away = False

    def begin(self) -> None:
        self._away = True
        getattr(self._services, self._way)("postgresql")

    def end(self) -> None:
        if self._away:
            self._away = False
            back = self._services.resume if self._way == "pause" else self._services.start
            back("postgresql")


@contextmanager
def held(pid: int) -> Iterator[None]:
    """Suspends one process."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def answers(database: AsyncDatabase) -> bool:
    try:
        return bool(await database.fetch("versions"))
    except DatabaseUnavailable:
        return False


async def all_answer(database: AsyncDatabase) -> None:
    """Wait until twenty requests at once are all served."""
    deadline = time.monotonic() + RECOVERED_S
    while not all(await asyncio.gather(*(answers(database) for _ in range(20)))):
        assert time.monotonic() < deadline


async def test_a_request_hears_in_time_and_the_next_one_is_served(database_url: str, outage: Outage) -> None:
    async with opened(database_url, timeout_s=TIMEOUT_S) as database:
        await all_answer(database)
        outage.begin()
        for _ in range(4):
            begun = time.monotonic()
            with pytest.raises(DatabaseUnavailable) as raised:
                await database.fetch("versions")
            assert time.monotonic() - begun < LONGER_THAN_OURS_S
            assert raised.value.retry_after_s
            assert "SELECT" not in str(raised.value)
        crowd = await asyncio.gather(*(answers(database) for _ in range(100)))
        assert not any(crowd)
        outage.end()
        await all_answer(database)


def sleeping(database: AsyncDatabase, seconds: float) -> Callable[[], Coroutine[None, None, bool]]:
    """A statement that PostgreSQL answers after so many seconds."""

    async def run() -> bool:
        async with database.transaction() as transaction:
            await transaction.fetch("versions")
            await transaction._connection.execute("SELECT pg_sleep(%s)", [seconds])
            return True

    return run


async def test_a_process_that_stood_still_takes_the_answer_that_came_meanwhile(database_url: str) -> None:
    async with opened(database_url, timeout_s=TIMEOUT_S) as database:
        await all_answer(database)
        asked = asyncio.ensure_future(database.in_time(sleeping(database, 0.2)()))
        busy = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%%' AND state = 'active'"
        while not asked.done() and not await asyncio.to_thread(rows, database_url, busy):
            pass
        time.sleep(TIMEOUT_S + 0.5)  # noqa: ASYNC251 - the process stands still
        assert await asked


async def test_a_statement_that_was_given_up_does_not_end_the_next_one(database_url: str, services: Services) -> None:
    """PostgreSQL's supervisor hears of the wish to cancel only after the statement has ended by itself."""
    if not services.owned("postgresql"):
        pytest.skip("PostgreSQL was not started here")
    # Without encryption, as through a socket of the same machine, the wish is sent without waiting for the server.
    plain = f"{database_url}?sslmode=disable&gssencmode=disable"
    async with opened(plain, timeout_s=TIMEOUT_S, pool_size=1) as database:
        await all_answer(database)
        supervisor = value(database_url, "SELECT pg_catalog.pg_read_file('postmaster.pid', 0, 20)").split()[0]
        with held(int(supervisor)):
            with pytest.raises(DatabaseUnavailable):
                await database.in_time(sleeping(database, 7.0)())
            # psycopg waits for five seconds for its request, then for the statement.
            await soon(lambda: not database._abandoned)
        assert await database.in_time(sleeping(database, 1.0)(), 10.0)


@pytest.mark.parametrize("outage", ["stop"], indirect=True)
async def test_a_process_starts_while_the_database_is_away(database_url: str, outage: Outage) -> None:
    outage.begin()
    begun = time.monotonic()
    async with opened(database_url, timeout_s=TIMEOUT_S) as database:
        assert time.monotonic() - begun < 1
        assert not await answers(database)
        outage.end()
        deadline = time.monotonic() + 10
        while not await answers(database):
            assert time.monotonic() < deadline


def served(database: Database) -> bool:
    try:
        return bool(database.fetch("versions"))
    except OUTAGES:
        return False


@pytest.mark.parametrize("outage", ["kill"], indirect=True)
def test_a_worker_s_connections_come_back_too(database_url: str, outage: Outage) -> None:
    database = thread_database(database_url)
    assert served(database)
    outage.begin()
    outage.end()
    eventually(lambda: served(database), within_s=5)
    database.close()
