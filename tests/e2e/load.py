"""Load on the API: many starts at once, or a steady stream. Every failed request is counted."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import httpx
from tests.ledger import Ledger

from placerank.demo import synthetic

if TYPE_CHECKING:
    from collections.abc import Sequence

_TIMEOUT_S = 60.0


def bodies(count: int, seed: int = 11) -> list[dict[str, Any]]:
    """JSON bodies of different travellers."""
    return [
        asdict(one) | {"time_arrival": one.time_arrival.isoformat(), "people_age": list(one.people_age)}
        for one in synthetic.travellers(count, seed)
    ]


def burst(url: str, count: int, at_once: int = 32) -> Ledger:
    """``count`` starts as fast as possible; returns when all are accepted. After a 503 the start is sent again."""
    told, given = Ledger(), bodies(min(count, 1000))

    async def ask(client: httpx.AsyncClient, numbers: range) -> None:
        name = f"burst {numbers.start}"
        for number in numbers:
            # Polling is intended: only another start shows whether the API accepts starts again.
            while (await _start(client, given[number % len(given)], told, name)) == 503:  # noqa: ASYNC110
                await asyncio.sleep(0.5)

    async def ask_all() -> None:
        async with _client(url, at_once) as client:
            await asyncio.gather(*(ask(client, range(first, count, at_once)) for first in range(at_once)))

    asyncio.run(ask_all())
    return told


class Stream:
    """Travellers who start an inference and wait for its answer, again and again, inside the context."""

    def __init__(self, url: str, travellers: int = 8, pause_s: float = 0.05) -> None:
        self._url = url
        self._travellers = travellers
        self._pause_s = pause_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._travel_all()), daemon=True)
        self.told = Ledger()

    def __enter__(self) -> Ledger:
        self._thread.start()
        return self.told

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    async def _travel_all(self) -> None:
        given = bodies(200)
        async with _client(self._url, self._travellers) as client:
            travellers = range(self._travellers)
            await asyncio.gather(*(self._travel(client, given[first::8], f"stream {first}") for first in travellers))

    async def _travel(self, client: httpx.AsyncClient, given: Sequence[dict[str, Any]], name: str) -> None:
        turn = 0
        while not self._ended.is_set():
            await _start(client, given[turn % len(given)], self.told, name, wait_s=10)
            await asyncio.sleep(self._pause_s)
            turn += 1


async def _start(client: httpx.AsyncClient, body: dict[str, Any], told: Ledger, name: str, wait_s: int = 0) -> int:
    """Send a start and note the reply in the ledger; returns the HTTP status, 0 without a reply."""
    headers = {"Prefer": f"wait={wait_s}"} if wait_s else {}
    try:
        reply = await client.post("/inference/start", json=body, headers=headers)
    except httpx.TransportError as error:
        told.failed(name, f"{type(error).__name__}: {error}")
        return 0
    told.heard(name, reply)
    if reply.status_code != 200 and (reply.status_code != 503 or wait_s):
        told.failed(name, f"HTTP {reply.status_code}: {reply.text[:200]}")
    return reply.status_code


def _client(url: str, connections: int) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    return httpx.AsyncClient(base_url=url, timeout=_TIMEOUT_S, limits=limits, trust_env=False)
