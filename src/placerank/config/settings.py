"""Every setting, its variable and its default. Only ``runtime`` reads them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from placerank.config import addresses, guards, keys, libpq, variables
from placerank.config.guards import IfSet
from placerank.config.variables import PREFIX
from placerank.errors import ConfigurationError

Keys = Annotated[SecretStr, IfSet(keys.check)]
Password = Annotated[SecretStr, IfSet(guards.not_blank)]
User = Annotated[str, IfSet(guards.not_spaces)]
Host = Annotated[str, IfSet(guards.not_blank)]
File = Annotated[Path | None, IfSet(guards.names_a_file)]


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ApiSettings(_Group):
    """The HTTP server."""

    host: Host = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    keys: Keys = Field(
        default=SecretStr(""), description="Bearer keys for /inference/*, comma-separated; not set: open."
    )
    admin_keys: Keys = Field(
        default=SecretStr(""),
        description="Comma-separated bearer keys for /train, /content and /models; not set: open.",
    )
    max_body_bytes: int = Field(default=65_536, ge=1024, description="Largest body of a traveller or a selection.")
    max_bulk_bytes: int = Field(default=33_554_432, ge=1024, description="Largest body of PUT /content/locations.")
    max_concurrency: int = Field(default=4096, ge=1, description="Most requests in flight; further ones get 503.")
    drain_s: float = Field(
        default=0, ge=0, le=600, description="Seconds to keep serving after SIGTERM; each reply closes its connection."
    )


class DatabaseSettings(_Group):
    """PostgreSQL, the truth."""

    user: User = Field(default="", description="User, if DATABASE_URL has none.")
    password: Password = Field(default=SecretStr(""), description="Password, if DATABASE_URL has none.")
    pool_size: int = Field(default=4, ge=1, le=100, description="Most database connections of a process.")
    timeout_s: float = Field(default=1.5, gt=0, le=60, description="Seconds until a request gives up on the database.")


class CacheSettings(_Group):
    """Redis: cached results and wake-ups. If it is lost, no data is lost."""

    user: User = Field(default="", description="User, if CELERY_BACKEND_URL has none.")
    password: Password = Field(default=SecretStr(""), description="Password, if CELERY_BACKEND_URL has none.")
    ttl_s: int = Field(default=3600, ge=1, description="Seconds that a rendered answer stays cached.")
    timeout_s: float = Field(
        default=0.5, gt=0, le=10, description="Timeout of Redis, in seconds; work then goes on without Redis."
    )


class BrokerSettings(_Group):
    """RabbitMQ, beyond its address."""

    user: User = Field(default="", description="User, if CELERY_BROKER_URL has none.")
    password: Password = Field(default=SecretStr(""), description="Password, if CELERY_BROKER_URL has none.")
    management_url: SecretStr = Field(
        default=SecretStr(""),
        description="Management API for a check at the start, http://host:15672; empty: no check. "
        "If it has no user and password, the broker's are used.",
    )


class InferenceSettings(_Group):
    """Size and deadline of answers, and the limit of the backlog."""

    answer_size: int = Field(default=10, ge=1, le=100, description="Places in an answer.")
    exploration: float = Field(
        default=0, ge=0, le=1, description="Share of the answers that explore: they show good places in random order."
    )
    deadline_s: float | None = Field(
        default=None, gt=0, description="Seconds after which a waiting inference fails; not set: never."
    )
    backlog_limit: int = Field(default=100_000, ge=1, description="Unfinished inferences at which start answers 503.")


class WorkerSettings(_Group):
    """Inference workers."""

    batch_size: int = Field(default=64, ge=1, le=1024, description="Most inferences in one batch.")
    threads: int = Field(
        default=64, ge=1, le=1024, description="Most tasks that a worker holds at once; at least the batch size."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="Device that scores: auto, cpu, cuda.")
    torch_threads: int = Field(default=1, ge=1, le=256, description="torch threads that compute one batch.")
    refresh_s: float = Field(default=0.5, gt=0, le=60, description="Seconds between checks for new models or places.")
    heartbeat_file: File = Field(default=None, description="File that a live worker touches.")


class TrainingSettings(_Group):
    """The training worker."""

    min_lists: int = Field(default=30, ge=2, description="Answered lists below which training ends as not_enough_data.")
    max_lists: int = Field(default=200_000, ge=2, description="Most lists that a training reads, the newest first.")
    lease_s: float = Field(
        default=30, ge=1, description="Lease of a training: seconds without a report until another worker may take it."
    )


class CanarySettings(_Group):
    """How a version that passed the gate goes live."""

    shares: str = Field(
        default="5,25,50,100", description="Steps of a rollout, in per cent of the travellers; 100: at once."
    )
    step_s: float = Field(default=600, ge=0, description="Minimum duration of each step, in seconds.")
    least_answers: int = Field(default=100, ge=0, description="Minimum number of answers in each step.")
    interval_s: float = Field(default=10, gt=0, le=3600, description="Seconds between checks of a running canary.")

    @field_validator("shares")
    @classmethod
    def _rising(cls, text: str) -> str:
        shares = [int(part) if part.strip().isdecimal() else 0 for part in text.split(",")]
        if shares != sorted(set(shares)) or shares[0] < 1 or shares[-1] != 100:
            raise ValueError("must be increasing whole numbers from 1 to 100 that end with 100, such as 5,25,50,100")
        return text


class RelaySettings(_Group):
    """The process that publishes committed work that the broker has not confirmed."""

    interval_s: float = Field(default=0.5, gt=0, le=60, description="Seconds between rounds.")
    grace_s: float = Field(default=3, ge=2, description="Age at which an unconfirmed row is published again.")
    lost_after_s: float = Field(
        default=60, ge=1, description="Age at which unfinished work is published again if its queue is empty."
    )
    batch: int = Field(default=500, ge=1, le=10_000, description="Rows published in one round.")


class TelemetrySettings(_Group):
    """Logs and metrics."""

    metrics_port: int = Field(default=0, ge=0, le=65535, description="Port of a process's own /metrics; 0 is off.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="Lowest level to log.")
    log_format: Literal["auto", "text", "json"] = Field(
        default="auto", description="text, json, or auto: text if standard error is a terminal, else json."
    )
    sample_s: float = Field(
        default=5, gt=0, le=3600, description="Seconds between the relay's samples of queues, database and cache."
    )


class Settings(BaseSettings):
    """All settings, read from the environment."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="ignore", frozen=True, populate_by_name=True
    )

    database_url: SecretStr = Field(
        SecretStr("postgresql://placerank:placerank@127.0.0.1:5432/placerank"),
        validation_alias=AliasChoices("DATABASE_URL"),
        description="PostgreSQL.",
    )
    broker_url: SecretStr = Field(
        SecretStr("amqp://placerank:placerank@127.0.0.1:5672//"),
        validation_alias=AliasChoices("CELERY_BROKER_URL"),
        description="RabbitMQ.",
    )
    backend_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"), validation_alias=AliasChoices("CELERY_BACKEND_URL"), description="Redis."
    )
    api: ApiSettings = ApiSettings()
    database: DatabaseSettings = DatabaseSettings()
    cache: CacheSettings = CacheSettings()
    broker: BrokerSettings = BrokerSettings()
    inference: InferenceSettings = InferenceSettings()
    worker: WorkerSettings = WorkerSettings()
    training: TrainingSettings = TrainingSettings()
    canary: CanarySettings = CanarySettings()
    relay: RelaySettings = RelaySettings()
    telemetry: TelemetrySettings = TelemetrySettings()


