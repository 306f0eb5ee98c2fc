"""Errors as RFC 9457 problem replies. None holds a stack trace, SQL or a secret."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from placerank.api.requests import bodies
from placerank.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import FastAPI, Request

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_CODES = {404: ("not_found", "Not found"), 405: ("method_not_allowed", "This route does not take this method")}
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
_PREFIX = "Value error, "


def problem(
    status: int, code: str, title: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
) -> Response:
    """A problem reply."""
    body = {"type": f"urn:placerank:problem:{code}", "title": title, "status": status, "code": code, "detail": detail}
    return Response(json.dumps(body | more), status, dict(headers or {}), MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Turn every error of the app into a problem reply."""
    app.add_exception_handler(RequestError, _request_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(Exception, _unexpected)


def from_error(error: RequestError) -> Response:
    """The reply to a request that cannot be served."""
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return problem(error.status, error.code, error.title, str(error), headers=headers)


async def _request_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return from_error(error)


def from_invalid(error: RequestValidationError) -> Response:
    """The reply to a request that is not valid, with every wrong field."""
    errors = [{"field": _field(item["loc"]), "detail": _detail(item)} for item in error.errors()[: bodies.MOST_ERRORS]]
    detail = "; ".join(f"{item['field']}: {item['detail']}" for item in errors[:5])
    return problem(422, "invalid_request", "The request is not valid", detail, errors=errors)


async def _validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return from_invalid(error)


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, title = _CODES.get(error.status_code, ("http_error", "The request cannot be served"))
    headers = {"Allow": _allowed(request)} if error.status_code == 405 else error.headers
    return problem(error.status_code, code, title, f"{title}.", headers=headers)


def _allowed(request: Request) -> str:
    """Every method of this path, as RFC 9110 requires: Starlette names the methods of only one of its routes."""
    asked = [(method, {**request.scope, "method": method}) for method in _METHODS]
    routes = request.app.routes
    return ", ".join(method for method, scope in asked if any(r.matches(scope)[0] is Match.FULL for r in routes))


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(500, "internal_error", "Internal error", "The server failed unexpectedly; its log names the error.")


def _field(location: Sequence[int | str]) -> str:
    path = [part for part in location if part not in {"body", "path", "query", "header"}]
    return ".".join(str(part) for part in path) or "body"


def _detail(item: Mapping[str, Any]) -> str:
    message = str(item["msg"]).removeprefix(_PREFIX)
    return message[:1].lower() + message[1:]
