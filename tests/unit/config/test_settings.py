"""Settings: every one has a variable, and a wrong one stops the start with a sentence that names it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from placerank import runtime
from placerank.config import addresses, settings
from placerank.errors import ConfigurationError

WELL_KNOWN = ("DATABASE_URL", "CELERY_BROKER_URL", "CELERY_BACKEND_URL")


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.upper().startswith("PLACERANK_") or name in WELL_KNOWN:
            monkeypatch.delenv(name)


def every_setting() -> list[tuple[str, str, Any]]:
    return [
        (group, name, getattr(field.default, name))
        for group, field in settings.Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        for name in field.annotation.model_fields
    ]


#: Another valid value for settings where "default plus one" is not valid.
OTHER: dict[str, str] = {
    "broker.management_url": "http://me:pw@mq:15672",
    "api.keys": "one,two",
    "api.admin_keys": "three",
    "inference.deadline_s": "30.0",
    "worker.batch_size": "32",
    "worker.threads": "128",
    "worker.device": "cpu",
    "canary.shares": "10,100",
    "worker.heartbeat_file": "/run/beat",
    "telemetry.log_level": "DEBUG",
    "telemetry.log_format": "json",
}


def other(setting: str, default: Any) -> str:
    if setting in OTHER:
        return OTHER[setting]
    return str(default + 1) if isinstance(default, int | float) else "something"


def test_the_defaults_are_those_of_the_contract() -> None:
    found = settings.load()
    assert found.api.port == 8000
    assert found.inference.answer_size == 10
    assert found.inference.backlog_limit == 100_000
    assert found.inference.deadline_s is None
    assert found.relay.lost_after_s == 60
    assert found.worker.device == "auto"
    assert found.telemetry.metrics_port == 0
    assert found.api.keys.get_secret_value() == ""


@pytest.mark.parametrize("shares", ["", "5", "50,25,100", "0,100", "5,5,100", "few,100", "100,200"])
def test_shares_of_a_canary_rise_to_all(shares: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACERANK_CANARY__SHARES", shares)
    with pytest.raises(ConfigurationError, match=r"PLACERANK_CANARY__SHARES.*increasing"):
        settings.load()


@pytest.mark.parametrize(("group", "name", "default"), every_setting())
def test_every_setting_has_its_variable(group: str, name: str, default: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = other(f"{group}.{name}", default)
    monkeypatch.setenv("PLACERANK_API__ADMIN_KEYS", "three")
    monkeypatch.setenv(f"PLACERANK_{group}__{name}".upper(), wanted)
    found = getattr(getattr(settings.load(), group), name)
    if isinstance(found, SecretStr):
        assert found.get_secret_value() == wanted
    elif isinstance(found, int | float):
        assert found == float(wanted)
    else:
        assert str(found) == wanted
    if name != "admin_keys":
        assert found != default


def test_every_well_known_variable_is_read_and_normalised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql+psycopg2://me:pw@db/trips")
    monkeypatch.setenv("CELERY_BROKER_URL", "pyamqp://me:pw@mq//")
    monkeypatch.setenv("CELERY_BACKEND_URL", "redis://cache/2")
    found = settings.load()
    assert found.database_url.get_secret_value() == "postgresql://me:pw@db/trips"
    assert found.broker_url.get_secret_value() == "amqp://me:pw@mq/%2F"
    assert found.backend_url.get_secret_value() == "redis://cache/2"


ADDRESSES = [
    ("database_url", "DATABASE_URL", "PLACERANK_DATABASE", "postgresql://{}db/trips"),
    ("broker_url", "CELERY_BROKER_URL", "PLACERANK_BROKER", "amqp://{}mq/trips"),
    ("backend_url", "CELERY_BACKEND_URL", "PLACERANK_CACHE", "redis://{}cache/2"),
]


@pytest.mark.parametrize(("field", "variable", "group", "address"), ADDRESSES)
def test_user_and_password_may_stand_apart_from_the_address_with_any_characters(
    field: str, variable: str, group: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, address.format(""))
    monkeypatch.setenv(f"{group}__USER", "me")
    monkeypatch.setenv(f"{group}__PASSWORD", "p@:/ %w")
    found = getattr(settings.load(), field).get_secret_value()
    assert found == address.format("me:p%40%3A%2F%20%25w@")
    assert addresses.credentials(found) == ("me", "p@:/ %w")


@pytest.mark.parametrize(("field", "variable", "group", "address"), ADDRESSES)
def test_an_address_and_a_password_that_both_say_who_connects_contradict_each_other(
    field: str, variable: str, group: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, address.format("me:hidden@"))
    monkeypatch.setenv(f"{group}__PASSWORD", "hidden")
    with pytest.raises(ConfigurationError, match=f"{variable} and {group}__PASSWORD") as raised:
        settings.load()
    assert "hidden" not in str(raised.value)


def test_a_user_takes_the_place_of_the_default_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACERANK_DATABASE__USER", "me")
    assert settings.load().database_url.get_secret_value() == "postgresql://me:@127.0.0.1:5432/placerank"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", "mysql://db/trips"),
        ("DATABASE_URL", ""),
        ("CELERY_BROKER_URL", "redis://mq"),
        ("CELERY_BROKER_URL", "amqp://mq:rabbit/"),
        ("CELERY_BACKEND_URL", "amqp://cache"),
        ("PLACERANK_API__PORT", "http"),
        ("PLACERANK_API__PORT", "65536"),
        ("PLACERANK_INFERENCE__ANSWER_SIZE", "0"),
        ("PLACERANK_INFERENCE__ANSWER_SIZE", "101"),
        ("PLACERANK_INFERENCE__DEADLINE_S", "-1"),
        ("PLACERANK_WORKER__DEVICE", "tpu"),
        ("PLACERANK_RELAY__INTERVAL_S", "0"),
        ("PLACERANK_RELAY__GRACE_S", "soon"),
        ("PLACERANK_DATABASE__POOL_SIZE", "1.5"),
        ("PLACERANK_TELEMETRY__LOG_LEVEL", "LOUD"),
    ],
)
def test_a_wrong_value_is_one_sentence_that_names_the_variable(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as raised:
        settings.load()
    sentence = str(raised.value)
    assert sentence.startswith(variable)
    assert "\n" not in sentence
    assert len(sentence) > len(variable) + 10


def test_a_secret_is_not_in_the_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hidden@db:port/trips")
    with pytest.raises(ConfigurationError) as raised:
        settings.load()
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("PLACERANK_API__PROT", "PLACERANK_API__PORT"),
        ("PLACERANK_INFERENCE__ANSWERS_SIZE", "PLACERANK_INFERENCE__ANSWER_SIZE"),
        ("placerank_worker__bach_size", "PLACERANK_WORKER__BATCH_SIZE"),
        ("PLACERANK_ADMIN_KEYS", "PLACERANK_API__ADMIN_KEYS"),
        ("PLACERANK_API_ADMIN_KEYS", "PLACERANK_API__ADMIN_KEYS"),
        ("PLACERANK_ADMIN_KEY", "PLACERANK_API__ADMIN_KEYS"),
        ("PLACERANK__API__ADMIN_KEYS", "PLACERANK_API__ADMIN_KEYS"),
        ("placerank_api_keys", "PLACERANK_API__KEYS"),
        ("PLACERANK_KEYS", "PLACERANK_API__KEYS"),
        ("PLACERANK_API_PORT", "PLACERANK_API__PORT"),
        ("PLACERANK_LOG_LEVEL", "PLACERANK_TELEMETRY__LOG_LEVEL"),
        ("PLACERANK_DATABASE_URL", "DATABASE_URL"),
        ("PLACERANK_BROKER_URL", "CELERY_BROKER_URL"),
        ("PLACERANK_CELERY_BACKEND_URL", "CELERY_BACKEND_URL"),
        (
            "PLACERANK_PASSWORD",
            "PLACERANK_DATABASE__PASSWORD or PLACERANK_CACHE__PASSWORD or PLACERANK_BROKER__PASSWORD",
        ),
    ],
)
def test_an_unknown_variable_is_refused_with_the_one_that_was_meant(
    variable: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(ConfigurationError, match=re.escape(variable)) as raised:
        settings.load()
    assert re.search(rf"Did you mean {meant}\?", str(raised.value))


NOTHING = ["", " ", "\t", "\u00a0"]
NO_KEYS = [*NOTHING, ",", " , ,", ",,", "\n,\n", '""', "''", "-", "...", "\u200b"]


@pytest.mark.parametrize("name", ["KEYS", "ADMIN_KEYS"])
@pytest.mark.parametrize("value", NO_KEYS, ids=ascii)
def test_a_list_of_keys_that_is_set_and_holds_none_never_opens_the_routes(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACERANK_API__ADMIN_KEYS", "three")
    monkeypatch.setenv(f"PLACERANK_API__{name}", value)
    with pytest.raises(ConfigurationError, match=rf"PLACERANK_API__{name} is wrong: .*key"):
        settings.load()


@pytest.mark.parametrize("value", ["good,sec ret", "good,sec\tret", "good\nsecret", "good,sécret", "good,sec\x7fret"])
def test_a_key_that_no_client_can_send_is_refused_and_not_shown(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACERANK_API__ADMIN_KEYS", value)
    with pytest.raises(ConfigurationError, match=r"PLACERANK_API__ADMIN_KEYS is wrong: key \d of \d") as raised:
        settings.load()
    for part in ("good", "sec", "ret"):
        assert part not in str(raised.value)


@pytest.mark.parametrize("value", ["one", "one,two", " one , two ,,", "one,two\n", "p@ss!,x=y", "a" * 4096])
def test_keys_are_taken_with_blanks_around_them(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACERANK_API__ADMIN_KEYS", value)
    found = runtime.api_runtime(settings.load()).options.admin_keys
    assert found == tuple(part.strip() for part in value.split(",") if part.strip())


#: Settings that may be set to nothing: a user, whom a password can do without, and what switches a check on.
MAY_BE_EMPTY = {"database.user", "cache.user", "broker.user", "broker.management_url"}


@pytest.mark.parametrize(("group", "name", "default"), every_setting())
@pytest.mark.parametrize("value", NOTHING, ids=ascii)
def test_no_setting_that_is_set_to_blanks_is_taken_for_one_that_is_not_set(
    value: str, group: str, name: str, default: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not value and f"{group}.{name}" in MAY_BE_EMPTY:
        pytest.skip("it may be empty")
    monkeypatch.setenv("PLACERANK_API__ADMIN_KEYS", "three")
    variable = f"PLACERANK_{group}__{name}".upper()
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=variable):
        settings.load()


def test_one_setting_in_two_spellings_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACERANK_API__ADMIN_KEYS", "one")
    monkeypatch.setenv("placerank_api__admin_keys", "two")
    with pytest.raises(ConfigurationError, match="PLACERANK_API__ADMIN_KEYS and placerank_api__admin_keys"):
        settings.load()


def test_a_variable_in_lower_case_is_the_same_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("placerank_api__admin_keys", "one")
    assert settings.load().api.admin_keys.get_secret_value() == "one"


SERVICES = ["PLACERANK", "PLACERANK_API", "PLACERANK_ADMIN_KEYS", "PLACERANK_2_RABBITMQ", "PLACERANK__A"]


def links(service: str, ip: str = "10.0.0.7") -> dict[str, str]:
    """What Kubernetes tells containers about a service with the ports 80 and 9100 (http and metrics)."""
    host = f"[{ip}]" if ":" in ip else ip
    found = {f"{service}_SERVICE_HOST": ip, f"{service}_SERVICE_PORT": "80", f"{service}_SERVICE_PORT_HTTP": "80"}
    found |= {f"{service}_SERVICE_PORT_METRICS_2": "9100", f"{service}_PORT": f"tcp://{host}:80"}
    for port, protocol in (("80", "TCP"), ("9100", "UDP"), ("36412", "SCTP")):
        one = f"{service}_PORT_{port}_{protocol}"
        found[one] = f"{protocol.lower()}://{host}:{port}"
        found |= {f"{one}_PROTO": protocol.lower(), f"{one}_PORT": port, f"{one}_ADDR": ip}
    return found


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("ip", ["10.0.0.7", "fd00::7"])
def test_service_links_of_kubernetes_stop_no_start(service: str, ip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in links(service, ip).items():
        monkeypatch.setenv(variable, value)
    assert settings.load() == settings.Settings.model_validate(settings.load().model_dump())
    assert settings.load().api.port == 8000


@pytest.mark.parametrize("variable", links("PLACERANK_API"))
@pytest.mark.parametrize("value", ["", "secret", "one,two", "http://10.0.0.7:80", "0", "70000", "tcp://host:80"])
def test_the_name_of_a_service_link_alone_is_not_enough(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=f"{variable} is not a setting"):
        settings.load()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PLACERANK_API_PORT", "9000"),
        ("PLACERANK_API_PORT", "10.0.0.7"),
        ("PLACERANK_API_PORT_8000_TCP", "tcp://10.0.0.7:8001"),
        ("PLACERANK_API_PORT_8000_TCP", "udp://10.0.0.7:8000"),
        ("PLACERANK_API_PORT_8000_TCP_PORT", "8001"),
        ("PLACERANK_API_PORT_8000_TCP_PROTO", "udp"),
        ("PLACERANK_API_PORT_8000_HTTP", "tcp://10.0.0.7:8000"),
        ("PLACERANK_API_SERVICE_HOSTS", "10.0.0.7"),
        ("placerank_api_port", "tcp://10.0.0.7:8000"),
        ("PLACERANK_API__PORT_", "tcp://10.0.0.7:8000"),
        ("PLACERANK_", "1"),
        ("PLACERANK_API", '{"port": 9000}'),
        ("PLACERANK.API.KEYS", "one"),
        ("Placerank_Keys", "one"),
    ],
)
def test_what_only_resembles_a_service_link_is_refused(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=re.escape(f"{variable} is not a setting")):
        settings.load()


@pytest.mark.parametrize("variable", ["PLACERANKER_KEYS", "PLACERANK2_API_PORT", "MY_PLACERANK_KEYS", "PLACERANK"])
def test_variables_of_others_are_left_alone(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "secret")
    settings.load()


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        ({"PLACERANK_API__KEYS": "one"}, ["PLACERANK_API__KEYS", "PLACERANK_API__ADMIN_KEYS"]),
        (
            {"PLACERANK_WORKER__THREADS": "8", "PLACERANK_WORKER__BATCH_SIZE": "64"},
            ["PLACERANK_WORKER__THREADS", "PLACERANK_WORKER__BATCH_SIZE"],
        ),
    ],
)
def test_contradictions_name_both_variables(
    variables: dict[str, str], names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as raised:
        settings.load()
    for name in names:
        assert name in str(raised.value)


def test_what_is_shown_hides_every_secret_and_leaves_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hidden-1@db/trips")
    monkeypatch.setenv("CELERY_BROKER_URL", "amqp://me:hidden-2@mq/trips")
    monkeypatch.setenv("CELERY_BACKEND_URL", "redis://:hidden-3@cache/0")
    monkeypatch.setenv("PLACERANK_API__KEYS", "hidden-4")
    monkeypatch.setenv("PLACERANK_API__ADMIN_KEYS", "hidden-5")
    rows = settings.describe(settings.load())
    assert "hidden" not in str(rows)
    assert "hidden" not in repr(settings.load())
    shown = {variable: value for variable, value, _ in rows}
    assert shown["DATABASE_URL"] == "postgresql://me:***@db/trips"
    assert shown["PLACERANK_API__KEYS"] == "(set)"
    assert set(shown) == {*WELL_KNOWN, *(f"PLACERANK_{group}__{name}".upper() for group, name, _ in every_setting())}
    assert all(description for _, _, description in rows)


def test_keys_are_a_list_without_blanks() -> None:
    chosen = settings.load(
        api=settings.ApiSettings(keys=SecretStr(" one, two ,,"), admin_keys=SecretStr("three")),
        database_url=SecretStr("postgresql://db/trips"),
    )
    options = runtime.api_runtime(chosen).options
    assert options.keys == ("one", "two")
    assert options.admin_keys == ("three",)


def test_a_path_stays_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACERANK_WORKER__HEARTBEAT_FILE", "/run/beat")
    assert settings.load().worker.heartbeat_file == Path("/run/beat")
