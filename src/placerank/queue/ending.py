"""Lets endless loops end when their task is cancelled."""

from __future__ import annotations

import asyncio


def told_to_end() -> bool:
    """Whether the current task has been cancelled, even if a library has swallowed the ``CancelledError``."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
