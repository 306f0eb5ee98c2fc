"""Replies that several routes give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.responses import Response
from pydantic_core import to_json

from placerank.cache import answers
from placerank.cache.answers import Answer
from placerank.domain import Status, TaskType

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from placerank.api.requests.preferences import Preferences
    from placerank.db.inferences import Standing

JSON = "application/json"


def raw(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A reply whose JSON is rendered already."""
    return Response(body, status, headers, JSON)


def rendered(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A reply from plain data; dates and ids are written as ISO 8601 and RFC 9562 say."""
    return raw(to_json(content), status, headers)


def status_body(task_id: UUID, found: Answer | Standing) -> bytes:
    """The body of a status reply."""
    if isinstance(found, Answer):
        return found.status_json
    return answers.status_json(str(task_id), TaskType.INFERENCE, found.status, position=found.ahead)


def started(task_id: UUID, task_type: TaskType, prefer: Preferences, body: bytes | None = None) -> Response:
    """The reply to a start whose task has not finished, or whose client does not wait."""
    if body is None:
        body = answers.status_json(str(task_id), task_type, Status.PENDING)
    headers = prefer.applied(waited=False)
    if not prefer.respond_async:
        return raw(body, 200, headers)
    return raw(body, 202, {**headers, "Location": f"/{_route(task_type)}/status/{task_id}"})


def answered(answer: Answer, prefer: Preferences) -> Response:
    """The reply to a start whose inference finished while the client waited; it includes the places."""
    headers = prefer.applied(waited=True)
    if answer.status is not Status.SUCCESS:
        return raw(answer.status_json, 200, headers)
    headers["Model-Version"] = answer.model_version
    return raw(answer.status_json[:-1] + b',"results":' + answer.places_json + b"}", 200, headers)


def _route(task_type: TaskType) -> str:
    return "train" if task_type is TaskType.TRAINING else "inference"
