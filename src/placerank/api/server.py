"""Uvicorn, as every process here runs it."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

import uvicorn

from placerank.errors import PlacerankError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from fastapi import FastAPI

#: Longer than clients and proxies keep idle connections, so that it is not the server that closes one just as a
#: request comes in on it.
_KEEP_ALIVE_S = 75
_GRACE_S = 3


class _Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, on_ready: Callable[[int], None], on_end: Callable[[], None], drain_s: float
    ) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._on_end = on_end
        self._drain_s = drain_s
        self._draining = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            # What was loaded stays: the collector need not look at it again.
            gc.collect()
            gc.freeze()
            self._on_ready(self.servers[0].sockets[0].getsockname()[1])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End at once; on the first SIGTERM only after the drain, in which each reply sends its client elsewhere."""
        if sig != signal.SIGTERM or not self._drain_s or self._draining:
            super().handle_exit(sig, frame)
            return
        self._draining = True
        # Added to every reply. A connection that is closed after a reply never loses a request; an idle one that is
        # closed just as a request comes in on it does.
        self.config.encoded_headers.append((b"connection", b"close"))
        asyncio.get_running_loop().call_later(self._drain_s, super().handle_exit, sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer those who wait with what is known, then end."""
        self._on_end()
        await super().shutdown(sockets)


def check_port(host: str, port: int) -> None:
    """Raise ``PlacerankError`` where nobody can listen: to be found out before anything is started."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise PlacerankError(
            f"nobody can listen on port {port} of {host}: {reason}; choose others with --port and --host."
        ) from None


def serve(app: FastAPI, host: str, port: int, on_ready: Callable[[int], None], *, drain_s: float = 0) -> int:
    """Serve until SIGTERM or Ctrl-C; ``on_ready`` gets the port. Returns the exit code.

    After SIGTERM it goes on for ``drain_s`` seconds, in which a load balancer learns that this process is leaving.
    """
    check_port(host, port)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=_protocol(),
        access_log=False,
        log_config=None,
        server_header=False,
        # Nothing here asks who the client is or how it came.
        proxy_headers=False,
        backlog=4096,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
        lifespan="on",
    )
    server = _Server(config, on_ready, app.state.end_waits, drain_s)
    # Uvicorn raises the signal again once it has shut down: what then ends the process must not skip the clean-up.
    signal.signal(signal.SIGTERM, _end_quietly)
    signal.signal(signal.SIGINT, _end_quietly)
    try:
        server.run()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0 if server.started else 1


def _protocol() -> Any:
    try:
        from placerank.api.protocol import GatheringProtocol
    except ModuleNotFoundError:
        # Without httptools, which not every system has: uvicorn's own choice.
        return "auto"
    return GatheringProtocol


def _end_quietly(*_: Any) -> None:
    sys.exit(0)
