"""Starting, finishing, selecting, cancelling and erasing: each is one statement and safe under concurrency."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import pytest
from tests.integration.support import (
    opened,
    places,
    rows,
    shown,
    start_of,
    store,
    success,
    thread_database,
    value,
    with_places,
)

from placerank.db.content import ContentRepository, Page
from placerank.db.inferences import InferenceRepository, Selection
from placerank.db.jobs import JobRepository, Outcome
from placerank.db.statements import statement
from placerank.domain import NOTHING_CHOSEN, Problem, Status, new_task_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from uuid import UUID

    from placerank.db.pool import AsyncDatabase


@pytest.fixture
def url(database_url: str) -> str:
    return with_places(database_url)


@pytest.fixture
async def database(url: str) -> AsyncIterator[AsyncDatabase]:
    async with opened(url) as found:
        yield found


@pytest.fixture
def inferences(database: AsyncDatabase) -> InferenceRepository:
    return InferenceRepository(database)


@pytest.fixture
def jobs(url: str) -> Iterator[JobRepository]:
    found = thread_database(url)
    yield JobRepository(found)
    found.close()


async def test_starts_that_arrive_together_are_one_statement_and_one_commit(
    inferences: InferenceRepository, url: str
) -> None:
    starts = [start_of(f"T{n}", key=f"k{n}" if n % 2 else None) for n in range(8)]
    assert set(await inferences.start(starts)) == {start.task_id for start in starts}
    tables = ("users", "inferences", "events", "idempotency_keys")
    # xmin is the transaction that wrote a row, cmin the number of the statement in it.
    written = " UNION ".join(f"SELECT xmin::text AS by, cmin::text AS nth FROM {table}" for table in tables)
    assert len(rows(url, written)) == 1
    assert rows(url, written)[0]["nth"] == "0"
    counts = [value(url, f"SELECT count(*) FROM {table}") for table in tables]
    assert counts == [8, 8, 8, 4]


async def test_a_traveller_is_stored_as_given(inferences: InferenceRepository, jobs: JobRepository) -> None:
    start = start_of("Zoë 🏔 \\ \"'; --", user_id="u\t1", traceparent="00-trace")
    await inferences.start([start])
    (job,) = jobs.read([start.task_id])
    assert job.traveller.name == "Zoë 🏔 \\ \"'; --"
    assert job.traveller.people_age == (41, 7)
    assert job.traveller.budget == 350.25
    assert job.identity == start.identity
    assert not job.expired


async def test_nothing_starts_in_an_empty_catalogue(database_url: str) -> None:
    async with opened(database_url) as database:
        assert await InferenceRepository(database).start([start_of(key="k"), start_of()]) == {}
    assert value(database_url, "SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM idempotency_keys)") == 0


async def test_taken_keys_are_left_out_and_their_neighbours_stored(inferences: InferenceRepository, url: str) -> None:
    first = start_of("first", key="taken", caller="me")
    await inferences.start([first])
    batch = [
        start_of("again", key="taken", caller="me"),
        start_of("fresh", key="new", caller="me"),
        start_of("another caller", key="taken", caller="you"),
        start_of("no key"),
    ]
    assert set(await inferences.start(batch)) == {start.task_id for start in batch[1:]}
    assert await inferences.find_key("me", "taken") == (first.task_id, "same")
    assert await inferences.find_key("nobody", "taken") is None
    assert value(url, "SELECT count(*) FROM users WHERE name = 'again'") == 0


async def test_a_key_is_free_again_after_a_day(inferences: InferenceRepository, url: str) -> None:
    await inferences.start([start_of(key="k")])
    rows(url, "UPDATE idempotency_keys SET created_at = now() - interval '23 hours 59 minutes'")
    assert await inferences.start([start_of(key="k")]) == {}
    rows(url, "UPDATE idempotency_keys SET created_at = now() - interval '24 hours 1 minute'")
    second = start_of(key="k")
    assert set(await inferences.start([second])) == {second.task_id}
    assert await inferences.find_key("", "k") == (second.task_id, "same")


async def test_the_same_key_from_many_connections_is_one_row(url: str) -> None:
    async with opened(url, pool_size=16) as database:
        inferences = InferenceRepository(database)
        for attempt in range(5):
            starts = [start_of(key=f"k{attempt}") for _ in range(16)]
            stored = await asyncio.gather(*(inferences.start([start]) for start in starts))
            assert sum(len(each) for each in stored) == 1
            (winner,) = (task_id for each in stored for task_id in each)
            assert await inferences.find_key("", f"k{attempt}") == (winner, "same")
    assert value(url, "SELECT count(*) FROM inferences") == 5


async def test_batches_with_the_same_keys_in_another_order_do_not_block_each_other(url: str) -> None:
    async with opened(url, pool_size=8) as database:
        inferences, keys = InferenceRepository(database), [f"k{n}" for n in range(20)]
        for attempt in range(5):
            batches = [[start_of(key=f"{attempt}{key}") for key in random.sample(keys, len(keys))] for _ in range(8)]
            await asyncio.gather(*(inferences.start(batch) for batch in batches))
    assert value(url, "SELECT count(*) FROM inferences") == 5 * len(keys)


async def test_a_result_is_applied_once(inferences: InferenceRepository, jobs: JobRepository) -> None:
    first, second, third = store_three = [start_of(str(n)) for n in range(3)]
    await inferences.start(store_three)
    assert jobs.finish([success(first.task_id, [4, 5])]) == {first.task_id}
    again = [success(first.task_id, [6]), success(second.task_id, [7]), success(new_task_id())]
    assert jobs.finish(again) == {second.task_id}
    assert jobs.finish([Outcome(first.task_id, problem=Problem("late", "Late."))]) == set()
    standing = (await inferences.standing([first.task_id]))[first.task_id]
    assert (standing.status, standing.model_version, standing.problem) == (Status.SUCCESS, "v1", None)
    assert [job.task_id for job in jobs.read([one.task_id for one in store_three])] == [third.task_id]


async def test_the_same_result_twice_in_one_batch_is_applied_once(
    inferences: InferenceRepository, jobs: JobRepository, url: str
) -> None:
    start = start_of()
    await inferences.start([start])
    assert jobs.finish([success(start.task_id, [1]), success(start.task_id, [1])]) == {start.task_id}
    assert value(url, "SELECT count(*) FROM results") == 1


async def test_a_failure_is_stored_with_its_reason(inferences: InferenceRepository, jobs: JobRepository) -> None:
    start = start_of()
    await inferences.start([start])
    jobs.finish([Outcome(start.task_id, problem=Problem("deadline_exceeded", "Too late."))])
    standing = (await inferences.standing([start.task_id]))[start.task_id]
    assert standing.status is Status.FAILURE
    assert standing.problem == Problem("deadline_exceeded", "Too late.")


def shuffled(task_ids: list[UUID]) -> list[UUID]:
    return random.sample(task_ids, len(task_ids))


def test_workers_that_finish_the_same_rows_neither_block_nor_double(url: str) -> None:
    database = thread_database(url, pool_size=4)
    jobs = JobRepository(database)

    def finish(task_ids: list[UUID]) -> set[UUID]:
        return jobs.finish([success(task_id) for task_id in shuffled(task_ids)])

    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            task_ids = store(url, [start_of(str(n)) for n in range(64)])
            applied = list(pool.map(finish, [task_ids] * 4))
            assert sorted(task_id for each in applied for task_id in each) == sorted(task_ids)
    database.close()


async def test_finishing_marking_selecting_and_erasing_at_once_never_block_each_other(url: str) -> None:
    worker = thread_database(url, pool_size=4)
    jobs = JobRepository(worker)
    async with opened(url, pool_size=8) as database:
        inferences, content = InferenceRepository(database), ContentRepository(database)
        for attempt in range(15):
            starts = [start_of(str(n), user_id=f"{attempt}-{n % 4}") for n in range(48)]
            numbers = await inferences.start(starts)
            ids = [start.task_id for start in starts]
            await asyncio.gather(
                *(asyncio.to_thread(jobs.finish, [success(one) for one in shuffled(ids)]) for _ in range(2)),
                *(database.fetch("mark_published", {"ids": shuffled(ids)}) for _ in range(2)),
                *(inferences.select([Selection(one, 1) for one in shuffled(ids)]) for _ in range(2)),
                # The starts 0 and 4 belong to the same traveller, 1 to another.
                *(content.erase(numbers[starts[n].task_id]) for n in (0, 4, 1)),
            )
    worker.close()
    assert value(url, "SELECT count(*) FROM inferences WHERE finished_at IS NULL") == 0
    assert value(url, "SELECT count(*) FROM inferences") == value(url, "SELECT count(*) FROM users") == 15 * 24


async def test_attempts_are_counted_until_the_end(inferences: InferenceRepository, jobs: JobRepository) -> None:
    start = start_of()
    await inferences.start([start])
    assert [jobs.count_attempt(start.task_id) for _ in range(3)] == [1, 2, 3]
    jobs.finish([success(start.task_id)])
    assert jobs.count_attempt(start.task_id) is None
    assert jobs.count_attempt(new_task_id()) is None


async def test_a_deadline_passes_at_the_database_s_clock(
    inferences: InferenceRepository, jobs: JobRepository, url: str
) -> None:
    late, early = start_of("late", deadline_s=60), start_of("early", deadline_s=60)
    await inferences.start([late, early])
    rows(url, "UPDATE inferences SET deadline_at = deadline_at - interval '61 seconds' WHERE id = %s", late.task_id)
    assert {job.task_id: job.expired for job in jobs.read([late.task_id, early.task_id])} == {
        late.task_id: True,
        early.task_id: False,
    }


async def test_a_choice_is_recorded_repeated_and_replaced(
    inferences: InferenceRepository, jobs: JobRepository, url: str
) -> None:
    start = start_of()
    await inferences.start([start])
    jobs.finish([success(start.task_id, [4, 5])])
    for choice in (4, 4, NOTHING_CHOSEN, 5, 5):
        selected = (await inferences.select([Selection(start.task_id, choice)]))[start.task_id]
        assert (selected.status, selected.shown) == (Status.SUCCESS, True)
    assert value(url, "SELECT choice FROM inferences") == 5
    logged = rows(url, "SELECT location_id FROM events WHERE kind = 'selected' ORDER BY id")
    assert [row["location_id"] for row in logged] == [4, NOTHING_CHOSEN, 5]


async def test_a_choice_that_was_not_shown_or_comes_too_early_changes_nothing(
    inferences: InferenceRepository, jobs: JobRepository, url: str
) -> None:
    done, waiting, failed = starts = [start_of(str(n)) for n in range(3)]
    await inferences.start(starts)
    jobs.finish([success(done.task_id, [4, 5]), Outcome(failed.task_id, problem=Problem("x", "X."))])
    found = await inferences.select(
        [
            Selection(done.task_id, 6),
            Selection(waiting.task_id, NOTHING_CHOSEN),
            Selection(failed.task_id, NOTHING_CHOSEN),
        ]
    )
    assert not found[done.task_id].shown
    assert found[waiting.task_id].status is Status.PENDING
    assert found[failed.task_id].status is Status.FAILURE
    assert await inferences.select([Selection(new_task_id(), 1)]) == {}
    assert value(url, "SELECT count(*) FROM inferences WHERE choice IS NOT NULL") == 0
    assert value(url, "SELECT count(*) FROM events WHERE kind = 'selected'") == 0


async def test_choices_that_race_leave_one_and_log_every_change(url: str, jobs: JobRepository) -> None:
    async with opened(url, pool_size=12) as database:
        inferences, start = InferenceRepository(database), start_of()
        await inferences.start([start])
        jobs.finish([success(start.task_id, [1, 2, 3])])
        await asyncio.gather(*(inferences.select([Selection(start.task_id, 1 + n % 3)]) for n in range(30)))
    selected = rows(url, "SELECT location_id FROM events WHERE kind = 'selected' ORDER BY id")
    logged = [row["location_id"] for row in selected]
    assert value(url, "SELECT choice FROM inferences") == logged[-1]
    assert all(one != other for one, other in itertools.pairwise(logged))


async def test_cancelling_ends_what_has_not_finished_and_nothing_else(
    inferences: InferenceRepository, jobs: JobRepository, url: str
) -> None:
    done, waiting = starts = [start_of(str(n)) for n in range(2)]
    await inferences.start(starts)
    jobs.finish([success(done.task_id)])
    cancelled = await inferences.cancel(waiting.task_id)
    assert cancelled is not None
    assert (cancelled[0].status, cancelled[1]) == (Status.REVOKED, True)
    again = await inferences.cancel(waiting.task_id)
    assert again is not None
    assert (again[0].status, again[1]) == (Status.REVOKED, False)
    finished = await inferences.cancel(done.task_id)
    assert finished is not None
    assert (finished[0].status, finished[1]) == (Status.SUCCESS, False)
    assert await inferences.cancel(new_task_id()) is None
    # A worker that already has it finishes too late.
    assert jobs.finish([success(waiting.task_id)]) == set()
    assert value(url, "SELECT count(*) FROM events WHERE kind = 'cancelled'") == 1


async def test_erasing_takes_every_start_of_the_traveller_and_nobody_else_s(
    database: AsyncDatabase, inferences: InferenceRepository, jobs: JobRepository, url: str
) -> None:
    hers = [start_of("Ann", user_id="ann", key=f"k{n}") for n in range(3)]
    his = start_of("Bob", user_id="bob", key="k9")
    numbers = await inferences.start([*hers, his])
    jobs.finish([success(start.task_id) for start in (*hers[:2], his)])
    await inferences.select([Selection(hers[0].task_id, 1), Selection(his.task_id, 1)])
    content = ContentRepository(database)
    counts, task_ids = await content.erase(numbers[hers[1].task_id])
    assert counts == {"users": 3, "inferences": 3, "events": 4}
    assert {*task_ids} == {start.task_id for start in hers}
    for table, left in {"users": 1, "inferences": 1, "events": 2, "idempotency_keys": 1, "results": 3}.items():
        assert value(url, f"SELECT count(*) FROM {table}") == left
    assert await content.erase(numbers[hers[1].task_id]) == ({"users": 0, "inferences": 0, "events": 0}, [])


async def test_the_backlog_is_counted_up_to_its_limit(inferences: InferenceRepository, jobs: JobRepository) -> None:
    assert await inferences.backlog(5) == 0
    starts = [start_of(str(n)) for n in range(8)]
    await inferences.start(starts)
    assert await inferences.backlog(5) == 5
    assert await inferences.backlog(100) == 8
    jobs.finish([success(starts[0].task_id)])
    assert await inferences.backlog(100) == 7


async def test_places_come_in_the_order_shown(inferences: InferenceRepository, jobs: JobRepository) -> None:
    start = start_of()
    await inferences.start([start])
    jobs.finish([Outcome(start.task_id, shown=shown([7, 3]))])
    found = (await inferences.places([start.task_id]))[start.task_id]
    assert [place.location_id for place in found] == [7, 3]


async def test_every_result_has_an_id_that_finds_it(
    database: AsyncDatabase, inferences: InferenceRepository, jobs: JobRepository
) -> None:
    start = start_of()
    await inferences.start([start])
    jobs.finish([success(start.task_id, list(range(1, 21)))])
    content = ContentRepository(database)
    listed = await content.page("results", Page(100, -1), task_id=start.task_id)
    assert [row["position"] for row in listed] == list(range(20))
    for row in listed:
        assert await content.one("result", row["id"]) == row
    assert await content.one("result", listed[-1]["id"] + 1) is None


def make_history(url: str, finished: int, unfinished: int) -> None:
    query = """
    INSERT INTO users (identity, name, people_num, people_age, children_num, budget, nights, time_arrival, pool, spa,
        pet_friendly, lake, mountain, sport)
    SELECT 'id:' || n %% 5000, 'x', 1, '{30}', 0, 100, 2, '2027-01-01', false, false, false, false, false, false
    FROM generate_series(1, %(all)s) AS n;
    INSERT INTO inferences (
        id, user_id, status, finished_at, published_at, revisions, location_ids, scores, propensities
    )
    SELECT gen_random_uuid(), id, CASE WHEN id > %(open)s THEN 'SUCCESS' ELSE 'PENDING' END,
        CASE WHEN id > %(open)s THEN now() END, CASE WHEN id %% 2 = 0 THEN now() END, '{1,2}', '{1,2}', '{1,0}', '{1,1}'
    FROM users;
    INSERT INTO events (task_id, kind) SELECT id, 'started' FROM inferences;
    INSERT INTO idempotency_keys (caller, key, digest, task_id) SELECT '', id, '', id FROM inferences;
    """

    with psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute(query.encode(), {"all": finished + unfinished, "open": unfinished})
        connection.execute("ANALYZE")


def plan_nodes(plan: dict[str, object]) -> Iterator[dict[str, object]]:
    yield plan
    below = plan.get("Plans", [])
    assert isinstance(below, list)
    for each in below:
        yield from plan_nodes(each)


def test_no_hot_statement_reads_a_growing_table_from_end_to_end(url: str) -> None:
    make_history(url, finished=20_000, unfinished=200)
    ids = [row["id"] for row in rows(url, "SELECT id FROM inferences ORDER BY user_id DESC LIMIT 50")]
    outcome = f'[{{"id": "{ids[0]}", "status": "SUCCESS"}}]'
    hot: dict[str, dict[str, object]] = {
        "mark_published": {"ids": ids},
        "set_published": {"ids": ids},
        "take_unpublished": {"grace_s": 3, "batch": 500},
        "take_lost": {"lost_after_s": 60, "batch": 500},
        "backlog": {"limit": 100_000},
        "read_jobs": {"rows": json.dumps([{"id": str(task_id)} for task_id in ids])},
        "count_attempt": {"id": ids[0]},
        "finish_inferences": {"rows": outcome},
        "cancel": {"id": ids[0]},
        "read_status": {"ids": ids},
        "read_answers": {"ids": ids},
        "select_places": {"rows": json.dumps([{"id": str(task_id), "choice": 1} for task_id in ids])},
        "find_idempotency_key": {"caller": "", "key": "k"},
        "erase_traveller": {"id": 77},
        "result": {"id": 77 * 128},
        "results": {"task_id": ids[0], "after": -1, "limit": 100},
        "task_exists": {"id": ids[0]},
        "users": {"after": 100, "limit": 100, "user_id": "77"},
        "events": {"after": 100, "limit": 100},
    }
    scanned = {}
    with psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        for name, params in hot.items():
            found = connection.execute(b"EXPLAIN (FORMAT JSON) " + statement(name).encode(), params).fetchone()
            assert found is not None
            nodes = list(plan_nodes(found[0][0]["Plan"]))
            tables = {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}
            if tables & {"inferences", "users", "events", "idempotency_keys"}:
                scanned[name] = tables
    assert scanned == {}


def kept_plan(url: str, name: str, parameter: str, nothing: str) -> list[dict[str, object]]:
    """The nodes that read ``inferences`` in the generic plan of a statement."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET plan_cache_mode = force_generic_plan")
        connection.execute(b"PREPARE kept AS " + statement(name).replace(f"%({parameter})s", "$1").encode())
        found = connection.execute(f"EXPLAIN (FORMAT JSON) EXECUTE kept('{nothing}')".encode()).fetchone()
    assert found is not None
    return [node for node in plan_nodes(found[0][0]["Plan"]) if node.get("Relation Name") == "inferences"]


