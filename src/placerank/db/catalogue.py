"""The catalogue: each change of places is one transaction and gives the catalogue a new version."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from placerank.db.pool import connection_options, run
from placerank.db.statements import statement
from placerank.domain import PLACE_FIELDS, Place
from placerank.errors import DatabaseUnavailable, NotMigrated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from psycopg.rows import DictRow

#: A place to store: its id, or none to get the next one, then its values in the order of ``PLACE_FIELDS``.
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Removal:
    """What a replacement removes: places of ``present`` that it does not have; before that, places of the demo."""

    places: int
    present: int
    demo: int


class CatalogueRepository:
    """Changes and reads the catalogue, on a new connection for each call: calls are rare and may take long."""

    def __init__(self, url: str) -> None:
        self._url = url

    def put(
        self,
        rows: Iterable[Row],
        *,
        replace: bool = False,
        demo: bool = False,
        imported: bool = False,
        progress: Callable[[int], None] = lambda _: None,
        removing: Callable[[Removal], None] = lambda _: None,
    ) -> int:
        """Upsert places, all or nothing; returns how many were given. Raises ``DatabaseUnavailable``.

        ``replace`` removes every other place in the same transaction; ``imported`` removes demo places. ``progress``
        is called with the number of rows sent so far. ``removing`` is called before the end of the transaction with
        what ``replace`` and ``imported`` remove: an error that it raises undoes everything.
        """
        with self._transaction() as connection:
            run(connection, "stage_table")
            count = self._stage(connection, rows, progress)
            run(connection, "lock_catalogue")
            demo_places = self._counted(connection, "remove_demo_places") if imported else 0
            run(connection, "number_staged", {"replace": replace})
            present = self._counted(connection, "count_places") if replace else 0
            missing = self._counted(connection, "remove_missing_places") if replace else 0
            removing(Removal(missing, present, demo_places))
            run(connection, "remove_changed_places")
            run(connection, "insert_staged", {"demo": demo})
            run(connection, "bump_catalogue")
        return count

    def remove(self, location_id: int) -> bool:
        """Remove a place from the catalogue; old answers keep it."""
        with self._transaction() as connection:
            run(connection, "lock_catalogue")
            removed = bool(run(connection, "remove_place", {"location_id": location_id}))
            if removed:
                run(connection, "bump_catalogue")
        return removed

    def count(self) -> int:
        """How many places there are."""
        with self._transaction() as connection:
            return self._counted(connection, "count_places")

    def places(self) -> Iterator[Place]:
        """Every place in the order of ids, streamed from the database."""
        with self._transaction() as connection, connection.cursor(name="places") as cursor:
            cursor.itersize = 5_000
            for row in cursor.execute(statement("read_catalogue")):
                yield Place(row["location_id"], *(row[name] for name in PLACE_FIELDS))

    @contextmanager
    def _transaction(self) -> Iterator[psycopg.Connection[DictRow]]:
        try:
            with (
                psycopg.connect(self._url, **connection_options("placerank catalogue")) as connection,
                connection.transaction(),
            ):
                yield connection
        except psycopg.OperationalError as error:
            raise DatabaseUnavailable("The database cannot be reached at the moment; try again.") from error
        except psycopg.errors.UndefinedTable as error:
            raise NotMigrated("The database has not been migrated yet: run placerank migrate.") from error

    @staticmethod
    def _counted(connection: psycopg.Connection[DictRow], name: str) -> int:
        return int(run(connection, name)[0]["count"])

    @staticmethod
    def _stage(connection: psycopg.Connection[DictRow], rows: Iterable[Row], progress: Callable[[int], None]) -> int:
        count = 0
        with connection.cursor() as cursor, cursor.copy(statement("stage_copy")) as copy:
            for count, row in enumerate(rows, start=1):
                copy.write_row(row)
                if count % 1_000 == 0:
                    progress(count)
        progress(count)
        return count
