"""Cancellations: those that end a task, and those that a library has left behind."""

from __future__ import annotations

import asyncio


def told_to_end() -> bool:
    """Whether the current task has been cancelled; a library that was waiting may have swallowed the cancellation.

    If it is false, a ``CancelledError`` comes from a library, which gave up what it waited for: a lost connection,
    for example. Then it is an error like others.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
