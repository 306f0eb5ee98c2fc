"""``/train``: a training is committed, goes to the training worker, and reports how far it is."""

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

Wait = Annotated[float, Query(ge=0, description=f"Seconds to wait for the end, at most {LONGEST_WAIT_S}.")]

_LOOK_EVERY_S = 0.2
#: One worker trains them one after the other.
_MOST_UNFINISHED = 100


@dataclass(frozen=True, slots=True)
class TrainingDesk:
    """What the routes work with."""

    trainings: TrainingRepository
    outbox: Outbox
    max_body_bytes: int


def router(desk: TrainingDesk) -> APIRouter:
    """The routes of a training."""
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
            # It is committed: an error now would lose its id.
            return replies.started(task_id, TaskType.TRAINING, prefer)
        if standing.status.finished and prefer.wait_s is not None:
            return replies.rendered(standing.as_dict(), headers=prefer.applied(waited=True))
        return replies.started(task_id, TaskType.TRAINING, prefer, to_json(standing.as_dict()))

    @routes.get("/status/{task_id}", **documentation.TRAIN_STATUS)
    async def status(task_id: UUID, wait: Wait = 0) -> Response:
        """Say how far a training is, and how good the model that it made."""
        return replies.rendered((await _wait(desk, task_id, min(wait, LONGEST_WAIT_S))).as_dict())

    @routes.delete("/{task_id}", **documentation.TRAIN_CANCEL)
    async def cancel(task_id: UUID) -> Response:
        """Cancel what has not finished; a running training ends at its next step."""
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
        raise errors.Overloaded(f"{_MOST_UNFINISHED} trainings are waiting already; try again when one has ended.")
    if await desk.trainings.start(start):
        desk.outbox.add([TaskMessage(topology.TRAINING, start.task_id, start.traceparent, start.request_id)])
        return start.task_id
    # Nothing is stored only where the key is taken, so that it is known now: whoever took it has committed.
    known = await desk.trainings.find_key(start.caller, start.key or "")
    if known is None:
        raise errors.ServiceUnavailable("The request with this Idempotency-Key has just been dropped; try again.")
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
