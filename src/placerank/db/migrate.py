"""Bringing a database to the schema that this code needs."""

from __future__ import annotations

from pathlib import Path

from placerank.db.schema import HEAD

#: Any constant will do, as long as nothing else in this database uses it: "prank" in ASCII.
_LOCK = 0x7072616E6B


class DatabaseAway(Exception):
    """The database does not answer."""


def migrate(database_url: str) -> str:
    """Apply what is missing and return the revision; safe to run twice, and by two at once. Raises ``DatabaseAway``."""
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import OperationalError
    from sqlalchemy.pool import NullPool

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://", 1), poolclass=NullPool)
    try:
        with engine.begin() as connection:
            # Held until the commit: the second of two waits here and then finds nothing to do.
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except OperationalError as error:
        raise DatabaseAway(str(error.orig).strip()) from error
    return HEAD
