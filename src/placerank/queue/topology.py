"""Every name that the broker knows, in one place: publisher, workers, definitions and charts use these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

EXCHANGE: Final = "placerank"
DEAD_LETTER_EXCHANGE: Final = "placerank.dlx"
DEAD_LETTER_QUEUE: Final = "placerank.dead-letters"

#: Publisher, workers and definitions all declare these. With more arguments, the declaration of a queue that was made
#: with fewer would fail. Everything else comes from policies.
QUEUE_ARGUMENTS: Final = {"x-queue-type": "quorum"}

#: Only a safety net. Messages that a worker returns at a graceful shutdown count too, so a small limit would lose work.
DELIVERY_LIMIT: Final = 1_000
#: Above the API's own backlog limit (100 000 by default), which answers 503 before anything is stored.
MAX_LENGTH: Final = 1_000_000
#: How long a training may hold its message unacknowledged, in milliseconds.
TRAINING_CONSUMER_TIMEOUT_MS: Final = 6 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class WorkQueue:
    """A queue of tasks. Its name is also its routing key; ``task`` is the Celery task in its messages."""

    name: str
    task: str


INFERENCE: Final = WorkQueue("placerank.inference", "placerank.rank")
TRAINING: Final = WorkQueue("placerank.training", "placerank.train")
WORK_QUEUES: Final = (INFERENCE, TRAINING)
