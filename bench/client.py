"""A closed-loop HTTP/1.1 client on raw sockets. It uses little CPU, so that most of the machine is left to the server.

A traveller starts a request, polls until it has finished (or waits in the same call), reads the places, chooses the
first one, and starts again. Replies must have a Content-Length; chunked replies are not supported.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

from placerank.demo import synthetic

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Kinds of calls, in the order of a loop.
CALLS: Final = ("start", "status", "results", "select")
#: A reply that takes longer is an error.
PATIENCE_S: Final = 30.0
_PLACES: Final = 10
_OK: Final = 200
_AFTER_ERROR_S: Final = 0.1


class LoopFailed(Exception):
    """A loop that failed; the message is the kind of failure."""


@dataclass(slots=True)
class Tally:
    """Counts and times of all travellers, in seconds."""

    started: int = 0
    loops: int = 0
    answers_s: list[float] = field(default_factory=list)
    calls_s: dict[str, list[float]] = field(default_factory=lambda: {call: [] for call in CALLS})
    errors: Counter[str] = field(default_factory=Counter)

    def begin_window(self) -> None:
        """Forget the times so far. The counts stay: they are compared with the database at the end."""
        self.answers_s.clear()
        for times in self.calls_s.values():
            times.clear()


@dataclass(frozen=True, slots=True)
class Target:
    """The server, and how to ask: poll every ``poll_s`` seconds, or ``wait`` for the places in the first call."""

    host: str
    port: int
    poll_s: float
    wait: bool = False
    new_connections: bool = False
    #: A loop is the first call only, to ``path``: for servers without the other routes.
    once: bool = False
    path: str = "/inference/start"

    @classmethod
    def of(cls, url: str, **how: Any) -> Target:
        """The target at ``http://host:port``; ``how`` sets the other fields."""
        parts = urlsplit(url)
        return cls(parts.hostname or "127.0.0.1", parts.port or 80, **how)

    @property
    def mode(self) -> str:
        """The kind of loop: ``call`` (one call), ``wait`` (a waiting start and a choice) or ``poll`` (four calls)."""
        return "call" if self.once else "wait" if self.wait else "poll"

    def request(self, method: str, path: str, body: bytes = b"", headers: str = "") -> bytes:
        """A whole request as bytes."""
        if self.new_connections:
            headers += "Connection: close\r\n"
        if body:
            headers += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return f"{method} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n{headers}\r\n".encode() + body


class Wire(asyncio.Protocol):
    """One connection with at most one request in flight."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._reply: asyncio.Future[tuple[int, bytes]] | None = None

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request that waits for a reply."""
        self._transport = None
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(exc or ConnectionResetError())

    def data_received(self, data: bytes) -> None:
        """Set the result of the request when its reply is complete."""
        received = self._received = self._received + data if self._received else data
        end = received.find(b"\r\n\r\n")
        if end < 0 or self._reply is None or self._reply.done():
            return
        length = _content_length(received[:end])
        if length is None:
            self._reply.set_exception(LoopFailed("a reply without a length"))
        elif len(received) >= end + 4 + length:
            self._received = b""
            self._reply.set_result((int(received[9:12]), received[end + 4 :]))

    def send(self, request: bytes) -> asyncio.Future[tuple[int, bytes]]:
        """Send a request; returns a future of (status, body)."""
        self._reply = asyncio.get_running_loop().create_future()
        if self._transport is None:
            self._reply.set_exception(ConnectionResetError())
        else:
            self._transport.write(request)
        return self._reply

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


def _content_length(head: bytes) -> int | None:
    found = head.lower().find(b"\r\ncontent-length:")
    return None if found < 0 else int(head[found + 17 :].split(b"\r\n", 1)[0])


class Traveller:
    """One traveller: its own connection, and one loop after the other until it is stopped."""

    def __init__(self, target: Target, bodies: Sequence[bytes], tally: Tally) -> None:
        prefer = f"Prefer: wait={PATIENCE_S:.0f}\r\n" if target.wait else ""
        self._target = target
        self._starts = [target.request("POST", target.path, body, prefer) for body in bodies]
        self._tally = tally
        self._wire: Wire | None = None

    async def travel(self, stopped: asyncio.Event) -> None:
        """Loop until ``stopped`` is set; the current loop is completed."""
        turn = 0
        while not stopped.is_set():
            try:
                await self._loop(self._starts[turn % len(self._starts)])
            except (LoopFailed, OSError, TimeoutError) as error:
                self._tally.errors[str(error) if isinstance(error, LoopFailed) else type(error).__name__] += 1
                self._close()
                await asyncio.sleep(_AFTER_ERROR_S)
            turn += 1
        self._close()

    async def _loop(self, start: bytes) -> None:
        began = time.perf_counter()
        told = json.loads(await self._call("start", start))
        self._tally.started += 1
        task_id = told["task_id"]
        places = _waited(told) if self._target.wait else await self._poll(task_id)
        self._tally.answers_s.append(time.perf_counter() - began)
        _check(places)
        if not self._target.once:
            await self._choose(task_id, places)
        self._tally.loops += 1

    async def _choose(self, task_id: str, places: Any) -> None:
        choice = b'{"task_id":"%s","location_id":%d}' % (task_id.encode(), places[0]["location_id"])
        await self._call("select", self._target.request("PUT", "/inference/select/", choice))

    async def _poll(self, task_id: str) -> Any:
        status = self._target.request("GET", f"/inference/status/{task_id}")
        deadline = time.monotonic() + PATIENCE_S
        while (now := json.loads(await self._call("status", status))["status"]) != "SUCCESS":
            if now not in {"PENDING", "STARTED"}:
                raise LoopFailed(f"status {now}")
            if time.monotonic() > deadline:
                raise LoopFailed("never finished")
            await asyncio.sleep(self._target.poll_s)
        return json.loads(await self._call("results", self._target.request("GET", f"/inference/results/{task_id}")))

    async def _call(self, name: str, request: bytes) -> bytes:
        began = time.perf_counter()
        status, body = await self._answer(request)
        self._tally.calls_s[name].append(time.perf_counter() - began)
        if status != _OK:
            raise LoopFailed(f"{name}: HTTP {status}")
        return body

    async def _answer(self, request: bytes) -> tuple[int, bytes]:
        wire = self._wire
        if wire is None or not wire.usable or self._target.new_connections:
            self._close()
            loop = asyncio.get_running_loop()
            _, wire = await loop.create_connection(Wire, self._target.host, self._target.port)
            self._wire = wire
        reply = wire.send(request)
        # A timer that closes the connection is much cheaper than a task with a time-out for each reply.
        impatience = asyncio.get_running_loop().call_later(PATIENCE_S + 5, wire.close)
        try:
            return await reply
        finally:
            impatience.cancel()

    def _close(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None


def _waited(told: dict[str, Any]) -> Any:
    if told["status"] != "SUCCESS":
        raise LoopFailed(f"waited, and status {told['status']}")
    return told["results"]


def _check(places: Any) -> None:
    if not isinstance(places, list) or len(places) != _PLACES:
        raise LoopFailed("not ten places")
    scores = [place["score"] for place in places]
    if scores != sorted(scores, reverse=True):
        raise LoopFailed("not best first")


def bodies(n: int, seed: int) -> list[bytes]:
    """``n`` different requests of travellers, as JSON."""
    return [json.dumps(asdict(one), default=str).encode() for one in synthetic.travellers(n, seed)]
