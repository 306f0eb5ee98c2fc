"""Every common spelling of an address is accepted; a wrong one is refused with a sentence."""

from __future__ import annotations

import pytest

from placerank.config import addresses


@pytest.mark.parametrize(
    "scheme",
    ["postgres", "postgresql", "postgresql+psycopg2", "postgresql+psycopg", "postgresql+asyncpg", "PostgreSQL"],
)
def test_every_driver_of_postgresql_is_the_same_address(scheme: str) -> None:
    assert addresses.postgresql(f"{scheme}://me:pw@db:5432/trips?sslmode=require") == (
        "postgresql://me:pw@db:5432/trips?sslmode=require"
    )


@pytest.mark.parametrize(
    "hosts",
    [
        "h1:5432,h2:5433",
        "h1,h2",
        "h1:,h2:5433",
        "[::1]:5432,h2",
        "h1:5432,[::1]:5432",
        "[::1],[::2]:5433",
        "%2Frun,h2:1",
    ],
)
def test_postgresql_may_have_several_hosts(hosts: str) -> None:
    url = f"postgresql://me:pw@{hosts}/trips?target_session_attrs=read-write"
    assert addresses.postgresql(url) == url
    assert "pw" not in addresses.hide_password(url)


@pytest.mark.parametrize(
    "url", ["postgresql:///trips?host=/run,/tmp&port=1,2", "postgresql://", "postgresql://h1,h2?a=:b"]
)
def test_what_is_no_host_is_left_to_libpq(url: str) -> None:
    assert addresses.postgresql(url) == url


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("pyamqp://me:pw@mq:5672//", "amqp://me:pw@mq:5672/%2F"),
        ("pyamqp://me:pw@mq:5672/", "amqp://me:pw@mq:5672/%2F"),
        ("amqp://me:pw@mq:5672", "amqp://me:pw@mq:5672/%2F"),
        ("amqp://me:pw@mq/%2f", "amqp://me:pw@mq/%2F"),
        ("amqp://me:pw@mq/%2F", "amqp://me:pw@mq/%2F"),
        ("pyamqp://me:pw@mq/trips", "amqp://me:pw@mq/trips"),
        ("pyamqp://me:pw@mq//trips", "amqp://me:pw@mq/%2Ftrips"),
        ("AMQP://me:pw@mq/trips", "amqp://me:pw@mq/trips"),
        ("librabbitmq://me:pw@mq/trips", "amqp://me:pw@mq/trips"),
        ("amqps://me:pw@mq:5671/trips", "amqps://me:pw@mq:5671/trips"),
        ("pyamqps://me:pw@mq:5671/trips", "amqps://me:pw@mq:5671/trips"),
        ("amqp://me:p%40w@mq/trips?heartbeat=10", "amqp://me:p%40w@mq/trips?heartbeat=10"),
        ("memory://", "memory://"),
        ("memory://localhost/", "memory://"),
        (" amqp://mq/trips\n", "amqp://mq/trips"),
    ],
)
def test_every_spelling_of_a_broker_is_brought_to_one(given: str, normal: str) -> None:
    assert addresses.amqp(given) == normal
    assert addresses.amqp(normal) == normal


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("redis://:pw@cache:6379/3", "redis://:pw@cache:6379/3"),
        ("REDIS://cache", "redis://cache"),
        ("rediss://cache:6380/0", "rediss://cache:6380/0"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
    ],
)
def test_every_spelling_of_redis_is_taken(given: str, normal: str) -> None:
    assert addresses.redis(given) == normal


@pytest.mark.parametrize(
    ("normalise", "wrong", "says"),
    [
        (addresses.postgresql, "mysql://db/trips", "must begin with postgresql://"),
        (addresses.postgresql, "db:5432/trips", "is not an address"),
        (addresses.postgresql, "", "is not an address"),
        (addresses.postgresql, "postgresql://db:many/trips", "port is not a number"),
        (addresses.postgresql, "postgresql://db:99999/trips", "port is not a number"),
        (addresses.postgresql, "postgresql://h1:5432,h2:many/trips", "port is not a number"),
        (addresses.postgresql, "postgresql://me:pw@h1:99999,h2:5432/trips", "port is not a number"),
        (addresses.amqp, "http://mq", "must begin with amqp://"),
        (addresses.amqp, "amqp://mq:port/", "port is not a number"),
        (addresses.redis, "amqp://cache", "must begin with redis://"),
        (addresses.redis, "redis://cache/trips", "must be a number"),
        (addresses.redis, "rediss://cache/0?ssl_ca_certs=", "its parameter ssl_ca_certs has no value"),
        (addresses.redis, "rediss://cache/0?ssl_cert_reqs=", "its parameter ssl_cert_reqs has no value"),
        (addresses.redis, "rediss://cache/0?ssl_cert_reqs=requierd", "its parameter ssl_cert_reqs must be one of"),
        (addresses.amqp, "amqps://mq/trips?cafile=%20", "its parameter cafile has no value"),
        (addresses.amqp, "amqps://mq/trips?ssl_ca_certs", "its parameter ssl_ca_certs has no value"),
        (addresses.postgresql, "postgresql://db/trips?sslmode", "its parameter sslmode has no value"),
        (addresses.postgresql, "postgresql://me@db/trips?ss@db", "a parameter of it has no value"),
    ],
)
def test_a_wrong_address_gets_a_sentence(normalise: object, wrong: str, says: str) -> None:
    assert callable(normalise)
    with pytest.raises(ValueError, match=says):
        normalise(wrong)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://me:secret@mq:5672/trips", "amqp://me:***@mq:5672/trips"),
        ("redis://:secret@cache/0", "redis://:***@cache/0"),
        ("redis://cache/0", "redis://cache/0"),
        (
            "postgresql://me:sec%40ret@[::1]:5432/trips?sslmode=require",
            "postgresql://me:***@[::1]:5432/trips?sslmode=require",
        ),
        (
            "postgresql://me:secret@h1:5432,h2:5432/trips?target_session_attrs=read-write",
            "postgresql://me:***@h1:5432,h2:5432/trips?target_session_attrs=read-write",
        ),
        ("postgresql://[secret", "***"),
    ],
)
def test_passwords_are_hidden(url: str, shown: str) -> None:
    assert addresses.hide_password(url) == shown


def test_a_password_in_the_query_is_hidden_too() -> None:
    assert "secret" not in addresses.hide_password("postgresql://db/trips?user=me&password=secret&sslmode=require")
