"""Endless loops that end when they are told to."""

from __future__ import annotations

import asyncio


def told_to_end() -> bool:
    """Whether the current task has been cancelled. A library that was waiting may have kept that for itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
