"""Every setting, its variable and its default. Only ``runtime`` reads them."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from placerank.config import addresses
from placerank.errors import ConfigurationError

PREFIX = "PLACERANK_"


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ApiSettings(_Group):
    """The HTTP server."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    keys: SecretStr = Field(
        default=SecretStr(""), description="Bearer keys for /inference/*, comma-separated; empty: open."
    )
    admin_keys: SecretStr = Field(
        default=SecretStr(""), description="Comma-separated bearer keys for /train, /content and /models; empty: open."
    )
    max_body_bytes: int = Field(default=65_536, ge=1024, description="Largest body of a traveller or a selection.")
    max_bulk_bytes: int = Field(default=33_554_432, ge=1024, description="Largest body of PUT /content/locations.")
    max_concurrency: int = Field(default=4096, ge=1, description="Requests in flight above which new ones get 503.")
    drain_s: float = Field(
        default=0, ge=0, le=600, description="Seconds to go on serving after SIGTERM while clients are sent elsewhere."
    )


class DatabaseSettings(_Group):
    """PostgreSQL, the truth."""

    user: str = Field(default="", description="User for a DATABASE_URL that names none.")
    password: SecretStr = Field(default=SecretStr(""), description="Password for a DATABASE_URL that holds none.")
    pool_size: int = Field(default=4, ge=1, le=100, description="Connections that a process keeps at most.")
    timeout_s: float = Field(default=1.5, gt=0, le=60, description="Seconds until a request gives up on the database.")


class CacheSettings(_Group):
    """Redis: results and wake-ups, nothing that PostgreSQL does not hold too."""

    user: str = Field(default="", description="User for a CELERY_BACKEND_URL that names none.")
    password: SecretStr = Field(default=SecretStr(""), description="Password for a CELERY_BACKEND_URL that holds none.")
    ttl_s: int = Field(default=3600, ge=1, description="Seconds that a rendered answer stays cached.")
    timeout_s: float = Field(default=0.5, gt=0, le=10, description="Seconds after which Redis is passed over.")


class BrokerSettings(_Group):
    """RabbitMQ, beyond its address."""

    user: str = Field(default="", description="User for a CELERY_BROKER_URL that names none.")
    password: SecretStr = Field(default=SecretStr(""), description="Password for a CELERY_BROKER_URL that holds none.")
    management_url: SecretStr = Field(
        default=SecretStr(""),
        description="http://host:15672 for a check at the start, user and password the broker's if none; empty: none.",
    )


class InferenceSettings(_Group):
    """What an answer is and how long one may wait for it."""

    answer_size: int = Field(default=10, ge=1, le=100, description="Places in an answer.")
    exploration: float = Field(
        default=0, ge=0, le=1, description="Share of the answers that show good places in random order, to learn from."
    )
    deadline_s: float | None = Field(
        default=None, gt=0, description="Seconds after which a waiting inference fails; none by default."
    )
    backlog_limit: int = Field(default=100_000, ge=1, description="Unfinished inferences at which start answers 503.")


class WorkerSettings(_Group):
    """Inference workers."""

    batch_size: int = Field(default=64, ge=1, le=1024, description="Most inferences in one batch.")
    threads: int = Field(default=64, ge=1, le=1024, description="Tasks that one worker holds at once.")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="Where to score.")
    torch_threads: int = Field(default=1, ge=1, le=256, description="Threads that one batch computes with.")
    refresh_s: float = Field(default=0.5, gt=0, le=60, description="Seconds between looks for newer models or places.")
    heartbeat_file: Path | None = Field(default=None, description="File that a live worker touches.")


class TrainingSettings(_Group):
    """The training worker."""

    min_lists: int = Field(default=30, ge=2, description="Answered lists below which training ends as not_enough_data.")
    max_lists: int = Field(default=200_000, ge=2, description="Most lists that a training reads, the newest first.")
    lease_s: float = Field(default=30, ge=1, description="Seconds after which a silent training worker loses its task.")


