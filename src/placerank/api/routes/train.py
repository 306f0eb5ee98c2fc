"""``/train``: commits a training, sends it to the training worker, and reports its progress."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic_core import to_json

from placerank import errors
from placerank.api.replies import documentation
from placerank.api.replies import rendered as replies
from placerank.api.requests import bodies, idempotency, parameters
from placerank.api.requests.preferences import LONGEST_WAIT_S, preferences
from placerank.db.trainings import TrainingStanding, TrainingStart
from placerank.domain import TaskType, new_task_id
from placerank.queue import topology
from placerank.queue.message import TaskMessage
from placerank.telemetry import logs

if TYPE_CHECKING:
    from placerank.db.trainings import TrainingRepository
    from placerank.queue.outbox import Outbox

Wait = Annotated[float, Query(ge=0, description=f"Seconds to wait until it has finished, at most {LONGEST_WAIT_S}.")]

_LOOK_EVERY_S = 0.2
#: Upper bound of unfinished trainings. One worker runs them one after the other.
_MOST_UNFINISHED = 100


@dataclass(frozen=True, slots=True)
class TrainingDesk:
    """The dependencies of the routes."""

    trainings: TrainingRepository
    outbox: Outbox
    max_body_bytes: int


def router(desk: TrainingDesk) -> APIRouter:
    """The ``/train`` routes."""
    routes = APIRouter(prefix="/train", tags=["training"])

    @routes.post("/start", **documentation.TRAIN)
    async def start(request: Request) -> Response:
        """Train on what has been shown and chosen."""
        body = await bodies.read_body(request, desk.max_body_bytes)
        wanted = _start(request, bodies.parse(bodies.training, body or b"{}"))
        prefer = preferences(request.headers.getlist("prefer"))
        task_id = await _commit(desk, wanted)
        try:
            standing = await _wait(desk, task_id, prefer.wait_s or 0)
        except errors.ServiceUnavailable:
            # The training is committed. After an error the client would not know its id.
            return replies.started(task_id, TaskType.TRAINING, prefer)
        if standing.status.finished and prefer.wait_s is not None:
            return replies.rendered(standing.as_dict(), headers=prefer.applied(waited=True))
        return replies.started(task_id, TaskType.TRAINING, prefer, to_json(standing.as_dict()))

    @routes.get("/status/{task_id}", **documentation.TRAIN_STATUS)
    async def status(task_id: UUID, wait: Wait = 0) -> Response:
        """Return the progress of a training, then the metrics of its model."""
        return replies.rendered((await _wait(desk, task_id, min(wait, LONGEST_WAIT_S))).as_dict())

    @routes.delete("/{task_id}", **documentation.TRAIN_CANCEL)
    async def cancel(task_id: UUID) -> Response:
        """Cancel a training that has not finished; a running one ends at its next step."""
        await desk.trainings.cancel(task_id)
        return replies.rendered((await _wait(desk, task_id, 0)).as_dict())

    return routes


def _start(request: Request, settings: bodies.TrainingBody) -> TrainingStart:
    key = idempotency.key_of(request)
    canonical = settings.model_dump_json().encode()
    return TrainingStart(
        task_id=new_task_id(),
        options=settings.model_dump(exclude_none=True),
        caller=idempotency.caller_of(request) if key else "",
        key=key,
        digest=idempotency.digest(TaskType.TRAINING, canonical, None) if key else None,
        traceparent=parameters.traceparent(request),
        request_id=logs.present("request_id"),
    )


async def _commit(desk: TrainingDesk, start: TrainingStart) -> UUID:
    if await desk.trainings.unfinished(_MOST_UNFINISHED) >= _MOST_UNFINISHED:
        raise errors.Overloaded(f"{_MOST_UNFINISHED} trainings are unfinished already; try again when one has ended.")
    if await desk.trainings.start(start):
        desk.outbox.add([TaskMessage(topology.TRAINING, start.task_id, start.traceparent, start.request_id)])
        return start.task_id
    # ``start`` stores nothing only if the key exists. Its request has committed, so the key can be read now.
    known = await desk.trainings.find_key(start.caller, start.key or "")
    if known is None:
        raise errors.ServiceUnavailable("This Idempotency-Key was deleted a moment ago; send the request again.")
    return idempotency.same_request(known, start.digest)


async def _wait(desk: TrainingDesk, task_id: UUID, seconds: float) -> TrainingStanding:
    deadline = time.monotonic() + seconds
    while True:
        standing = await desk.trainings.standing(task_id)
        if standing is None:
            raise errors.NotFound(f"No training has the id {task_id}.")
        left = deadline - time.monotonic()
        if standing.status.finished or left <= 0:
            return standing
        await asyncio.sleep(min(left, _LOOK_EVERY_S))
