"""The definitions that a RabbitMQ broker imports when it starts, made for its version.

RabbitMQ stops reading a definitions file at the first key that it does not know. A policy of a newer version would
therefore silently drop the rest of the file. Importing definitions also switches off ``RABBITMQ_DEFAULT_USER``, so the
users must be in the file.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import TYPE_CHECKING, Any

from placerank.queue import topology

if TYPE_CHECKING:
    from collections.abc import Mapping

#: ``consumer-timeout`` is a policy key from this version on.
CONSUMER_TIMEOUT_SINCE = (3, 12)
#: From this version on, a quorum queue has a delivery limit of 20 by default; -1 means no limit.
DELIVERY_LIMIT_SINCE = (4, 0)


def password_hash(password: str, salt: bytes | None = None) -> str:
    """RabbitMQ's salted SHA-256 form of a password (rabbit_password_hashing_sha256)."""
    salt = secrets.token_bytes(4) if salt is None else salt
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def definitions(version: tuple[int, int], *, user: str, password: str, vhost: str) -> dict[str, Any]:
    """Users, virtual host, permissions, exchanges, queues, bindings and policies for a broker of ``version``."""
    return {
        "users": [
            {
                "name": user,
                "password_hash": password_hash(password),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": ["administrator"],
            }
        ],
        "vhosts": [{"name": vhost}],
        "permissions": [{"user": user, "vhost": vhost, "configure": ".*", "write": ".*", "read": ".*"}],
        **vhost_definitions(version, vhost),
    }


def vhost_definitions(version: tuple[int, int], vhost: str) -> dict[str, Any]:
    """The part of the definitions that lives in one virtual host."""
    queues = [topology.DEAD_LETTER_QUEUE, *(queue.name for queue in topology.WORK_QUEUES)]
    return {
        "exchanges": [
            {"name": name, "vhost": vhost, "type": "topic", "durable": True, "auto_delete": False, "arguments": {}}
            for name in (topology.EXCHANGE, topology.DEAD_LETTER_EXCHANGE)
        ],
        "queues": [
            {"name": name, "vhost": vhost, "durable": True, "auto_delete": False, "arguments": topology.QUEUE_ARGUMENTS}
            for name in queues
        ],
        "bindings": [
            *(_binding(vhost, topology.EXCHANGE, queue.name, queue.name) for queue in topology.WORK_QUEUES),
            _binding(vhost, topology.DEAD_LETTER_EXCHANGE, topology.DEAD_LETTER_QUEUE, "#"),
        ],
        "policies": [
            {
                "vhost": vhost,
                "name": name,
                "pattern": pattern,
                "apply-to": "queues",
                "priority": 10,
                "definition": dict(definition),
            }
            for name, (pattern, definition) in policies(version).items()
        ],
    }


def policies(version: tuple[int, int]) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Policies by name: the pattern of the queues that each applies to, and what it sets."""
    work: dict[str, Any] = {
        "delivery-limit": topology.DELIVERY_LIMIT,
        "dead-letter-exchange": topology.DEAD_LETTER_EXCHANGE,
        "max-length": topology.MAX_LENGTH,
        "overflow": "reject-publish",
    }
    training = dict(work)
    if version >= CONSUMER_TIMEOUT_SINCE:
        training["consumer-timeout"] = topology.TRAINING_CONSUMER_TIMEOUT_MS
    found: dict[str, tuple[str, Mapping[str, Any]]] = {
        topology.INFERENCE.name: (_exactly(topology.INFERENCE.name), work),
        topology.TRAINING.name: (_exactly(topology.TRAINING.name), training),
    }
    if version >= DELIVERY_LIMIT_SINCE:
        # Listing the dead letters delivers them too: after 20 times the broker would drop them.
        found[topology.DEAD_LETTER_QUEUE] = (_exactly(topology.DEAD_LETTER_QUEUE), {"delivery-limit": -1})
    return found


def _exactly(name: str) -> str:
    return "^" + name.replace(".", "\\.") + "$"


def _binding(vhost: str, source: str, destination: str, routing_key: str) -> dict[str, Any]:
    return {
        "source": source,
        "vhost": vhost,
        "destination": destination,
        "destination_type": "queue",
        "routing_key": routing_key,
        "arguments": {},
    }