class CanarySettings(_Group):
    """How a version that passed the gate goes live."""

    shares: str = Field(default="5,25,50,100", description="Per cent of the travellers, step by step; 100: at once.")
    step_s: float = Field(default=600, ge=0, description="Seconds that each step takes at least.")
    least_answers: int = Field(default=100, ge=0, description="Answers that each step takes at least.")
    interval_s: float = Field(default=10, gt=0, le=3600, description="Seconds between looks at a version on its way.")

    @field_validator("shares")
    @classmethod
    def _rising(cls, text: str) -> str:
        shares = [int(part) if part.strip().isdecimal() else 0 for part in text.split(",")]
        if shares != sorted(set(shares)) or shares[0] < 1 or shares[-1] != 100:
            raise ValueError("must be rising whole numbers from 1 on that end with 100, such as 5,25,50,100")
        return text


class RelaySettings(_Group):
    """The process that publishes what was committed and not confirmed."""

    interval_s: float = Field(default=0.5, gt=0, le=60, description="Seconds between looks.")
    grace_s: float = Field(default=3, ge=2, description="Age at which an unconfirmed row is taken for lost.")
    lost_after_s: float = Field(default=60, ge=1, description="Age at which work that no queue has is sent again.")
    batch: int = Field(default=500, ge=1, le=10_000, description="Rows published in one round.")


class TelemetrySettings(_Group):
    """Logs and metrics."""

    metrics_port: int = Field(default=0, ge=0, le=65535, description="Port of a process's own /metrics; 0 is off.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="Least level to log.")
    log_format: Literal["auto", "text", "json"] = Field(
        default="auto", description="Lines for people, or JSON; auto is JSON where standard error is no terminal."
    )
    sample_s: float = Field(
        default=5, gt=0, le=3600, description="Seconds between the relay's looks at queues, database and cache."
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
    _refuse_unknown_variables()
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        raise ConfigurationError(_sentence(error)) from None
    settings = settings.model_copy(update={field: _address(settings, field) for field in _ADDRESSES})
    _refuse_contradictions(settings)
    return settings


def variable_of(path: tuple[int | str, ...]) -> str:
    """The environment variable of a setting, given where it stands."""
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
    """What must not get into a log line: passwords and keys, as they are and as addresses quote them.

    The defaults' are in everybody's hands, and words that lines are full of.
    """
    addressed = [getattr(settings, field) for field in _ADDRESSES] + [settings.broker.management_url]
    passwords = {addresses.credentials(url.get_secret_value())[1] for url in addressed if url.get_secret_value()}
    keys = [settings.api.keys.get_secret_value(), settings.api.admin_keys.get_secret_value()]
    found = {key.strip() for listed in keys for key in listed.split(",")} | passwords
    known = {addresses.credentials(Settings.model_fields[field].default.get_secret_value())[1] for field in _ADDRESSES}
    kept = found - known - {""}
    return kept | {quote(secret, safe="") for secret in kept}


def _address(settings: Settings, field: str) -> SecretStr:
    """The normalised address, completed with the user and password that stand apart from it."""
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
            f"{variable} and {given} both say who connects: leave it out of one of them."
        ) from None
    except ValueError as error:
        raise ConfigurationError(f"{variable} is not usable: {error}") from None


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    path = tuple(part for part in first["loc"] if not (isinstance(part, str) and part.startswith("function-")))
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{variable_of(path)} is wrong: {message[:1].lower()}{message[1:]}."


def _refuse_unknown_variables() -> None:
    known = {variable for variable, _, _ in describe(Settings.model_construct())}
    groups = {name.rsplit("__", 1)[0] + "__" for name in known if "__" in name}
    for variable in os.environ:
        # Kubernetes adds variables such as PLACERANK_API_PORT for services: those have one underscore only.
        if not variable.upper().startswith(PREFIX) or "__" not in variable or variable.upper() in known:
            continue
        close = get_close_matches(variable.upper(), known, n=1) or get_close_matches(variable, groups, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise ConfigurationError(f"{variable} is not a setting of placerank.{hint}")


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
            f"({settings.worker.batch_size}): a batch could never fill; raise the one or lower the other."
        )
