"""A Celery task as a message (protocol 2), made without Celery, so that the API need not load it.

https://docs.celeryq.dev/en/stable/internals/protocol.html — a test compares it key by key with Celery's own.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uuid import UUID

    from placerank.queue.topology import WorkQueue

CONTENT_TYPE = "application/json"
CONTENT_ENCODING = "utf-8"
#: Survives a restart of the broker.
PERSISTENT = 2

_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
_ORIGIN = f"placerank{os.getpid()}@{socket.gethostname()}"


@dataclass(frozen=True, slots=True)
class TaskMessage:
    """One task on its way to a queue. It carries the id only: the traveller stays in the database."""

    queue: WorkQueue
    task_id: UUID
    traceparent: str | None = None
    request_id: str | None = None

    def body(self) -> bytes:
        """Arguments, keyword arguments and what Celery calls the embed."""
        return json.dumps([[str(self.task_id)], {}, _EMBED]).encode()

    def headers(self) -> dict[str, Any]:
        """Celery's headers of the task, with the trace context and the request id next to them."""
        task_id = str(self.task_id)
        headers: dict[str, Any] = {
            "lang": "py",
            "task": self.queue.task,
            "id": task_id,
            "shadow": None,
            "eta": None,
            "expires": None,
            "group": None,
            "group_index": None,
            "retries": 0,
            "timelimit": [None, None],
            "root_id": task_id,
            "parent_id": None,
            "argsrepr": f"('{task_id}',)",
            "kwargsrepr": "{}",
            "origin": _ORIGIN,
            "ignore_result": True,
            "replaced_task_nesting": 0,
            "stamped_headers": None,
            "stamps": {},
        }
        if self.traceparent is not None:
            headers["traceparent"] = self.traceparent
        if self.request_id is not None:
            headers["request_id"] = self.request_id
        return headers
