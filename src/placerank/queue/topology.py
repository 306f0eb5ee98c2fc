"""Every name that the broker knows, in one place: publisher, workers, definitions and charts use these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

EXCHANGE: Final = "placerank"
DEAD_LETTER_EXCHANGE: Final = "placerank.dlx"
DEAD_LETTER_QUEUE: Final = "placerank.dead-letters"

#: What publisher, workers and definitions all declare. More arguments would make a declaration
#: fail against a queue made with fewer; everything else comes from policies.
QUEUE_ARGUMENTS: Final = {"x-queue-type": "quorum"}

#: A net only. Messages handed back at a graceful shutdown count against it too, so that a small limit loses work.
DELIVERY_LIMIT: Final = 1_000
#: Above the API's own backlog limit (100 000 by default), which answers 503 before anything is stored.
MAX_LENGTH: Final = 1_000_000
#: How long a training may hold its message unacknowledged, in milliseconds.
TRAINING_CONSUMER_TIMEOUT_MS: Final = 6 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class WorkQueue:
    """A queue of tasks: its name is its routing key too, ``task`` the Celery task that it carries."""

    name: str
    task: str


INFERENCE: Final = WorkQueue("placerank.inference", "placerank.rank")
TRAINING: Final = WorkQueue("placerank.training", "placerank.train")
WORK_QUEUES: Final = (INFERENCE, TRAINING)
