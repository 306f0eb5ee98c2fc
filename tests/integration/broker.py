"""A virtual host of the broker, for tests that inspect and change it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

import httpx
from kombu import Connection

from placerank.queue import topology

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.services import Services


@dataclass(frozen=True)
class Message:
    """A message from a queue."""

    body: Any
    headers: dict[str, Any]
    properties: dict[str, Any]

    @property
    def task_id(self) -> str:
        """The id of its task."""
        return str(self.body[0][0])


class Vhost:
    """One virtual host."""

    def __init__(self, services: Services, url: str) -> None:
        self._services = services
        self.url = url
        self.name = unquote(urlsplit(url).path[1:])

    def depth(self, queue: str = topology.INFERENCE.name) -> int:
        """The number of ready messages in a queue, from a passive declare."""
        with self._channel() as channel:
            return int(channel.queue_declare(queue, passive=True).message_count)

    def drain(self, queue: str = topology.INFERENCE.name) -> list[Message]:
        """Take every message out of a queue."""
        found = []
        with self._channel() as channel:
            while message := channel.basic_get(queue, no_ack=True):
                headers = message.properties.pop("application_headers", {})
                found.append(Message(json.loads(message.body), headers, message.properties))
        return found

    def policy(self, name: str, pattern: str, definition: dict[str, Any]) -> None:
        """Set a policy with a higher priority than the project's own."""
        body = {"pattern": pattern, "definition": definition, "apply-to": "queues", "priority": 99}
        self._management("PUT", f"policies/{self._quoted}/{name}", body)

    def add_user(self, name: str, password: str) -> None:
        """Add a user with all permissions in this virtual host."""
        self._management("PUT", f"users/{name}", {"password": password, "tags": ""})
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        self._management("PUT", f"permissions/{self._quoted}/{name}", everything)

    def remove_user(self, name: str) -> None:
        """Delete a user."""
        self._management("DELETE", f"users/{name}")

    def lose_everything(self) -> None:
        """Act like a broker that restarts with an empty disk: all queues exist again and are empty."""
        self._management("DELETE", f"vhosts/{self._quoted}")
        self._services.create_vhost(self.name)

    @property
    def _quoted(self) -> str:
        return quote(self.name, safe="")

    def _management(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        assert self._services.management_url is not None
        # No proxy for loopback addresses.
        with httpx.Client(base_url=self._services.management_url, trust_env=False, timeout=30) as client:
            reply = client.request(method, f"/api/{path}", json=body)
        reply.raise_for_status()

    @contextmanager
    def _channel(self) -> Iterator[Any]:
        with Connection(self.url) as connection:  # type: ignore[no-untyped-call]
            yield connection.channel()
