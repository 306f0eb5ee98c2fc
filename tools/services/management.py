"""Calls of RabbitMQ's management interface."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, unquote, urlsplit


def definitions(version: tuple[int, int], user: str, password: str, vhost: str) -> dict[str, Any]:
    """The project's definitions for a broker of a version."""
    from placerank.queue.definitions import definitions as of_project  # here: finding services works without it

    return of_project(version, user=user, password=password, vhost=vhost)


def version(address: str) -> tuple[int, int]:
    """The broker's major and minor version."""
    major, minor, *_ = _call(address, "/api/overview")["rabbitmq_version"].split(".")
    return int(major), int(minor)


def load(address: str, wanted: dict[str, Any]) -> None:
    """Imports definitions into a running broker."""
    _call(address, "/api/definitions", wanted)


def answers(address: str) -> bool:
    """Whether the interface answers with these credentials."""
    return has_queues(address, None, [])


def has_queues(address: str, vhost: str | None, names: list[str]) -> bool:
    """Whether the interface answers and every queue is there (a queue is listed once its leader is elected)."""
    try:
        _call(address, "/api/overview")
        present = _call(address, f"/api/queues/{quote(vhost, safe='')}") if vhost and names else []
    except (OSError, HTTPException, ValueError):
        return False
    return set(names) <= {queue["name"] for queue in present}


def _call(address: str, path: str, body: dict[str, Any] | None = None) -> Any:
    parts = urlsplit(address)
    login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    server = parts._replace(netloc=parts.netloc.rpartition("@")[2], path=path).geturl()
    request = urllib.request.Request(server, data=json.dumps(body).encode() if body else None)
    request.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
    request.add_header("Content-Type", "application/json")
    # Without a proxy: one that is set in the environment cannot reach our loopback.
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as reply:
        text = reply.read()
    return json.loads(text) if text else None
