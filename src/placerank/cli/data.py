"""The database that a command works on: that of a data folder, or DATABASE_URL."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from placerank.config import settings as configuration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from placerank.db.pool import Database

#: Where `placerank run` keeps its data unless told otherwise.
DEFAULT_DATA_DIR = Path(".placerank")
DATA_DIR = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"Data folder of `placerank run`. Default: DATABASE_URL if it is set, else {DEFAULT_DATA_DIR} if it exists.",
)


@contextmanager
def database_url(data_dir: Path | None) -> Iterator[str]:
    """Yield a data folder's database, started if `placerank run` is not serving it; without a folder, DATABASE_URL."""
    if data_dir is None and "DATABASE_URL" not in os.environ and DEFAULT_DATA_DIR.is_dir():
        data_dir = DEFAULT_DATA_DIR
    if data_dir is None:
        yield configuration.load().database_url.get_secret_value()
        return
    from placerank.db.migrate import migrate
    from placerank.postgres.bundled import BundledPostgres

    data_dir = data_dir.absolute()
    if url := BundledPostgres.url_of_running(data_dir):
        yield url
        return
    with BundledPostgres(data_dir) as server:
        migrate(server.url)
        yield server.url


@contextmanager
def opened_database(data_dir: Path | None) -> Iterator[Database]:
    """Yield the same database as an open pool of one connection."""
    from placerank.db.pool import Database

    with database_url(data_dir) as url:
        database = Database(url, application_name="placerank command", pool_size=1)
        database.open()
        try:
            yield database
        finally:
            database.close()
