"""The catalogue: changes are all or nothing, numbered and versioned, and old answers stay as they were."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.integration.support import opened, places, rows, shown, start_of, thread_database, value

from placerank.db.catalogue import CatalogueRepository, Row
from placerank.db.inferences import InferenceRepository
from placerank.db.jobs import JobRepository, Outcome
from placerank.domain import PLACE_FIELDS, Place
from placerank.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

PRICE = 1 + PLACE_FIELDS.index("price")


@pytest.fixture
def catalogue(database_url: str) -> CatalogueRepository:
    return CatalogueRepository(database_url)


def version(url: str) -> int:
    found: int = value(url, "SELECT catalogue FROM versions")
    return found


def ids(catalogue: CatalogueRepository) -> list[int]:
    return [place.location_id for place in catalogue.places()]


def without_id(row: Row) -> Row:
    return (None, *row[1:])


def with_price(row: Row, price: float) -> Row:
    return (*row[:PRICE], price, *row[PRICE + 1 :])


def test_places_come_back_as_they_went_in(catalogue: CatalogueRepository) -> None:
    assert catalogue.put(places(50)) == 50
    assert list(catalogue.places()) == [Place(*row) for row in places(50)]
    assert catalogue.count() == 50


def test_every_change_has_a_version(catalogue: CatalogueRepository, database_url: str) -> None:
    seen = [version(database_url)]
    catalogue.put(places(3))
    seen.append(version(database_url))
    assert catalogue.remove(1)
    seen.append(version(database_url))
    catalogue.put(places(2))
    seen.append(version(database_url))
    assert seen == sorted(set(seen))
    assert not catalogue.remove(99)
    assert version(database_url) == seen[-1]


def test_rows_without_an_id_are_numbered_in_their_order(catalogue: CatalogueRepository) -> None:
    given = places(5)
    catalogue.put(without_id(row) for row in given)
    assert list(catalogue.places()) == [Place(*row) for row in given]
    catalogue.put([(70, *given[0][1:]), without_id(given[1]), without_id(given[2])])
    assert ids(catalogue) == [1, 2, 3, 4, 5, 70, 71, 72]


def test_a_place_given_again_is_replaced_and_an_equal_one_is_left_alone(
    catalogue: CatalogueRepository, database_url: str
) -> None:
    given = places(3)
    catalogue.put(given)
    catalogue.put([with_price(given[0], 9.5), given[1]])
    found = list(catalogue.places())
    assert [place.location_id for place in found] == [1, 2, 3]
    assert found[0].price == 9.5
    assert value(database_url, "SELECT count(*) FROM locations") == 4


def test_replacing_swaps_all(catalogue: CatalogueRepository, database_url: str) -> None:
    catalogue.put(places(5))
    catalogue.put(places(8)[5:], replace=True)
    assert ids(catalogue) == [6, 7, 8]
    catalogue.put((without_id(row) for row in places(2)), replace=True)
    assert ids(catalogue) == [1, 2]


def test_the_first_import_removes_demo_places(catalogue: CatalogueRepository) -> None:
    catalogue.put(places(5), demo=True)
    catalogue.put((without_id(row) for row in places(2, seed=8)), imported=True)
    assert ids(catalogue) == [1, 2]
    catalogue.put((without_id(row) for row in places(1, seed=9)), imported=True)
    assert ids(catalogue) == [1, 2, 3]


def test_places_put_over_the_api_stay_when_demo_places_go(catalogue: CatalogueRepository) -> None:
    catalogue.put(places(5), demo=True)
    catalogue.put([(50, *places(1)[0][1:])])
    catalogue.put([(60, *places(1)[0][1:])], imported=True)
    assert ids(catalogue) == [50, 60]


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param((2, *places(1)[0][1:-1], None), id="a missing value"),
        pytest.param((-2, *places(1)[0][1:]), id="a negative id"),
        pytest.param((2, "perhaps", *places(1)[0][2:]), id="no boolean"),
    ],
)
def test_one_bad_row_and_nothing_changes(bad: Row, catalogue: CatalogueRepository, database_url: str) -> None:
    catalogue.put(places(1))
    before = version(database_url)
    with pytest.raises(Exception, match=r"."):
        catalogue.put([*places(12)[2:], bad], replace=True)
    assert ids(catalogue) == [1]
    assert version(database_url) == before


def test_an_interrupted_import_changes_nothing(catalogue: CatalogueRepository) -> None:
    def interrupted() -> Iterator[Row]:
        yield from places(2000)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        catalogue.put(interrupted(), replace=True)
    assert catalogue.count() == 0


def test_progress_tells_how_many_were_sent(catalogue: CatalogueRepository) -> None:
    told: list[int] = []
    catalogue.put(places(2500), progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 2500


def test_changes_at_once_come_one_after_the_other(catalogue: CatalogueRepository, database_url: str) -> None:
    batches: list[list[Row]] = [[without_id(row) for row in places(20, seed=seed)] for seed in range(6)]
    threads = [threading.Thread(target=catalogue.put, args=(batch,)) for batch in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ids(catalogue) == list(range(1, 121))
    assert version(database_url) == len(batches)


async def test_old_answers_keep_what_they_showed(catalogue: CatalogueRepository, database_url: str) -> None:
    given = places(3)
    catalogue.put(given)
    start, worker = start_of(), thread_database(database_url)
    async with opened(database_url) as database:
        inferences = InferenceRepository(database)
        await inferences.start([start])
        JobRepository(worker).finish([Outcome(start.task_id, shown=shown([2, 1]))])
        before = (await inferences.places([start.task_id]))[start.task_id]
        catalogue.put([with_price(given[0], 1.0), with_price(given[1], 2.0)])
        catalogue.remove(2)
        assert (await inferences.places([start.task_id]))[start.task_id] == before
    worker.close()
    assert [place.values[PRICE - 1] for place in before] == [given[1][PRICE], given[0][PRICE]]


def test_a_removed_place_is_kept_for_those_answers(catalogue: CatalogueRepository, database_url: str) -> None:
    catalogue.put(places(2))
    assert catalogue.remove(1)
    assert not catalogue.remove(1)
    assert ids(catalogue) == [2]
    assert rows(database_url, "SELECT location_id FROM locations WHERE removed_at IS NOT NULL") == [{"location_id": 1}]


def test_a_database_that_is_away_is_said_to_be(database_url: str) -> None:
    # PostgreSQL's own message is the cause: it is for users of a command, not for clients of the API.
    with pytest.raises(DatabaseUnavailable, match="cannot be reached") as away:
        CatalogueRepository(database_url.rpartition("/")[0] + "/nowhere").count()
    assert "nowhere" in str(away.value.__cause__)


def test_a_database_without_tables_says_what_to_do(services: Any) -> None:
    url = services.create_database("without_tables")
    with pytest.raises(DatabaseUnavailable, match="placerank migrate"):
        CatalogueRepository(url).count()
