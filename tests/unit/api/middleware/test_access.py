"""API keys: a request without a key or with a wrong key is refused before anything else is checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from httpx import ASGITransport, AsyncClient

from placerank import runtime
from placerank.api.app import create_app
from placerank.cache.memory import MemoryCache
from placerank.config import settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI

CLIENT = {"Authorization": "Bearer for-clients"}
ADMIN = {"Authorization": "Bearer for-admins"}


def app() -> FastAPI:
    return create_app(runtime.api_runtime(settings.load(), cache=MemoryCache()))


@pytest.fixture
async def guarded(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AsyncClient]:
    monkeypatch.setenv("PLACERANK_API__KEYS", "older, for-clients")
    monkeypatch.setenv("PLACERANK_API__ADMIN_KEYS", "for-admins")
    async with AsyncClient(transport=ASGITransport(app()), base_url="http://placerank") as client:
        yield client


@pytest.mark.parametrize("path", ["/inference/start", "/train/start"])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic for-admins"}])
async def test_without_a_good_key_nothing_is_served(guarded: AsyncClient, path: str, headers: dict[str, str]) -> None:
    reply = await guarded.post(path, content=b"not json", headers=headers)
    assert reply.status_code == 401
    assert reply.json()["code"] == "unauthorized"
    assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert "for-" not in reply.text


async def test_a_client_s_key_is_good_for_its_routes_only(guarded: AsyncClient) -> None:
    assert (await guarded.post("/inference/start", content=b"not json", headers=CLIENT)).status_code == 400
    for path in ("/content/users", "/models", "/train/status/00000000-0000-0000-0000-000000000000"):
        reply = await guarded.get(path, headers=CLIENT)
        assert (reply.status_code, reply.json()["code"]) == (403, "forbidden")


async def test_an_admin_s_key_is_good_for_both(guarded: AsyncClient) -> None:
    assert (await guarded.post("/inference/start", content=b"not json", headers=ADMIN)).status_code == 400
    assert (await guarded.put("/models/1/share", content=b"not json", headers=ADMIN)).status_code == 400


async def test_health_and_the_front_page_need_no_key(guarded: AsyncClient) -> None:
    for path in ("/", "/healthz/live", "/metrics"):
        assert (await guarded.get(path)).status_code == 200


async def test_without_configured_keys_all_is_open() -> None:
    async with AsyncClient(transport=ASGITransport(app()), base_url="http://placerank") as client:
        assert (await client.post("/inference/start", content=b"not json")).status_code == 400
        assert (await client.put("/models/1/share", content=b"not json")).status_code == 400
