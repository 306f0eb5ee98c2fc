"""The checks of ``placerank doctor``, one after the other, each with a remedy if it fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from placerank.cache import redis
from placerank.db.migrate import lacking
from placerank.db.migrations import HEAD
from placerank.queue import check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from placerank.overview.overseer import Overview


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
