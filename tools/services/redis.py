"""Redis as a cache, without persistence."""

from __future__ import annotations

import shutil
import socket
from functools import partial
from typing import TYPE_CHECKING

from .container import container
from .private import LOOPBACK, Private, free_port, unprivileged_user
from .running import Running

if TYPE_CHECKING:
    import threading

VARIABLE = "CELERY_BACKEND_URL"
PACKAGE = "redis-server"
OPTIONS = ["--save", "", "--appendonly", "no"]


def find() -> str | None:
    """The server's binary."""
    return shutil.which("redis-server") or shutil.which("valkey-server")


def start(binary: str, cancelled: threading.Event) -> Running:
    """Starts a private server."""
    port = free_port()
    argv = [binary, *OPTIONS, "--bind", LOOPBACK, "--port", str(port)]
    return _started(Private("redis", argv, user=unprivileged_user("redis")), port, cancelled, owned=True)


def start_container(docker: str, cancelled: threading.Event) -> Running:
    """Starts a container."""
    port = free_port()
    process = container(docker, "redis", "redis:8", ports={6379: port}, command=["redis-server", *OPTIONS])
    return _started(process, port, cancelled, owned=False)


def _started(process: Private, port: int, cancelled: threading.Event, *, owned: bool) -> Running:
    return Running.started(process, partial(_answers, port), cancelled, url=f"redis://{LOOPBACK}:{port}/0", owned=owned)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
