"""PostgreSQL stopped or hanging: the API notices it in time, and needs no restart afterwards."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from tests.integration.support import eventually, opened, thread_database

from placerank.db.pool import OUTAGES
from placerank.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.services import Services

    from placerank.db.pool import AsyncDatabase, Database

TIMEOUT_S = 0.5


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


async def answers(database: AsyncDatabase) -> bool:
    try:
        return bool(await database.fetch("versions"))
    except DatabaseUnavailable:
        return False


async def test_a_request_hears_in_time_and_the_next_one_is_served(database_url: str, outage: Outage) -> None:
    async with opened(database_url, timeout_s=TIMEOUT_S) as database:
        assert all(await asyncio.gather(*(answers(database) for _ in range(20))))
        outage.begin()
        for _ in range(4):
            begun = time.monotonic()
            with pytest.raises(DatabaseUnavailable) as raised:
                await database.fetch("versions")
            assert time.monotonic() - begun < TIMEOUT_S + 0.3
            assert raised.value.retry_after_s
            assert "SELECT" not in str(raised.value)
        crowd = await asyncio.gather(*(answers(database) for _ in range(100)))
        assert not any(crowd)
        outage.end()
        begun = time.monotonic()
        while not await answers(database):
            assert time.monotonic() - begun < 5
        assert time.monotonic() - begun < 3
        assert all(await asyncio.gather(*(answers(database) for _ in range(20))))


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
