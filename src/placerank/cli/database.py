"""``placerank migrate``."""

from __future__ import annotations

import time

import click

from placerank import settings
from placerank.db.migrate import DatabaseAway
from placerank.db.migrate import migrate as apply
from placerank.errors import PlacerankError


@click.command()
@click.option("--wait", default=0, show_default=True, help="Seconds to wait for a database that is not there yet.")
def migrate(wait: int) -> None:
    """Bring the database to this version's schema. Safe to run twice, and by two at once."""
    url = settings.load().database_url.get_secret_value()
    deadline = time.monotonic() + wait
    while True:
        try:
            click.echo(f"The database is at schema {apply(url)}.")
        except DatabaseAway as error:
            if time.monotonic() > deadline:
                raise PlacerankError(f"DATABASE_URL: the database cannot be reached: {error}") from None
            time.sleep(1)
        else:
            return
