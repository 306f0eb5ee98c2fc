"""The checks of ``placerank doctor``, one after the other, each with a remedy if it fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg.rows import dict_row

from placerank.cache import redis
from placerank.db.migrate import lacking
from placerank.db.migrations import HEAD
from placerank.db.statements import statement
from placerank.queue import check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from placerank.overview.overseer import Overview

_CONNECT_S: Final = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; ``problem`` is a sentence, or none; ``remedy`` says what to do about it."""

    subject: str
    problem: str | None = None
    remedy: str = ""


def connections(database_url: str, broker_url: str, cache_url: str, management_url: str) -> Iterator[Finding]:
    """Checks that the services accept our credentials, and have the schema and the definitions that we need."""
    problem = lacking(database_url)
    remedy = "Check DATABASE_URL, or run: placerank migrate."
    yield Finding(f"PostgreSQL is reachable and at schema {HEAD}", problem, remedy)
    problem = check.refused(broker_url)
    yield Finding(
        "RabbitMQ accepts user and password", problem, "Check CELERY_BROKER_URL and PLACERANK_BROKER__PASSWORD."
    )
    problem = redis.refused(cache_url)
    yield Finding("Redis accepts user and password", problem, "Check CELERY_BACKEND_URL and PLACERANK_CACHE__PASSWORD.")
    yield from _definitions(management_url, broker_url)


def _definitions(management_url: str, broker_url: str) -> Iterator[Finding]:
    subject = "RabbitMQ has queues, bindings and policies"
    if not management_url:
        yield Finding(f"{subject} (not checked: PLACERANK_BROKER__MANAGEMENT_URL is not set)")
        return
    try:
        missing = check.missing(management_url, broker_url)
    except check.BrokerNotChecked as error:
        yield Finding(subject, str(error), "Check PLACERANK_BROKER__MANAGEMENT_URL and the user's tags.")
        return
    remedy = "Import what placerank broker-definitions writes."
    yield Finding(subject, " ".join(missing) or None, remedy)


def stored_models(database_url: str) -> Iterator[Finding]:
    """Checks that every model in use can be read, as a worker reads it."""
    subject = "Every model in use can be read"
    try:
        from placerank.ranking.errors import ModelError
        from placerank.ranking.model import Model
    except ModuleNotFoundError as error:
        yield Finding(f"{subject} (not checked: {error.name} is not installed here; a worker's image has it)")
        return
    bad: list[str] = []
    try:
        with psycopg.connect(database_url, connect_timeout=_CONNECT_S, row_factory=dict_row) as connection:
            for row in connection.execute(statement("models_in_use")):
                try:
                    Model.from_registry(bytes(row["artifact"]), row["digest"])
                except ModelError as error:
                    bad.append(f"{row['version']} is not served: {error}")
    except psycopg.Error as error:
        yield Finding(f"{subject} (not checked: {' '.join(str(error).split())})")
        return
    remedy = "Give its share to another version: placerank models share VERSION 100."
    yield Finding(subject, " ".join(bad) or None, remedy)


def system(seen: Overview) -> Iterator[Finding]:
    """Checks that the services answer, and that the overview found no other problem."""
    answers = {"PostgreSQL": seen.figures, "RabbitMQ": seen.queues, "Redis": seen.cache}
    for name, found in answers.items():
        problem = None if found else "It does not answer."
        yield Finding(f"{name} answers", problem, "Start it, or check its address and the network.")
    told = [one for one in seen.problems if "does not answer" not in one]
    for problem in told:
        yield Finding("The system works normally", problem, "See docs/runbooks: it has a page for each alert.")
    if not told:
        yield Finding("The system works normally")
