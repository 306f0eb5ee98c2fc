"""``placerank migrate`` and ``placerank wait``: they prepare the start of the other processes."""

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
@click.option("--wait", default=0, show_default=True, help="Seconds to wait for an unreachable database.")
def migrate(wait: int) -> None:
    """Migrate the database to this version's schema. Safe to repeat, and to run twice at the same time."""
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
@click.option("--timeout", default=0, show_default=True, help="Seconds after which to give up; 0: never.")
def wait(timeout: int) -> None:
    """Wait until the database is reachable and migrated, and no service refuses user or password.

    It does not wait for an unreachable broker or cache: every process can start without them.
    """
    from placerank.runtime import obstacles

    configured = settings.load()
    # The reason is printed below, once. The libraries would log it at every attempt.
    set_up_logging("CRITICAL", "text")
    deadline, said = time.monotonic() + timeout, ""
    while found := obstacles(configured):
        if timeout and time.monotonic() > deadline:
            raise PlacerankError(" ".join(found))
        said = _say_once(" ".join(found), said)
        time.sleep(_PAUSE_S)
    click.echo("The database is migrated, and no service refuses user or password.")


def _say_once(sentence: str, said: str) -> str:
    """Print the reason for the wait if it has changed; returns the reason printed last."""
    if sentence != said:
        click.echo(f"Waiting: {sentence}", err=True)
    return sentence
