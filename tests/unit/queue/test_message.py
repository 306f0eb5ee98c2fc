"""Messages that are built without Celery equal Celery's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from placerank.queue import topology
from placerank.queue.celery_app import make_app
from placerank.queue.message import TaskMessage

if TYPE_CHECKING:
    from placerank.queue.topology import WorkQueue

TASK = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize("queue", topology.WORK_QUEUES)
def test_headers_and_body_are_celery_s_own_key_by_key(queue: WorkQueue) -> None:
    app = make_app("memory://")
    theirs = app.amqp.as_task_v2(str(TASK), queue.task, args=(str(TASK),), kwargs={}, ignore_result=True)
    ours = TaskMessage(queue, TASK)
    headers = ours.headers()
    assert list(headers) == list(theirs.headers)
    for key, value in theirs.headers.items():
        if key == "origin":
            # The name of the sender differs.
            assert "@" in headers[key]
        else:
            assert headers[key] == value, key
    assert json.loads(ours.body()) == json.loads(json.dumps(theirs.body))
    assert theirs.properties == {"correlation_id": str(TASK), "reply_to": ""}


def test_the_trace_context_travels_in_the_headers() -> None:
    assert TaskMessage(topology.INFERENCE, TASK, TRACE).headers()["traceparent"] == TRACE
    assert "traceparent" not in TaskMessage(topology.INFERENCE, TASK).headers()


def test_each_type_of_task_has_its_queue() -> None:
    assert topology.INFERENCE.name == "placerank.inference"
    assert topology.TRAINING.name == "placerank.training"


def test_workers_take_json_only_and_acknowledge_late() -> None:
    conf = make_app("memory://").conf
    assert conf.accept_content == ["json"]
    assert conf.task_serializer == "json"
    assert conf.task_acks_late
    assert conf.task_create_missing_queue_type == "quorum"
    assert conf.broker_transport_options["confirm_publish"]
    assert not conf.task_always_eager
    assert conf.worker_prefetch_multiplier >= 4
    assert conf.control_queue_durable
    assert not conf.control_queue_exclusive
    assert conf.broker_connection_max_retries is None
