"""``/inference``: commits a traveller's request, sends it to the workers, and returns the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response

from placerank import errors
from placerank.api.coalescer import Coalescer
from placerank.api.replies import documentation
from placerank.api.replies import rendered as replies
from placerank.api.requests import bodies, idempotency, parameters
from placerank.api.requests.preferences import preferences
from placerank.cache import answers
from placerank.cache.answers import Answer
from placerank.db.inferences import Selected, Selection, Standing, Start
from placerank.domain import Status, TaskType, identity_of, new_task_id
from placerank.queue import topology
from placerank.queue.message import TaskMessage
from placerank.schema.traveller import TravellerBody
from placerank.telemetry import logs, tracing
from placerank.telemetry.metrics import CANCELLED, SELECTIONS, STARTED

if TYPE_CHECKING:
    from placerank.api.backlog import Backlog
    from placerank.api.tracker import Tracker
    from placerank.cache.ports import ApiCache
    from placerank.db.inferences import InferenceRepository
    from placerank.queue.outbox import Outbox


@dataclass(frozen=True, slots=True)
class Desk:
    """The dependencies of the routes."""

    inferences: InferenceRepository
    cache: ApiCache
    tracker: Tracker
    outbox: Outbox
    backlog: Backlog
    max_body_bytes: int
    deadline_s: float | None


def router(desk: Desk) -> APIRouter:
    """The ``/inference`` routes."""
    routes = APIRouter(prefix="/inference", tags=["inference"])
    starts: Coalescer[Start, int | None] = Coalescer(lambda items: _commit(desk, items), key=lambda item: item.key)
    selections: Coalescer[Selection, Selected | None] = Coalescer(
        lambda items: _record(desk, items), key=lambda item: item.task_id
    )

    @routes.post("/start", **documentation.START)
    async def start(request: Request) -> Response:
        """Start an inference; with ``Prefer: wait=N`` wait up to N seconds for its result."""
        body = await bodies.read_body(request, desk.max_body_bytes)
        wanted = _start(
            request, bodies.parse(bodies.traveller, body), parameters.deadline_s(request) or desk.deadline_s
        )
        prefer = preferences(request.headers.getlist("prefer"))
        await _admit(desk, wanted)
        stored = await starts.submit(wanted) is not None
        task_id = wanted.task_id if stored else await _not_stored(desk, wanted)
        logs.note("task_id", str(task_id))
        found = await _follow(desk, task_id, prefer.wait_s, wanted.traceparent, repeated=not stored)
        if isinstance(found, Answer) and prefer.wait_s is not None:
            logs.note("model_version", found.model_version)
            return replies.answered(found, prefer)
        present = None if found is None else replies.status_body(task_id, found)
        return replies.started(task_id, TaskType.INFERENCE, prefer, present)

    @routes.get("/status/{task_id}", **documentation.STATUS)
    async def status(request: Request) -> Response:
        """Return the status of an inference; with ``wait`` wait until it has finished, at most that many seconds."""
        task_id, seconds = parameters.task_id(request), parameters.wait_s(request)
        found = await desk.tracker.wait(task_id, seconds) if seconds else await desk.tracker.poll(task_id)
        if found is None:
            raise errors.NotFound(f"No inference has the id {task_id}.")
        return replies.raw(replies.status_body(task_id, found))

    @routes.get("/results/{task_id}", **documentation.RESULTS)
    async def results(request: Request) -> Response:
        """The best places, best first."""
        task_id, limit = parameters.task_id(request), parameters.limit(request)
        began_ns = tracing.now_ns()
        answer = _finished(task_id, await desk.tracker.look(task_id))
        tracing.shared("read answer", "client", [parameters.traceparent(request)], began_ns)
        logs.note("model_version", answer.model_version)
        return replies.raw(answer.first(limit), headers={"Model-Version": answer.model_version})

    @routes.put("/select", include_in_schema=False)
    @routes.put("/select/", **documentation.SELECT)
    async def select(request: Request) -> Response:
        """Record which of the places shown the traveller chose, or -1 for none."""
        body = await bodies.read_body(request, desk.max_body_bytes)
        choice = bodies.parse(bodies.selection, body)
        logs.note("task_id", str(choice.task_id))
        selected = await selections.submit(Selection(choice.task_id, choice.location_id))
        _check_selected(choice, selected)
        return replies.raw(b'{"task_id":"%s","location_id":%d}' % (str(choice.task_id).encode(), choice.location_id))

    @routes.delete("/{task_id}", **documentation.CANCEL)
    async def cancel(request: Request) -> Response:
        """Cancel an inference that has not finished."""
        task_id = parameters.task_id(request)
        cancelled = await desk.inferences.cancel(task_id)
        if cancelled is None:
            raise errors.NotFound(f"No inference has the id {task_id}.")
        standing, changed = cancelled
        if changed:
            CANCELLED.inc()
            record = answers.ended(str(task_id), standing.status, standing.problem)
            await desk.cache.put({task_id: record.encode()}, wake=True)
        if standing.status.finished:
            # Its end may not have been announced here yet; the tracker would call it pending.
            desk.tracker.finished([task_id])
        found = await desk.tracker.look(task_id)
        return replies.raw(replies.status_body(task_id, found or standing))

    return routes


def _start(request: Request, traveller: TravellerBody, deadline_s: float | None) -> Start:
    canonical = traveller.canonical()
    key = idempotency.key_of(request)
    return Start(
        task_id=new_task_id(),
        traveller=canonical,
        identity=identity_of(traveller.user_id, canonical),
        user_id=traveller.user_id or None,
        caller=idempotency.caller_of(request) if key else "",
        key=key,
        digest=idempotency.digest(TaskType.INFERENCE, canonical, traveller.user_id) if key else None,
        deadline_s=deadline_s,
        traceparent=parameters.traceparent(request),
        request_id=logs.present("request_id"),
    )


async def _commit(desk: Desk, starts: Sequence[Start]) -> list[int | None]:
    """Store all starts of a flight in one commit, then publish their messages."""
    began_ns = tracing.now_ns()
    stored = await desk.inferences.start(starts)
    STARTED.inc(len(stored))
    tracing.shared("INSERT start_inferences", "client", (start.traceparent for start in starts), began_ns)
    for start in starts:
        if start.task_id in stored:
            desk.tracker.begin(start.task_id, stored[start.task_id])
    desk.outbox.add(
        [
            TaskMessage(topology.INFERENCE, start.task_id, start.traceparent, start.request_id)
            for start in starts
            if start.task_id in stored
        ]
    )
    return [stored.get(start.task_id) for start in starts]


async def _not_stored(desk: Desk, start: Start) -> UUID:
    """The earlier task with this start's key; raises ``NoPlaces`` if the catalogue is empty."""
    known = await desk.inferences.find_key(start.caller, start.key) if start.key else None
    if known is None:
        raise errors.NoPlaces("The catalogue is empty: import places first (placerank places import FILE).")
    return idempotency.same_request(known, start.digest)


