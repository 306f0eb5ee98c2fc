"""Checks that a broker has what placerank needs: exchanges, queues, bindings and policies.

Every process that publishes declares queues and bindings. Policies can only come from imported definitions. Without
them, queues have no length limit and messages are not dead-lettered. This shows only in an incident, so the relay
checks it at its start, through the management API.
"""

from __future__ import annotations

import asyncio
import base64
import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

import aiormq
from aiormq.exceptions import AMQPError, AuthenticationError, ConnectionNotAllowed, ProbableAuthenticationError

from placerank.config import addresses
from placerank.queue import topology
from placerank.queue.definitions import vhost_definitions

if TYPE_CHECKING:
    from collections.abc import Iterator

_TIMEOUT_S = 5


class BrokerNotChecked(Exception):
    """The management API does not answer; the message says why."""


def refused(broker_url: str) -> str | None:
    """Why the broker refuses these credentials, in a sentence; none if it accepts them or is unreachable."""

    async def connect() -> None:
        async with await aiormq.connect(broker_url):
            pass

    try:
        asyncio.run(asyncio.wait_for(connect(), _TIMEOUT_S))
    except (AuthenticationError, ProbableAuthenticationError, ConnectionNotAllowed) as error:
        return f"the broker refuses user, password or virtual host: {' '.join(str(error).split())}"
    except (AMQPError, OSError, TimeoutError):
        return None
    return None


def missing(management_url: str, broker_url: str) -> list[str]:
    """What the broker lacks, one sentence each; raises ``BrokerNotChecked``.

    If the management address has no user and password, the broker's are used.
    """
    vhost = unquote(urlsplit(broker_url).path[1:]) or "/"
    if not urlsplit(management_url).username:
        management_url = addresses.with_credentials(management_url, *addresses.credentials(broker_url))
    found = _get(management_url, f"definitions/{quote(vhost, safe='')}")
    version = _version(str(_get(management_url, "overview")["rabbitmq_version"]))
    return list(_missing(vhost_definitions(version, vhost), found))


def unacknowledged(management_url: str, broker_url: str) -> dict[str, int]:
    """The number of unacknowledged messages in each queue, some seconds old. Raises ``BrokerNotChecked``."""
    vhost = unquote(urlsplit(broker_url).path[1:]) or "/"
    if not urlsplit(management_url).username:
        management_url = addresses.with_credentials(management_url, *addresses.credentials(broker_url))
    found = _get(management_url, f"queues/{quote(vhost, safe='')}?columns=name,messages_unacknowledged")
    ours = {topology.DEAD_LETTER_QUEUE, *(queue.name for queue in topology.WORK_QUEUES)}
    return {row["name"]: row.get("messages_unacknowledged", 0) for row in found if row["name"] in ours}


def _missing(wanted: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    for kind in ("exchanges", "queues", "policies"):
        there = {item["name"]: item for item in found.get(kind, [])}
        for item in wanted[kind]:
            name = item["name"]
            if name not in there:
                yield f"{kind}: {name} is missing; import the definitions."
            elif kind == "policies" and there[name]["definition"] != item["definition"]:
                yield f"policies: {name} differs from what this version needs; import the definitions again."
    bindings = {(item["source"], item["destination"], item["routing_key"]) for item in found.get("bindings", [])}
    for item in wanted["bindings"]:
        if (item["source"], item["destination"], item["routing_key"]) not in bindings:
            yield f"bindings: {item['source']} to {item['destination']} is missing; import the definitions."


def _version(text: str) -> tuple[int, int]:
    major, minor = text.split(".")[:2]
    return int(major), int(minor)


def _get(management_url: str, path: str) -> Any:
    credentials = ":".join(addresses.credentials(management_url)).encode()
    address = addresses.without_credentials(management_url).rstrip("/")
    request = urllib.request.Request(f"{address}/api/{path}")  # noqa: S310 - the scheme is checked with the settings
    request.add_header("Authorization", "Basic " + base64.b64encode(credentials).decode())
    try:
        # Directly to the broker: a proxy in the environment is for addresses outside.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=_TIMEOUT_S) as reply:
            return json.load(reply)
    except (OSError, ValueError) as error:
        raise BrokerNotChecked(f"the management API does not answer: {error}") from error
