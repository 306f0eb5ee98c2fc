"""Travellers at the API's door: many starts at once, or a steady stream whose every failed request is counted."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from placerank.demo import synthetic

if TYPE_CHECKING:
    from collections.abc import Sequence

_TIMEOUT_S = 60.0


@dataclass
class Seen:
    """What the travellers saw: accepted tasks, answers, and requests that failed in any way."""

    accepted: list[str] = field(default_factory=list)
    answered: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)


def bodies(count: int, seed: int = 11) -> list[dict[str, Any]]:
    """Requests of travellers as JSON."""
    return [
        asdict(one) | {"time_arrival": one.time_arrival.isoformat(), "people_age": list(one.people_age)}
        for one in synthetic.travellers(count, seed)
    ]


def burst(url: str, count: int, at_once: int = 32) -> Seen:
    """So many starts, as fast as they are taken; returns when all are accepted. A 503 is tried again, as it asks."""
    seen, given = Seen(), bodies(min(count, 1000))

    async def ask(client: httpx.AsyncClient, numbers: Sequence[int]) -> None:
        for number in numbers:
            while (await _start(client, given[number % len(given)], seen)) == 503:
                seen.refused += 1
                await asyncio.sleep(0.5)

    async def ask_all() -> None:
        async with _client(url, at_once) as client:
            await asyncio.gather(*(ask(client, range(first, count, at_once)) for first in range(at_once)))

    asyncio.run(ask_all())
    return seen


class Stream:
    """Travellers who ask, wait for the answer and choose, one after the other, while the context lasts."""

    def __init__(self, url: str, travellers: int = 8, pause_s: float = 0.05) -> None:
        self._url = url
        self._travellers = travellers
        self._pause_s = pause_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._travel_all()), daemon=True)
        self.seen = Seen()

    def __enter__(self) -> Seen:
        self._thread.start()
        return self.seen

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    async def _travel_all(self) -> None:
        given = bodies(200)
        async with _client(self._url, self._travellers) as client:
            await asyncio.gather(*(self._travel(client, given[first::8]) for first in range(self._travellers)))

    async def _travel(self, client: httpx.AsyncClient, given: Sequence[dict[str, Any]]) -> None:
        turn = 0
        while not self._ended.is_set():
            began = time.monotonic()
            await _start(client, given[turn % len(given)], self.seen, wait_s=10)
            self.seen.waits_s.append(time.monotonic() - began)
            await asyncio.sleep(self._pause_s)
            turn += 1


async def _start(client: httpx.AsyncClient, body: dict[str, Any], seen: Seen, wait_s: int = 0) -> int:
    headers = {"Prefer": f"wait={wait_s}"} if wait_s else {}
    try:
        reply = await client.post("/inference/start", json=body, headers=headers)
    except httpx.TransportError as error:
        seen.failures.append(f"{type(error).__name__}: {error}")
        return 0
    if reply.status_code == 200:
        told = reply.json()
        seen.accepted.append(told["task_id"])
        seen.answered += told["status"] == "SUCCESS"
    elif reply.status_code != 503 or wait_s:
        seen.failures.append(f"HTTP {reply.status_code}: {reply.text[:200]}")
    return reply.status_code


def _client(url: str, connections: int) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    return httpx.AsyncClient(base_url=url, timeout=_TIMEOUT_S, limits=limits, trust_env=False)
