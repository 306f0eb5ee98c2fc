"""Reads the catalogue from the database as columns, without a Python object for each value."""

from __future__ import annotations

import logging
from itertools import chain
from typing import TYPE_CHECKING, Final

import numpy as np

from placerank.db.pool import run
from placerank.db.statements import statement
from placerank.domain import PLACE_FIELDS, PLACE_FLAGS
from placerank.ranking.catalogue import PlaceTable
from placerank.telemetry.metrics import RECORDS_REFUSED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from psycopg import Connection
    from psycopg.rows import DictRow

    from placerank.db.pool import Database

log = logging.getLogger(__name__)

_MOST_NAMED: Final = 10
_COLUMNS: Final = (
    ("revision", ">i8"),
    ("location_id", ">i4"),
    *((name, "?" if name in PLACE_FLAGS else ">f8") for name in PLACE_FIELDS),
)
#: A row of PostgreSQL's binary COPY: the number of fields, then each field's length and bytes, big-endian.
_ROW: Final = np.dtype(
    [("fields", ">i2"), *chain.from_iterable(((f"size of {name}", ">i4"), (name, kind)) for name, kind in _COLUMNS)]
)
#: Signature, flags, and the length of the header extension, which PostgreSQL has never used.
_HEADER_BYTES: Final = 19
_END: Final = b"\xff\xff"
_ROWS_AT_ONCE: Final = 32_768


def catalogue_table(database: Database) -> PlaceTable:
    """The current catalogue."""
    with database.transaction() as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return read_table(run(connection, "versions")[0]["catalogue"], connection)


def read_table(version: int, connection: Connection[DictRow]) -> PlaceTable:
    """The catalogue as this transaction sees it, without places that have a value which is not a finite number."""
    count = int(run(connection, "count_places")[0]["count"])
    ids, revisions = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    values = np.empty((count, len(PLACE_FIELDS)))
    start = 0
    for rows in _parts(connection):
        part = slice(start, start := start + len(rows))
        ids[part], revisions[part] = rows["location_id"], rows["revision"]
        for column, name in enumerate(PLACE_FIELDS):
            values[part, column] = rows[name]
    return _usable(PlaceTable(version=version, location_ids=ids, revisions=revisions, values=values))


def _usable(table: PlaceTable) -> PlaceTable:
    """The table without such places: a single one would make every model's utilities unusable."""
    good = np.isfinite(table.values).all(axis=1)
    if good.all():
        return table
    bad = table.location_ids[~good].tolist()
    RECORDS_REFUSED.labels("place").inc(len(bad))
    named = ", ".join(str(one) for one in bad[:_MOST_NAMED]) + (", …" if len(bad) > _MOST_NAMED else "")
    log.error("catalogue: %d places have values that are not finite and are left out: %s", len(bad), named)
    return PlaceTable(
        version=table.version,
        location_ids=table.location_ids[good],
        revisions=table.revisions[good],
        values=table.values[good],
    )


def _parts(connection: Connection[DictRow]) -> Iterator[NDArray[np.void]]:
    """Yields rows as they arrive, tens of thousands at a time."""
    waiting = bytearray()
    with connection.cursor() as cursor, cursor.copy(statement("copy_catalogue")) as copy:
        header = True
        for data in copy:
            waiting += data
            if header and len(waiting) >= _HEADER_BYTES:
                del waiting[:_HEADER_BYTES]
                header = False
            if len(waiting) >= _ROWS_AT_ONCE * _ROW.itemsize:
                yield _whole(waiting)
    yield _whole(waiting)
    if waiting != _END:
        raise ValueError("The catalogue's rows are not PostgreSQL's binary COPY of the expected columns.")


def _whole(waiting: bytearray) -> NDArray[np.void]:
    """Takes the complete rows out of ``waiting``."""
    size = len(waiting) // _ROW.itemsize * _ROW.itemsize
    rows = np.frombuffer(bytes(waiting[:size]), dtype=_ROW)
    del waiting[:size]
    return rows
