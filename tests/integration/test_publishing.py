"""Publishing from the API's event loop: confirmed, never blocking, and reconnecting by itself after an outage."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from tests.integration.broker import Vhost
from tests.integration.support import opened, rows, soon, start_of, success, thread_database, with_places

from placerank.db.inferences import InferenceRepository
from placerank.db.jobs import JobRepository
from placerank.queue import topology
from placerank.queue.celery_app import make_app
from placerank.queue.message import TaskMessage
from placerank.queue.outbox import Outbox
from placerank.queue.publisher import AmqpPublisher
from placerank.queue.relay import Relay
from placerank.queue.topology import WorkQueue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from uuid import UUID

    from tools.services import Services

    from placerank.db.pool import AsyncDatabase


@pytest.fixture
def vhost(services: Services, broker_url: str) -> Vhost:
    return Vhost(services, broker_url)


@asynccontextmanager
async def publishing(url: str) -> AsyncIterator[AmqpPublisher]:
    publisher = AmqpPublisher(url)
    await publisher.open()
    try:
        await soon(lambda: publisher.connected)
        yield publisher
    finally:
        await publisher.close()


def messages(count: int, queue: WorkQueue = topology.INFERENCE) -> list[TaskMessage]:
    return [TaskMessage(queue, uuid4()) for _ in range(count)]


async def test_everything_is_confirmed_in_one_flight(vhost: Vhost) -> None:
    sent = messages(300)
    async with publishing(vhost.url) as publisher:
        assert await publisher.publish(sent) == [each.task_id for each in sent]
        assert await publisher.depth(topology.INFERENCE) == 300
        assert await publisher.depth(topology.TRAINING) == 0
    assert {each.task_id for each in vhost.drain()} == {str(each.task_id) for each in sent}


async def test_each_kind_goes_to_its_queue(vhost: Vhost) -> None:
    async with publishing(vhost.url) as publisher:
        await publisher.publish([*messages(2), *messages(1, topology.TRAINING)])
    assert [vhost.depth(queue.name) for queue in topology.WORK_QUEUES] == [2, 1]


async def test_on_the_wire_it_is_the_message_that_celery_sends(vhost: Vhost) -> None:
    (message,) = messages(1)
    app = make_app(vhost.url)

    @app.task(name=topology.INFERENCE.task)  # type: ignore[untyped-decorator]
    def rank(task_id: str) -> None: ...

    async with publishing(vhost.url) as publisher:
        await publisher.publish([message])
    rank.apply_async((str(message.task_id),), task_id=str(message.task_id))
    app.close()
    ours, theirs = vhost.drain()
    assert ours.body == theirs.body
    assert ours.headers | {"origin": ""} == theirs.headers | {"origin": ""}
    # Celery sends no results here, so reply_to has no use; nothing in Celery reads message_id.
    beside = {"reply_to", "message_id"}
    assert {key: each for key, each in ours.properties.items() if key not in beside} == {
        key: each for key, each in theirs.properties.items() if key not in beside
    }


async def test_messages_carry_no_traveller(vhost: Vhost, database_url: str) -> None:
    with_places(database_url)
    start = start_of("Somebody's name", user_id="somebody", traceparent="00-trace")
    async with opened(database_url) as database, publishing(vhost.url) as publisher:
        await InferenceRepository(database).start([start])
        outbox = Outbox(publisher, database)
        await outbox.open()
        outbox.add([TaskMessage(topology.INFERENCE, start.task_id, start.traceparent)])
        await soon(lambda: vhost.depth() == 1)
        await outbox.close()
    (message,) = vhost.drain()
    assert "omebody" not in json.dumps([message.body, message.headers])
    assert message.headers["traceparent"] == "00-trace"


async def test_a_full_queue_confirms_nothing(vhost: Vhost) -> None:
    vhost.policy("narrow", f"^{topology.INFERENCE.name}$", {"max-length": 5, "overflow": "reject-publish"})
    async with publishing(vhost.url) as publisher:
        confirmed: set[UUID] = set()
        deadline = time.monotonic() + 10
        # The queue rejects messages only a moment after it is full.
        while len(sent := await publisher.publish(messages(20))) == 20:
            assert time.monotonic() < deadline
            confirmed.update(sent)
        confirmed.update(sent)
        assert await publisher.publish(messages(20)) == []
        assert publisher.connected
        assert {each.task_id for each in vhost.drain()} == {str(task_id) for task_id in confirmed}


async def test_what_finds_no_queue_is_not_confirmed_and_harms_nobody(vhost: Vhost) -> None:
    nowhere = WorkQueue("placerank.nowhere", "placerank.rank")
    async with publishing(vhost.url) as publisher:
        lost, kept = messages(3, nowhere), messages(3)
        assert await publisher.publish([*lost, *kept]) == [each.task_id for each in kept]
        assert await publisher.depth(nowhere) is None
        await soon(lambda: publisher.connected)
        assert len(await publisher.publish(messages(1))) == 1


async def test_it_finds_back_after_the_broker_was_killed(vhost: Vhost, services: Services) -> None:
    if not services.owned("rabbitmq"):
        pytest.skip("RabbitMQ was not started here")
    async with publishing(vhost.url) as publisher:
        before = messages(50)
        assert len(await publisher.publish(before)) == 50
        await asyncio.to_thread(services.kill, "rabbitmq")
        begun = time.monotonic()
        assert await publisher.publish(messages(20)) == []
        assert await publisher.depth(topology.INFERENCE) is None
        assert time.monotonic() - begun < 2
        await soon(lambda: not publisher.connected)
        await asyncio.to_thread(services.start, "rabbitmq")
        await soon(lambda: publisher.connected)
        after = messages(50)
        assert len(await publisher.publish(after)) == 50
    # All confirmed messages have survived.
    assert {each.task_id for each in vhost.drain()} == {str(each.task_id) for each in (*before, *after)}


async def test_it_opens_and_closes_while_there_is_no_broker() -> None:
    publisher = AmqpPublisher("amqp://127.0.0.1:1/%2F")
    await publisher.open()
    assert not publisher.connected
    assert await publisher.publish(messages(3)) == []
    assert await publisher.depth(topology.INFERENCE) is None
    await publisher.close()


def relay(
    database: AsyncDatabase, publisher: AmqpPublisher, *, batch: int = 50, grace_s: float = 0, lost_after_s: float = 60
) -> Relay:
    return Relay(database, publisher, interval_s=0.02, grace_s=grace_s, lost_after_s=lost_after_s, batch=batch)


@pytest.fixture
def url(database_url: str) -> str:
    return with_places(database_url)


async def committed(database: AsyncDatabase, count: int) -> list[str]:
    starts = [start_of(str(n)) for n in range(count)]
    await InferenceRepository(database).start(starts)
    return [str(start.task_id) for start in starts]


def unmarked(url: str) -> int:
    return len(rows(url, "SELECT id FROM inferences WHERE finished_at IS NULL AND published_at IS NULL"))


async def test_the_outbox_publishes_and_notes_what_was_confirmed(vhost: Vhost, url: str) -> None:
    async with opened(url) as database, publishing(vhost.url) as publisher:
        outbox = Outbox(publisher, database)
        await outbox.open()
        starts = [start_of(str(n)) for n in range(600)]
        await InferenceRepository(database).start(starts)
        outbox.add([TaskMessage(topology.INFERENCE, start.task_id) for start in starts])
        await soon(lambda: vhost.depth() == 600)
        await outbox.close()
    assert unmarked(url) == 0


async def test_without_a_broker_the_outbox_leaves_it_to_the_relay(vhost: Vhost, url: str) -> None:
    async with opened(url) as database:
        away = AmqpPublisher("amqp://127.0.0.1:1/%2F")
        outbox = Outbox(away, database)
        await outbox.open()
        task_ids = await committed(database, 10)
        outbox.add(messages(10))
        await outbox.close()
        assert unmarked(url) == 10
        async with publishing(vhost.url) as publisher:
            assert await relay(database, publisher).relay_once() == 10
    assert {each.task_id for each in vhost.drain()} == {*task_ids}


async def test_a_fresh_row_is_left_to_the_api_that_committed_it(vhost: Vhost, url: str) -> None:
    async with opened(url) as database, publishing(vhost.url) as publisher:
        await committed(database, 3)
        assert await relay(database, publisher, grace_s=60).relay_once() == 0
        rows(url, "UPDATE inferences SET created_at = created_at - interval '61 seconds'")
        assert await relay(database, publisher, grace_s=60).relay_once() == 3


async def ended(running: Sequence[asyncio.Task[None]]) -> None:
    """Cancel relays, as their processes do at shutdown; all have to end."""
    for task in running:
        task.cancel()
    _, left = await asyncio.wait(running, timeout=5)
    assert not left


async def run_for(relays: Sequence[Relay], url: str) -> None:
    running = [asyncio.create_task(one.run()) for one in relays]
    await soon(lambda: unmarked(url) == 0)
    await ended(running)


async def test_a_relay_ends_at_once_whatever_it_is_doing(vhost: Vhost, url: str) -> None:
    async with opened(url) as database, publishing(vhost.url) as publisher:
        for turns in range(60):
            running = asyncio.create_task(relay(database, publisher).run())
            for _ in range(turns):
                await asyncio.sleep(0)
            await ended([running])
            await soon(lambda: publisher.connected)


async def test_two_relays_publish_every_row_exactly_once(vhost: Vhost, url: str) -> None:
    async with (
        opened(url, pool_size=2) as one,
        opened(url, pool_size=2) as other,
        publishing(vhost.url) as publisher,
        publishing(vhost.url) as second,
    ):
        task_ids = await committed(one, 1000)
        await run_for([relay(one, publisher, batch=30), relay(other, second, batch=30)], url)
    assert sorted(each.task_id for each in vhost.drain()) == sorted(task_ids)


async def test_what_the_broker_refuses_stays_unpublished(vhost: Vhost, url: str) -> None:
    vhost.policy("narrow", f"^{topology.INFERENCE.name}$", {"max-length": 1, "overflow": "reject-publish"})
    async with opened(url) as database, publishing(vhost.url) as publisher:
        deadline = time.monotonic() + 10
        while len(await publisher.publish(messages(5))) == 5:
            assert time.monotonic() < deadline
        await committed(database, 10)
        assert await relay(database, publisher).relay_once() == 0
    assert unmarked(url) == 10


async def test_what_an_emptied_broker_lost_is_published_again(vhost: Vhost, url: str) -> None:
    worker = thread_database(url)
    async with opened(url) as database, publishing(vhost.url) as publisher:
        task_ids = await committed(database, 20)
        relaying = relay(database, publisher, lost_after_s=0)
        assert await relaying.relay_once() >= 20
        finished = [start for start in await _ids(database) if str(start) in task_ids[:5]]
        JobRepository(worker).finish([success(task_id) for task_id in finished])
        await asyncio.to_thread(vhost.lose_everything)
        # The publisher reconnects to a virtual host that has the queues but no messages.
        deadline = time.monotonic() + 15
        while not vhost.depth():
            assert time.monotonic() < deadline
            await relaying.relay_once()
    worker.close()
    found = {each.task_id for each in vhost.drain()}
    assert found == {*task_ids[5:]}


async def _ids(database: AsyncDatabase) -> list[UUID]:
    return [row["id"] for row in await database.fetch("take_lost", {"lost_after_s": -60, "batch": 1000})]


async def test_a_queue_that_has_work_is_no_lost_one(vhost: Vhost, url: str) -> None:
    async with opened(url) as database, publishing(vhost.url) as publisher:
        await committed(database, 20)
        relaying = relay(database, publisher, lost_after_s=0)
        await relaying.relay_once()
        before = vhost.depth()
        for _ in range(3):
            assert await relaying.relay_once() == 0
    assert vhost.depth() == before


async def test_the_broker_is_asked_for_what_is_lost_now_and_then_only(
    vhost: Vhost, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    depth = AmqpPublisher.depth

    async def counted(publisher: AmqpPublisher, queue: topology.WorkQueue) -> int | None:
        asked.append(queue.name)
        return await depth(publisher, queue)

    monkeypatch.setattr(AmqpPublisher, "depth", counted)
    async with opened(url) as database, publishing(vhost.url) as publisher:
        relaying = relay(database, publisher)
        for _ in range(5):
            assert await relaying.relay_once() == 0
    assert sorted(asked) == sorted(queue.name for queue in topology.WORK_QUEUES)


async def test_what_is_lost_follows_batch_by_batch_without_a_pause(vhost: Vhost, url: str) -> None:
    async with opened(url) as database, publishing(vhost.url) as publisher:
        task_ids = await committed(database, 30)
        rows(url, "UPDATE inferences SET published_at = now() - interval '61 seconds'")
        relaying, found = relay(database, publisher, batch=10), []
        for _ in range(3):
            assert await relaying.relay_once() == 10
            found += await asyncio.to_thread(vhost.drain)
    assert sorted(each.task_id for each in found) == sorted(task_ids)


async def test_forgetting_publishes_everything_unfinished_again(vhost: Vhost, url: str) -> None:
    async with opened(url) as database, publishing(vhost.url) as publisher:
        await committed(database, 5)
        relaying = relay(database, publisher)
        assert await relaying.relay_once() == 5
        await relaying.forget_published()
        assert await relaying.relay_once() == 5