async def _admit(desk: Desk, start: Start) -> None:
    """Raise ``Overloaded`` when the backlog is full; a request that repeats an earlier one is always admitted."""
    if start.key is None or not await desk.inferences.repeats(start.caller, start.key):
        await desk.backlog.check()


async def _follow(
    desk: Desk, task_id: UUID, wait_s: float | None, traceparent: str | None, *, repeated: bool
) -> Answer | Standing | None:
    """Where a start stands, if its client waits or repeats it; none otherwise, or during an outage."""
    try:
        if wait_s is not None:
            began_ns = tracing.now_ns()
            found = await desk.tracker.wait(task_id, wait_s)
            tracing.shared("read answer", "client", [traceparent], began_ns)
            return found
        return await desk.tracker.look(task_id) if repeated else None
    except errors.ServiceUnavailable:
        # The start is committed. After an error the client would not know its id and would start it again.
        return None


async def _record(desk: Desk, selections: Sequence[Selection]) -> list[Selected | None]:
    recorded = await desk.inferences.select(selections)
    for selected in recorded.values():
        _count(selected)
    return [recorded.get(selection.task_id) for selection in selections]


def _count(selected: Selected) -> None:
    if selected.changed:
        position = "none" if selected.position is None else str(selected.position)
        SELECTIONS.labels(selected.model_version, position, str(selected.replaced).lower()).inc()


def _finished(task_id: UUID, found: Answer | Standing | None) -> Answer:
    if found is None:
        raise errors.NotFound(f"No inference has the id {task_id}.")
    if isinstance(found, Standing):
        raise errors.NotFinished("The inference has not finished yet; ask again in a moment.")
    if found.status is not Status.SUCCESS:
        code = found.problem_code
        raise errors.TaskEnded(f"The inference ended without a result: {code}.", code)
    return found


def _check_selected(choice: bodies.SelectionBody, selected: Selected | None) -> None:
    if selected is None:
        raise errors.NotFound(f"No inference has the id {choice.task_id}.")
    if not selected.status.finished:
        raise errors.NotFinished("The inference has not finished yet, so no places were shown; select when it has.")
    if selected.status is not Status.SUCCESS:
        raise errors.TaskEnded("The inference ended without a result, so there is no place to select.", "task_ended")
    if not selected.shown:
        raise errors.PlaceNotShown(f"Place {choice.location_id} was not among those shown for {choice.task_id}.")