_WEB = ("http://", "https://")
#: Each address: its variable, how it is normalised, and the group whose user and password complete it.
_ADDRESSES = {
    "database_url": ("DATABASE_URL", addresses.postgresql, "database"),
    "broker_url": ("CELERY_BROKER_URL", addresses.amqp, "broker"),
    "backend_url": ("CELERY_BACKEND_URL", addresses.redis, "cache"),
}


def load(**overrides: Any) -> Settings:
    """The settings in force; raises ``ConfigurationError`` with a sentence that names the wrong variable."""
    variables.refuse_unknown(os.environ, _known())
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        raise ConfigurationError(_sentence(error)) from None
    for path, problem in guards.unusable(settings):
        raise ConfigurationError(f"{variable_of(path)} is wrong: {problem}.")
    given = settings.model_fields_set
    settings = settings.model_copy(update={field: _address(settings, field) for field in _ADDRESSES})
    if "database_url" in given:
        _check_database(settings.database_url.get_secret_value())
    _refuse_contradictions(settings)
    return settings


def variable_of(path: tuple[int | str, ...]) -> str:
    """The environment variable of the setting at ``path``."""
    if path and path[0] in _ADDRESSES:
        return _ADDRESSES[str(path[0])][0]
    if len(path) == 1 and str(path[0]).isupper():
        return str(path[0])
    return PREFIX + "__".join(str(part) for part in path).upper()


