"""The parts of the OpenAPI description that signatures do not give: bodies, headers and every status code."""

from __future__ import annotations

from typing import Any, Final

from placerank.api.replies.problems import MEDIA_TYPE
from placerank.api.requests import bodies, parameters
from placerank.domain import PLACE_FIELDS, PLACE_FLAGS, Status, TaskType

_PROBLEM: Final = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable: programs may rely on it."},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}
_ERROR: Final = {"type": "object", "properties": {"code": {"type": "string"}, "detail": {"type": "string"}}}
_SHOWN_PLACE: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["score", "location_id", *PLACE_FIELDS],
    "properties": {
        "score": {"type": "number", "description": "P(chosen | the places of this answer and choosing none)."},
        "location_id": {"type": "integer"},
        **{name: {"type": "boolean" if name in PLACE_FLAGS else "number"} for name in PLACE_FIELDS},
    },
}
_STATUS: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["task_id", "status", "type"],
    "properties": {
        "task_id": {"type": "string", "format": "uuid"},
        "status": {"type": "string", "enum": [str(status) for status in Status]},
        "type": {"type": "string", "enum": [str(task_type) for task_type in TaskType]},
        "position": {"type": "integer", "description": "About how many inferences are ahead, while pending."},
        "model_version": {"type": "string"},
        "error": _ERROR,
        "results": {"type": "array", "items": _SHOWN_PLACE},
    },
}
_TRAINING_STATUS: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["task_id", "status", "type", "progress"],
    "properties": {
        **{name: schema for name, schema in _STATUS["properties"].items() if name not in {"results", "position"}},
        "progress": {"type": "number", "description": "From 0 to 1."},
        "metrics": {"type": "object"},
    },
}
_TEXTS: Final = {
    400: "The body is not JSON.",
    401: "A key is needed.",
    403: "This key is not valid for this route.",
    404: "Nothing is stored under this id.",
    409: "The task's present status or the shares do not allow this.",
    413: "The body is too large.",
    422: "The request is not valid; `errors` lists every wrong field.",
    503: "Temporarily unavailable; `Retry-After` says when to try again.",
}


def _route(schema: dict[str, Any], statuses: tuple[int, ...], **extra: Any) -> dict[str, Any]:
    responses: dict[int | str, dict[str, Any]] = {
        200: {"description": "Done.", "content": {"application/json": {"schema": schema}}}
    }
    for status in statuses:
        responses[status] = {"description": _TEXTS[status], "content": {MEDIA_TYPE: {"schema": _PROBLEM}}}
    return {"responses": responses, "response_model": None, "openapi_extra": extra}


def _header(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


_START_HEADERS: Final = (
    _header("Prefer", "`wait=N`: up to N seconds for the result; `respond-async`: 202 (RFC 7240).", {"type": "string"}),
    _header(
        "Idempotency-Key",
        "The same key and body give the same task for 24 hours.",
        {"type": "string", "minLength": 1, "maxLength": 255},
    ),
)


def _start(
    adapter: Any, schema: dict[str, Any], statuses: tuple[int, ...], *queries: dict[str, Any], required: bool
) -> dict[str, Any]:
    taken = [*queries, *_START_HEADERS]
    route = _route(schema, statuses, parameters=taken, **bodies.documented(adapter, required=required))
    route["responses"][202] = {
        "description": "Accepted; `Location` is the address of its status.",
        "content": {"application/json": {"schema": schema}},
    }
    return route


_CLIENT: Final = (401, 422, 503)
START: Final = _start(bodies.traveller, _STATUS, (400, 413, *_CLIENT), parameters.DEADLINE, required=True)
STATUS: Final = _route(_STATUS, (404, *_CLIENT), parameters=[parameters.TASK_ID, parameters.WAIT])
RESULTS: Final = _route(
    {"type": "array", "items": _SHOWN_PLACE},
    (404, 409, *_CLIENT),
    parameters=[parameters.TASK_ID, parameters.LIMIT],
)
SELECT: Final = _route(
    {"type": "object", "properties": {"task_id": {"type": "string"}, "location_id": {"type": "integer"}}},
    (400, 404, 409, 413, *_CLIENT),
    **bodies.documented(bodies.selection),
)
CANCEL: Final = _route(_STATUS, (404, *_CLIENT), parameters=[parameters.TASK_ID])
TRAIN: Final = _start(bodies.training, _TRAINING_STATUS, (400, 403, 413, *_CLIENT), required=False)
TRAIN_CANCEL: Final = _route(_TRAINING_STATUS, (403, 404, *_CLIENT))
TRAIN_STATUS: Final = _route(_TRAINING_STATUS, (403, 404, *_CLIENT))
ROWS: Final = _route({"type": "array", "items": {"type": "object"}}, (403, *_CLIENT))
ROWS_OF_TASK: Final = _route({"type": "array", "items": {"type": "object"}}, (403, 404, *_CLIENT))
ROW: Final = _route({"type": "object"}, (403, 404, *_CLIENT))
INFO: Final = _route({"type": "object"}, (403, *_CLIENT))
ERASE: Final = _route({"type": "object"}, (403, 404, *_CLIENT))
PUT_LOCATIONS: Final = _route({"type": "object"}, (400, 403, 413, *_CLIENT), **bodies.documented(bodies.places))
MODELS: Final = _route({"type": "array", "items": {"type": "object"}}, (403, *_CLIENT))
PUT_SHARE: Final = _route(
    {"type": "array", "items": {"type": "object"}},
    (400, 403, 404, 409, 413, *_CLIENT),
    **bodies.documented(bodies.share),
)
HEALTH: Final = _route({"type": "object"}, ())
READY: Final = _route({"type": "object"}, (503,))
