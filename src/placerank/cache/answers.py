"""Answers as bytes: the worker renders them once, the cache keeps them, the API sends them unchanged.

A record is the status, the model version, the body of the status reply, and the list of places, separated by line
breaks. Each place is on its own line, so that ``limit`` cuts the list without parsing it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from placerank.domain import PLACE_FIELDS, PLACE_FLAGS, Problem, Status, TaskType

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

_SEPARATOR = b",\n"
#: How the body of every status reply begins; the task's id, of 36 characters, follows.
_BEGIN = b'{"task_id":"'
_ID_END = len(_BEGIN) + 36
_to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished task: ``status_json`` is the body of its status reply, ``places_json`` that of its results."""

    status: Status
    status_json: bytes
    model_version: str
    places_json: bytes

    def encode(self) -> bytes:
        """The answer as one value for the cache."""
        head = f"{self.status}\n{self.model_version}\n".encode()
        return head + self.status_json + b"\n" + self.places_json

    @classmethod
    def decode(cls, record: bytes) -> Answer:
        """The answer that ``encode`` wrote; raises ValueError for a record that is cut, or that something else wrote.

        The form is checked and not each place: this runs for most requests, and the bytes are sent unread.
        """
        status, version, status_json, places = record.split(b"\n", 3)
        found = cls(Status(status.decode()), status_json, version.decode("ascii"), places)
        if not (found.status.finished and found.model_version.isprintable() and found._is_whole()):
            raise ValueError("a record of the cache is not an answer")
        return found

    def _is_whole(self) -> bool:
        middle = b'","status":"%s","type":"' % self.status.encode()
        status_is = self.status_json.startswith(_BEGIN) and self.status_json.startswith(middle, _ID_END)
        places_are = self.places_json == b"[]" or self.places_json.startswith(b'[{"score":')
        return (
            status_is and places_are and self.status_json.endswith(b"}") and self.places_json.endswith((b"}]", b"[]"))
        )

    def belongs_to(self, task_id: UUID) -> bool:
        """Whether it is this task's answer, and not one that was stored under its key by mistake."""
        return self.status_json[len(_BEGIN) : _ID_END] == str(task_id).encode()

    @property
    def problem_code(self) -> str:
        """The error's code; without a code, the status in lower case."""
        return str(json.loads(self.status_json).get("error", {}).get("code", self.status.lower()))

    def first(self, limit: int) -> bytes:
        """The best ``limit`` places as a JSON list."""
        items = self.places_json[1:-1].split(_SEPARATOR, limit)
        return b"[" + _SEPARATOR.join(items[:limit]) + b"]"


def render_place(location_id: int, values: Sequence[float | bool]) -> bytes:
    """A place's JSON object without its braces and score; ``values`` are in the order of ``PLACE_FIELDS``."""
    fields: dict[str, object] = {"location_id": location_id}
    for name, value in zip(PLACE_FIELDS, values, strict=True):
        fields[name] = bool(value) if name in PLACE_FLAGS else float(value)
    return _to_json(fields)[1:-1].encode()


def render_places(scored: Iterable[tuple[float, bytes]]) -> bytes:
    """Scores and rendered places, best first, as a JSON list."""
    return b"[" + _SEPARATOR.join(b'{"score":%s,%s}' % (repr(score).encode(), place) for score, place in scored) + b"]"


def succeeded(task_id: str, model_version: str, places_json: bytes) -> Answer:
    """The record of an inference that succeeded."""
    status = status_json(task_id, TaskType.INFERENCE, Status.SUCCESS, model_version=model_version)
    return Answer(Status.SUCCESS, status, model_version, places_json)


def ended(task_id: str, status: Status, problem: Problem | None) -> Answer:
    """The record of an inference that failed or was cancelled."""
    error = {} if problem is None else {"error": problem.as_dict()}
    return Answer(status, status_json(task_id, TaskType.INFERENCE, status, **error), "", b"[]")


def status_json(task_id: str, task_type: TaskType, status: Status, **more: object) -> bytes:
    """The body of a status reply."""
    body = {"task_id": task_id, "status": status, "type": task_type, **more}
    return _to_json(body).encode()
