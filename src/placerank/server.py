"""Uvicorn, as every process here runs it."""

from __future__ import annotations

import gc
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

import uvicorn

from placerank.errors import PlacerankError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI

#: Longer than clients and proxies keep idle connections, so that it is not the server that closes one just as a
#: request comes in on it.
_KEEP_ALIVE_S = 75
_GRACE_S = 3


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_ready: Callable[[int], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            # What was loaded stays: the collector need not look at it again.
            gc.collect()
            gc.freeze()
            self._on_ready(self.servers[0].sockets[0].getsockname()[1])


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


def serve(app: FastAPI, host: str, port: int, on_ready: Callable[[int], None]) -> int:
    """Serve until SIGTERM or Ctrl-C; ``on_ready`` gets the port. Returns the exit code."""
    check_port(host, port)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
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
    server = _Server(config, on_ready)
    # Uvicorn raises the signal again once it has shut down: what then ends the process must not skip the clean-up.
    signal.signal(signal.SIGTERM, _end_quietly)
    signal.signal(signal.SIGINT, _end_quietly)
    try:
        server.run()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0 if server.started else 1


def _end_quietly(*_: Any) -> None:
    sys.exit(0)
