"""Migrates a database to the schema that this code needs."""

from __future__ import annotations

from pathlib import Path

import psycopg

from placerank.db.migrations import HEAD
from placerank.db.statements import statement

#: The key of the advisory lock, "prank" in ASCII. Any constant works if nothing else in this database uses it.
_LOCK = 0x7072616E6B


class DatabaseAway(Exception):
    """The database does not answer."""


def migrate(database_url: str) -> str:
    """Apply missing migrations, return the revision; safe to repeat and to run in parallel. Raises ``DatabaseAway``."""
    if _is_up_to_date(database_url):
        return HEAD
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import OperationalError
    from sqlalchemy.pool import NullPool

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    # SQLAlchemy cannot parse every address that libpq can, for example one with several hosts.
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(database_url), poolclass=NullPool)
    try:
        with engine.begin() as connection:
            # Held until the commit: a second process waits here and then finds nothing to do.
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except OperationalError as error:
        raise DatabaseAway(" ".join(str(error.orig).split())) from error
    return HEAD


def lacking(database_url: str) -> str | None:
    """Why this database cannot be used, in a sentence; none if it is reachable and migrated."""
    try:
        if _is_up_to_date(database_url):
            return None
    except DatabaseAway as error:
        return f"the database cannot be reached: {error}"
    return f"the database is not at schema {HEAD} yet: run placerank migrate"


def _is_up_to_date(database_url: str) -> bool:
    """Checked first: usually no migration is missing, and this check is faster than loading Alembic."""
    try:
        with psycopg.connect(database_url, connect_timeout=5) as connection:
            row = connection.execute(statement("schema_revision")).fetchone()
    except psycopg.errors.UndefinedTable:
        return False
    except psycopg.OperationalError as error:
        raise DatabaseAway(" ".join(str(error).split())) from error
    return row is not None and str(row[0]) >= HEAD
