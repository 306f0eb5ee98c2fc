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

_SEPARATOR = b",\n"
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
        """The answer that ``encode`` wrote."""
        status, version, status_json, places = record.split(b"\n", 3)
        return cls(Status(status.decode()), status_json, version.decode(), places)

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