def describe(settings: Settings) -> list[tuple[str, str, str]]:
    """Every setting as (variable, value with secrets hidden, description)."""
    rows = []
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            rows.append((variable_of((name,)), addresses.hide_password(value.get_secret_value()), field.description))
            continue
        for inner, inner_field in type(value).model_fields.items():
            shown = getattr(value, inner)
            text = ("(set)" if shown.get_secret_value() else "") if isinstance(shown, SecretStr) else shown
            rows.append((variable_of((name, inner)), "" if text is None else str(text), inner_field.description))
    return [(variable, value, description or "") for variable, value, description in rows]


def secrets(settings: Settings) -> set[str]:
    """Passwords and keys that must not get into log lines, both plain and percent-encoded.

    Default passwords are left out: they are public, and they are words that ordinary log lines contain.
    """
    addressed = [getattr(settings, field) for field in _ADDRESSES] + [settings.broker.management_url]
    passwords = {addresses.credentials(url.get_secret_value())[1] for url in addressed if url.get_secret_value()}
    lists = [settings.api.keys.get_secret_value(), settings.api.admin_keys.get_secret_value()]
    found = {key for listed in lists for key in keys.split(listed)} | passwords
    known = {addresses.credentials(Settings.model_fields[field].default.get_secret_value())[1] for field in _ADDRESSES}
    kept = found - known - {""}
    return kept | {quote(secret, safe="") for secret in kept}


def _address(settings: Settings, field: str) -> SecretStr:
    """The normalised address, completed with the user and password of their own settings."""
    variable, normalise, name = _ADDRESSES[field]
    group = getattr(settings, name)
    user, password = group.user, group.password.get_secret_value()
    try:
        address = normalise(getattr(settings, field).get_secret_value())
        if not (user or password):
            return SecretStr(address)
        if field not in settings.model_fields_set:
            address = addresses.without_credentials(address)
        return SecretStr(addresses.with_credentials(address, user, password))
    except addresses.CredentialsTwice:
        given = variable_of((name, "password" if password else "user"))
        raise ConfigurationError(
            f"{variable} and {given} both contain credentials: remove them from one of the two."
        ) from None
    except ValueError as error:
        raise ConfigurationError(f"{variable} is not usable: {error}") from None


def _check_database(url: str) -> None:
    try:
        libpq.check(url, os.environ)
    except ValueError as error:
        raise ConfigurationError(f"DATABASE_URL is not usable: {error}.") from None


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    path = tuple(part for part in first["loc"] if not (isinstance(part, str) and part.startswith("function-")))
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{variable_of(path)} is wrong: {message[:1].lower()}{message[1:]}."


def _known() -> dict[str, str]:
    """Each setting's variable by its names: its own, and for an address that of its field."""
    own = {variable: variable for variable, _, _ in describe(Settings.model_construct())}
    return own | {PREFIX + field.upper(): variable for field, (variable, _, _) in _ADDRESSES.items()}


def _refuse_contradictions(settings: Settings) -> None:
    if settings.api.keys.get_secret_value() and not settings.api.admin_keys.get_secret_value():
        raise ConfigurationError(
            "PLACERANK_API__KEYS is set and PLACERANK_API__ADMIN_KEYS is not: the routes that change the catalogue "
            "would stay open; set PLACERANK_API__ADMIN_KEYS too."
        )
    management_url = settings.broker.management_url.get_secret_value()
    if management_url and not management_url.startswith(_WEB):
        raise ConfigurationError("PLACERANK_BROKER__MANAGEMENT_URL is wrong: it must begin with http:// or https://.")
    if settings.worker.threads < settings.worker.batch_size:
        raise ConfigurationError(
            f"PLACERANK_WORKER__THREADS ({settings.worker.threads}) is smaller than PLACERANK_WORKER__BATCH_SIZE "
            f"({settings.worker.batch_size}): no batch could be full. Raise the first or lower the second."
        )
