"""Fixtures for all tests: services, databases, virtual hosts, Redis databases."""

from __future__ import annotations

import itertools
import os
import secrets
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pytest

# ``tools`` is not part of the installed package.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.services import Services, ServiceUnavailable, start

from placerank.config import addresses
from placerank.db.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Redis has sixteen databases. Tests use them in turn, except the first two.
_CACHES = itertools.cycle(range(2, 16))


def pytest_configure() -> None:
    """Handle SIGINT again if a shell made its background job ignore it: processes that tests start inherit this."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def in_ci() -> bool:
    """Whether tests run in CI: there a missing service is a failure, elsewhere its tests are skipped."""
    return os.environ.get("CI", "").lower() not in {"", "0", "false"}


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """PostgreSQL, RabbitMQ and Redis: from the environment, or started for this run of the tests."""
    try:
        # Packages are installed only as root: that is a container or a CI machine, not a personal computer.
        found = start(install=os.geteuid() == 0)
    except ServiceUnavailable as missing:
        if in_ci():
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    with found:
        yield found


@pytest.fixture(scope="session")
def template_database(services: Services) -> str:
    """The name of a migrated database to copy from. It has no open connections."""
    name = f"template_{secrets.token_hex(4)}"
    migrate(addresses.postgresql(services.create_database(name)))
    return name


@pytest.fixture(scope="session")
def new_database(services: Services, template_database: str) -> Iterator[Callable[[], str]]:
    """Creates a new migrated database at each call. On a server of others they are dropped at the end."""
    server, made = addresses.postgresql(services.database_url), [template_database]

    def make() -> str:
        made.append(f"test_{secrets.token_hex(4)}")
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {made[-1]} TEMPLATE {template_database}".encode())
        return urlsplit(server)._replace(path=f"/{made[-1]}").geturl()

    yield make
    if services.owned("postgresql"):
        return
    with psycopg.connect(server, autocommit=True) as connection:
        for name in made:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())


@pytest.fixture
def database_url(new_database: Callable[[], str]) -> str:
    """A fresh migrated database."""
    return new_database()


@pytest.fixture
def broker_url(services: Services) -> str:
    """A fresh virtual host with the project's queues."""
    if services.management_url is None:
        pytest.skip("the address of the broker's management API is not known")
    return addresses.amqp(services.create_vhost(f"test_{secrets.token_hex(4)}"))


@pytest.fixture
def cache_url(services: Services) -> str:
    """An empty Redis database for one test."""
    import redis

    url = urlsplit(services.cache_url)._replace(path=f"/{next(_CACHES)}").geturl()
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url
