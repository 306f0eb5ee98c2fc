"""Guards of a PostgreSQL connection that libpq would pass over in silence stop the start."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from placerank.config import settings
from placerank.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

ADDRESS = "postgresql://me:hidden@db:5432/trips"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.upper().startswith(("PLACERANK_", "PGSSL")) or name == "DATABASE_URL":
            monkeypatch.delenv(name)


def load(url: str, monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    for name, value in {"DATABASE_URL": url, **environment}.items():
        monkeypatch.setenv(name, value)
    return settings.load().database_url.get_secret_value()


@pytest.mark.parametrize("name", ["sslmode", "sslrootcert", "sslcrl", "sslcrldir", "require_auth"])
@pytest.mark.parametrize("value", ["", "%20"])
def test_a_parameter_without_a_value_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=f"DATABASE_URL is not usable: its parameter {name}") as raised:
        load(f"{ADDRESS}?application_name=x&{name}={value}", monkeypatch)
    assert "hidden" not in str(raised.value)


def test_the_rest_of_a_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load("postgresql://me@db/trips?hidden", monkeypatch)
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize("variable", ["PGSSLMODE", "PGSSLROOTCERT", "PGSSLCRL", "PGSSLCRLDIR", "PGREQUIREAUTH"])
@pytest.mark.parametrize("value", ["", " "])
def test_libpq_s_own_variable_without_a_value_is_refused(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match=f"DATABASE_URL is not usable: {variable} is set, but blank"):
        load(ADDRESS, monkeypatch, **{variable: value})


@pytest.mark.parametrize("mode", ["verify_full", "on", "Require", "require%20"])
def test_a_mode_that_does_not_exist_is_refused(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="sslmode must be one of disable, allow, prefer, require, verify-ca"):
        load(f"{ADDRESS}?sslmode={mode}", monkeypatch)


@pytest.mark.parametrize("mode", ["prefer", "require", "verify-full"])
@pytest.mark.parametrize("name", ["sslrootcert", "sslcrl", "sslcrldir"])
def test_a_file_that_is_not_there_is_refused(
    name: str, mode: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "ca.crt"
    url = f"{ADDRESS}?sslmode={mode}&{name}={file}"
    with pytest.raises(ConfigurationError, match=f"{name} is .*ca.crt, which does not exist"):
        load(url, monkeypatch)
    with pytest.raises(ConfigurationError, match=f"PG{name.upper()} is .*ca.crt, which does not exist"):
        load(f"{ADDRESS}?sslmode={mode}", monkeypatch, **{f"PG{name.upper()}": str(file)})
    monkeypatch.delenv(f"PG{name.upper()}")
    file.touch()
    assert load(url, monkeypatch) == url


@pytest.mark.parametrize(
    "url",
    [
        ADDRESS,
        f"{ADDRESS}?sslmode=verify-full&sslrootcert=system",
        f"{ADDRESS}?sslmode=disable&sslrootcert=/nowhere",
        "postgresql://me@/trips?host=/run/postgresql&sslrootcert=/nowhere",
        "postgresql://me@%2Frun/trips?sslrootcert=/nowhere",
        "postgresql:///trips?sslrootcert=/nowhere",
    ],
)
def test_what_libpq_uses_or_does_not_need_is_accepted(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(url, monkeypatch) == url


def test_without_an_address_libpq_s_variables_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLROOTCERT", "/nowhere")
    settings.load()