@pytest.mark.parametrize("name", ["select_places", "finish_inferences", "read_jobs"])
def test_a_plan_kept_from_when_there_was_nothing_uses_the_index(name: str, url: str) -> None:
    assert value(url, "SELECT count(*) FROM inferences") == 0
    scanned = kept_plan(url, name, "rows", "[]")
    assert any("Index" in str(node["Node Type"]) for node in scanned)
    assert not [node for node in scanned if node["Node Type"] == "Seq Scan"]


def test_a_plan_kept_from_when_nothing_waited_does_not_read_all_that_waits(url: str) -> None:
    make_history(url, finished=20_000, unfinished=0)
    some_id = "00000000-0000-0000-0000-000000000000"
    with_ids = {
        "read_jobs": ("rows", "[]"),
        "finish_inferences": ("rows", "[]"),
        "select_places": ("rows", "[]"),
        "mark_published": ("ids", "{}"),
        "count_attempt": ("id", some_id),
        "cancel": ("id", some_id),
    }
    used = {
        name: {str(node["Index Name"]) for node in kept_plan(url, name, *nothing) if "Index Name" in node}
        for name, nothing in with_ids.items()
    }
    assert used == {name: {"inferences_pkey"} for name in with_ids}


def test_the_catalogue_of_the_tests_is_what_they_take_it_for(url: str) -> None:
    assert [row["revision"] for row in rows(url, "SELECT revision FROM locations ORDER BY location_id")] == [
        *range(1, len(places()) + 1)
    ]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_not_stored(wrong: float, url: str, jobs: JobRepository) -> None:
    (task_id,) = store(url, [start_of()])
    broken = shown([1])
    outcome = Outcome(task_id, shown=type(broken)("v1", 1, 20, [1], [1], [wrong], [1.0]))
    with pytest.raises(ValueError):
        jobs.finish([outcome])
    assert value(url, "SELECT finished_at FROM inferences") is None


@pytest.fixture
def two_databases(new_database: Callable[[], str]) -> tuple[str, str]:
    return new_database(), new_database()


def test_fresh_databases_keep_apart(two_databases: tuple[str, str]) -> None:
    one, other = two_databases
    with_places(one, 3)
    assert value(other, "SELECT count(*) FROM locations") == 0
