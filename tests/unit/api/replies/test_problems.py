"""Errors as clients see them: RFC 9457 problems with a stable code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx
import pytest
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError

from placerank import errors
from placerank.api.replies import problems
from placerank.api.requests import bodies

if TYPE_CHECKING:
    from collections.abc import Iterator


def kinds(base: type[errors.RequestError] = errors.RequestError) -> Iterator[type[errors.RequestError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from kinds(kind)


def made(kind: type[errors.RequestError]) -> errors.RequestError:
    return errors.TaskEnded("It ended.", "deadline_exceeded") if kind is errors.TaskEnded else kind("It is so.")


@pytest.fixture
async def client() -> httpx.AsyncClient:
    app = FastAPI()
    problems.install(app)
    named = {kind.__name__: kind for kind in kinds()}

    @app.get("/raise/{name}")
    async def raise_(name: str) -> None:
        if name == "Crash":
            raise RuntimeError("SELECT secret FROM passwords")
        raise made(named[name])

    @app.get("/wrong")
    async def wrong() -> None:
        bodies.parse(bodies.share, b'{"share": 101, "other": 1}')

    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


@pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: kind.__name__)
async def test_every_error_is_a_problem(kind: type[errors.RequestError], client: httpx.AsyncClient) -> None:
    reply = await client.get(f"/raise/{kind.__name__}")
    body = reply.json()
    assert reply.status_code == body["status"] == kind.status
    assert reply.headers["content-type"] == "application/problem+json"
    assert body["code"] == made(kind).code
    assert set(body) == {"type", "title", "status", "code", "detail"}
    assert body["type"].endswith(body["code"])
    assert body["detail"]


@pytest.mark.parametrize("kind", [kind for kind in kinds() if kind.status in {429, 503}], ids=lambda k: k.__name__)
async def test_who_may_try_again_is_told_when(kind: type[errors.RequestError], client: httpx.AsyncClient) -> None:
    assert int((await client.get(f"/raise/{kind.__name__}")).headers["retry-after"]) >= 1


async def test_a_task_that_ended_without_a_result_is_not_worth_asking_again(client: httpx.AsyncClient) -> None:
    reply = await client.get("/raise/TaskEnded")
    assert reply.status_code == 409
    assert reply.json()["code"] == "deadline_exceeded"
    assert "retry-after" not in reply.headers
    assert "retry-after" in (await client.get("/raise/NotFinished")).headers


async def test_unauthorized_says_which_scheme(client: httpx.AsyncClient) -> None:
    assert (await client.get("/raise/Unauthorized")).headers["www-authenticate"] == "Bearer"


async def test_a_crash_tells_nothing(client: httpx.AsyncClient) -> None:
    reply = await client.get("/raise/Crash")
    assert reply.status_code == 500
    assert reply.json()["code"] == "internal_error"
    for secret in ("SELECT", "passwords", "Traceback", "RuntimeError"):
        assert secret not in reply.text


async def test_every_wrong_field_is_listed(client: httpx.AsyncClient) -> None:
    reply = await client.get("/wrong")
    assert reply.status_code == 422
    assert {error["field"] for error in reply.json()["errors"]} == {"share", "other"}


async def test_unknown_routes_and_methods_are_problems_too(client: httpx.AsyncClient) -> None:
    unknown, method = await client.get("/nowhere"), await client.post("/wrong")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    assert (method.status_code, method.json()["code"]) == (405, "method_not_allowed")
    assert "GET" in method.headers["allow"]


def test_codes_are_unique_names() -> None:
    codes = [kind.code for kind in kinds()]
    assert len(set(codes)) == len(codes)
    assert all(code == code.lower() and code.replace("_", "").isalpha() for code in codes)


def test_a_body_that_is_no_json_is_another_error_than_a_wrong_one() -> None:
    with pytest.raises(errors.MalformedBody):
        bodies.parse(bodies.share, b'{"share": ')
    with pytest.raises(RequestValidationError):
        bodies.parse(bodies.share, json.dumps({"share": "much"}).encode())
