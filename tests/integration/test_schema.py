"""Migrations: run twice, run by two at once, and what the schema promises."""

from __future__ import annotations

import secrets
import subprocess
import sys
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from tests.integration.support import opened, rows, value
from tools.services.private import free_port

from placerank.config import addresses
from placerank.db.migrate import DatabaseAway, migrate
from placerank.db.migrations import HEAD

if TYPE_CHECKING:
    from tools.services import Services


@pytest.fixture
def empty_database(services: Services) -> str:
    return addresses.postgresql(services.create_database(f"empty_{secrets.token_hex(4)}"))


def test_the_schema_that_the_code_needs_is_the_newest_revision() -> None:
    config = Config()
    config.set_main_option("script_location", str(files("placerank.db") / "migrations"))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_migrating_twice_changes_nothing(database_url: str) -> None:
    before = rows(database_url, "SELECT * FROM versions")
    assert migrate(database_url) == HEAD
    assert rows(database_url, "SELECT * FROM versions") == before
    assert value(database_url, "SELECT version_num FROM alembic_version") == HEAD


def test_several_may_migrate_at_once(empty_database: str) -> None:
    code = f"from placerank.db.migrate import migrate; print(migrate({empty_database!r}))"
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    ended = [process.communicate() for process in processes]
    assert [out.strip() for out, _ in ended] == [HEAD] * 3, ended
    assert value(empty_database, "SELECT count(*) FROM versions") == 1


async def test_a_database_says_whether_it_is_migrated(empty_database: str, database_url: str) -> None:
    async with opened(empty_database) as database:
        assert await database.schema_revision() == ""
    async with opened(database_url) as database:
        assert await database.schema_revision() == HEAD


def test_a_database_that_is_away_is_said_to_be(empty_database: str) -> None:
    with pytest.raises(DatabaseAway, match="nowhere"):
        migrate(empty_database.rpartition("/")[0] + "/nowhere")


def test_the_first_host_that_answers_is_migrated(empty_database: str) -> None:
    login, _, rest = empty_database.rpartition("@")
    several = f"{login}@127.0.0.1:{free_port()},{rest}?target_session_attrs=read-write"
    assert migrate(addresses.postgresql(several)) == HEAD
    assert value(empty_database, "SELECT version_num FROM alembic_version") == HEAD


def test_every_foreign_key_has_an_index(database_url: str) -> None:
    missing = rows(
        database_url,
        """
        SELECT conrelid::regclass AS "table", conname AS key FROM pg_constraint AS c
        WHERE contype = 'f' AND NOT EXISTS (
            SELECT FROM pg_index AS i WHERE i.indrelid = c.conrelid AND i.indpred IS NULL
            AND (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey
        )
        """,
    )
    assert missing == []


def test_the_seed_tables_keep_their_names(database_url: str) -> None:
    present = {row["relname"] for row in rows(database_url, "SELECT relname FROM pg_class WHERE relkind IN ('r', 'v')")}
    assert {"users", "locations", "inferences", "events", "datasets", "models", "results"} <= present


def test_a_database_of_the_first_schema_is_brought_up_with_what_it_holds(empty_database: str) -> None:
    first = (files("placerank.db") / "migrations" / "versions" / "0001_initial.sql").read_text()
    rows(empty_database, first)
    rows(empty_database, "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
    rows(empty_database, "INSERT INTO alembic_version VALUES ('0001')")
    rows(empty_database, "INSERT INTO models (kind, digest, artifact, use_percentage) VALUES ('prior', 'd', 'a', 100)")
    rows(empty_database, "INSERT INTO trainings (id) VALUES ('00000000-0000-7000-8000-000000000001')")
    rows(
        empty_database,
        "INSERT INTO datasets (training_id, lists, seed, digest, task_ids)"
        " VALUES ('00000000-0000-7000-8000-000000000001', 0, 0, 'd', '{}')",
    )
    assert migrate(empty_database) == HEAD
    assert value(empty_database, "SELECT decision IS NULL AND use_percentage = 100 FROM models")
    assert value(empty_database, "SELECT choices IS NULL FROM datasets")
    assert rows(empty_database, "SELECT id FROM canaries") == []
