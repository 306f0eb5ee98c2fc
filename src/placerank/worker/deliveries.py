"""A delivery from the inference queue, and the two exceptions that end the work on a task early."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID


class Stopping(Exception):
    """The worker is stopping: unfinished work goes back to the queue."""


class TooManyAttempts(Exception):
    """The worker died in every recorded attempt to run the task."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery of an inference. A redelivered one is run alone, and its attempts are counted."""

    task_id: UUID
    redelivered: bool = False
    traceparent: str | None = None
    request_id: str | None = None
