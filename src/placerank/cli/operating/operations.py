"""``placerank prune``: removes old rows."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from placerank.config import settings as configuration

if TYPE_CHECKING:
    from placerank.db.operations import Pruned

_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Age(click.ParamType[timedelta]):
    """A whole number of minutes, hours, days or weeks: 30m, 12h, 90d, 4w."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """The age as a duration."""
        if isinstance(value, timedelta):
            return value
        found = re.fullmatch(r"(\d{1,5})([mhdw])", str(value).strip())
        if found is None:
            self.fail(f"{value!r} is not an age: write a number and m, h, d or w, such as 90d.", param, ctx)
        return timedelta(**{_UNITS[found[2]]: int(found[1])})


@click.command()
@click.option("--older-than", type=Age(), required=True, help="Age, such as 90d, 12h, 30m or 4w.")
def prune(older_than: timedelta) -> None:
    """Remove finished answers older than an age, their travellers and events, and removed places that no answer shows.

    Unfinished answers and models are kept. After an interruption the next run continues.
    """
    pruned = asyncio.run(_prune(configuration.load(), datetime.now(UTC) - older_than))
    click.echo(
        f"Removed {pruned.inferences} inferences with their travellers and events, {pruned.keys} idempotency keys "
        f"and {pruned.places} revisions of removed places."
    )


async def _prune(settings: configuration.Settings, before: datetime) -> Pruned:
    from placerank.db.operations import OperationsRepository
    from placerank.runtime import async_database

    database = async_database(settings, "placerank prune", pool_size=1)
    await database.open()
    try:
        return await OperationsRepository(database).prune(before)
    finally:
        await database.close()
