"""Bringing a database to the schema that this code needs."""

from __future__ import annotations

from pathlib import Path

import psycopg

from placerank.db.migrations import HEAD
from placerank.db.statements import statement

#: Any constant will do, as long as nothing else in this database uses it: "prank" in ASCII.
_LOCK = 0x7072616E6B


class DatabaseAway(Exception):
    """The database does not answer."""


def migrate(database_url: str) -> str:
    """Apply what is missing and return the revision; safe to run twice, and by two at once. Raises ``DatabaseAway``."""
    if _is_up_to_date(database_url):
        return HEAD
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import OperationalError
    from sqlalchemy.pool import NullPool

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    # SQLAlchemy cannot read every address that libpq can: one of several hosts, for example.
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(database_url), poolclass=NullPool)
    try:
        with engine.begin() as connection:
            # Held until the commit: the second of two waits here and then finds nothing to do.
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except OperationalError as error:
        raise DatabaseAway(" ".join(str(error.orig).split())) from error
    return HEAD


def lacking(database_url: str) -> str | None:
    """What this database lacks to be worked with, in a sentence; none when it is reached and migrated."""
    try:
        if _is_up_to_date(database_url):
            return None
    except DatabaseAway as error:
        return f"the database cannot be reached: {error}"
    return f"the database is not at schema {HEAD} yet: run placerank migrate"


def _is_up_to_date(database_url: str) -> bool:
    """Asked first: loading Alembic takes longer than anything that it mostly finds not to do."""
    try:
        with psycopg.connect(database_url, connect_timeout=5) as connection:
            row = connection.execute(statement("schema_revision")).fetchone()
    except psycopg.errors.UndefinedTable:
        return False
    except psycopg.OperationalError as error:
        raise DatabaseAway(" ".join(str(error).split())) from error
    return row is not None and str(row[0]) >= HEAD
