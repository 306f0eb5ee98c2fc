"""Runs an app under uvicorn: start-up, drain and shutdown."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from typing import TYPE_CHECKING, Any

import uvicorn

from placerank.errors import PlacerankError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from fastapi import FastAPI

#: Longer than clients and proxies keep idle connections. Otherwise the server could close a connection at the moment
#: when a request arrives on it.
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
        #: Whether a signal has come; whatever else ends the server is a failure.
        self.told_to_end = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            # Objects loaded so far live until the end. Frozen ones are skipped by later garbage collections.
            gc.collect()
            gc.freeze()
            self._on_ready(self.servers[0].sockets[0].getsockname()[1])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Exit at once; on the first SIGTERM drain first, closing each connection after its reply."""
        self.told_to_end = True
        if sig != signal.SIGTERM or not self._drain_s or self._draining:
            super().handle_exit(sig, frame)
            return
        self._draining = True
        # Uvicorn adds this header to every reply. Closing a connection right after a reply loses no request. Closing
        # an idle connection loses the request that arrives at the same moment.
        self.config.encoded_headers.append((b"connection", b"close"))
        asyncio.get_running_loop().call_later(self._drain_s, super().handle_exit, sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer waiting requests with the present status, then shut down."""
        self._on_end()
        await super().shutdown(sockets)


def check_port(host: str, port: int) -> None:
    """Raise ``PlacerankError`` if the port cannot be bound; to be called before anything is started."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise PlacerankError(
            f"cannot listen on port {port} of {host}: {reason}; choose another with --port or --host."
        ) from None


def serve(app: FastAPI, host: str, port: int, on_ready: Callable[[int], None], *, drain_s: float = 0) -> int:
    """Serve until SIGTERM or Ctrl-C; ``on_ready`` gets the port. Returns the exit code.

    After SIGTERM it serves for ``drain_s`` more seconds, so that load balancers can remove this process first. Raises
    ``PlacerankError`` if the server cannot start, or ends without being told to.
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
        # Nothing here reads the client's address or the URL's scheme.
        proxy_headers=False,
        backlog=4096,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
        lifespan="on",
    )
    server = _Server(config, on_ready, app.state.end_waits, drain_s)
    # Uvicorn raises the signal again after its shutdown. The default handlers would skip the caller's clean-up.
    end_quietly_when_told()
    try:
        server.run()
    except _ToldToEnd:
        return 0
    except SystemExit as ended:
        # Uvicorn exits with a code if it cannot start.
        if ended.code and not server.started:
            raise PlacerankError("The HTTP server could not start; the log says why.") from None
    if not server.told_to_end:
        raise PlacerankError("The HTTP server has ended without being told to; the log says why.")
    return 0


def end_quietly_when_told() -> None:
    """Make SIGTERM and Ctrl-C exit with 0, so that the caller cleans up."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end_quietly)


def _protocol() -> Any:
    try:
        from placerank.api.protocol import GatheringProtocol
    except ModuleNotFoundError:
        # Not every system has httptools. Without it, uvicorn chooses the protocol.
        return "auto"
    return GatheringProtocol


class _ToldToEnd(SystemExit):
    """A signal has told this process to end."""


def _end_quietly(*_: Any) -> None:
    raise _ToldToEnd(0)
