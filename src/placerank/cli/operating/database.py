"""``placerank migrate`` and ``placerank wait``: the database before everything else."""

from __future__ import annotations

import time

import click

from placerank.config import settings
from placerank.db.migrate import DatabaseAway
from placerank.db.migrate import migrate as apply
from placerank.errors import PlacerankError
from placerank.telemetry.logs import set_up_logging

_PAUSE_S = 1.0


@click.command()
@click.option("--wait", default=0, show_default=True, help="Seconds to wait for a database that is not there yet.")
def migrate(wait: int) -> None:
    """Bring the database to this version's schema. Safe to run twice, and by two at once."""
    url = settings.load().database_url.get_secret_value()
    deadline, said = time.monotonic() + wait, ""
    while True:
        try:
            click.echo(f"The database is at schema {apply(url)}.")
        except DatabaseAway as error:
            sentence = f"DATABASE_URL: the database cannot be reached: {error}"
            if time.monotonic() > deadline:
                raise PlacerankError(sentence) from None
            said = _say_once(sentence, said)
            time.sleep(_PAUSE_S)
        else:
            return


@click.command()
@click.option("--timeout", default=0, show_default=True, help="Seconds after which to give up; 0 is never.")
def wait(timeout: int) -> None:
    """Wait until the database is reached and migrated, and no service refuses user or password.

    A broker or a cache that is away is not waited for: every process starts without them.
    """
    from placerank.runtime import obstacles

    configured = settings.load()
    # What it waits for is said below, once; the libraries would repeat it at every attempt.
    set_up_logging("CRITICAL", "text")
    deadline, said = time.monotonic() + timeout, ""
    while found := obstacles(configured):
        if timeout and time.monotonic() > deadline:
            raise PlacerankError(" ".join(found))
        said = _say_once(" ".join(found), said)
        time.sleep(_PAUSE_S)
    click.echo("Database, broker and cache are as they have to be.")


def _say_once(sentence: str, said: str) -> str:
    """Tell why there is a wait, once for each reason; returns what has been told."""
    if sentence != said:
        click.echo(f"Waiting: {sentence}", err=True)
    return sentence
