"""``placerank dead-letters``: tasks that no worker could finish."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

import click

from placerank.config import settings as configuration
from placerank.domain import TaskType
from placerank.errors import PlacerankError
from placerank.queue import topology

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from placerank.db.operations import OperationsRepository
    from placerank.queue.letters import Letter

_KINDS: Final = {topology.INFERENCE.task: TaskType.INFERENCE, topology.TRAINING.task: TaskType.TRAINING}
_LIMIT = click.option(
    "--limit", type=click.IntRange(1, 100_000), default=1_000, show_default=True, help="Most letters to read."
)
_IDS = click.argument("task_ids", nargs=-1, type=click.UUID, metavar="[TASK_ID]...")
_ALL = click.option("--all", "everything", is_flag=True, help="All letters that were read, instead of named ones.")


@click.group("dead-letters")
def dead_letters() -> None:
    """List, replay or purge tasks that ended in the dead-letter queue."""


@dead_letters.command("list")
@_LIMIT
def list_(limit: int) -> None:
    """List the letters, the oldest first: task id, task name and reason."""
    letters = asyncio.run(_list(configuration.load(), limit))
    for letter in letters:
        click.echo(f"{letter.task_id or '(unreadable)'}  {letter.task}  {letter.reason}")
    click.echo(f"{len(letters)} dead letters{', and maybe more (--limit)' if len(letters) == limit else ''}.", err=True)


@dead_letters.command()
@_IDS
@_ALL
@_LIMIT
def replay(task_ids: Sequence[UUID], limit: int, *, everything: bool) -> None:
    """Restart failed tasks, with three new attempts. The relay publishes them shortly afterwards."""
    wanted = _wanted(task_ids, everything=everything)
    replayed, found = asyncio.run(_replay(configuration.load(), wanted, limit))
    click.echo(f"Replayed {replayed} of {found} dead letters.")
    if replayed < found:
        click.echo("The others are kept: their tasks have not failed, or are no longer stored. Purge them.", err=True)


@dead_letters.command()
@_IDS
@_ALL
@_LIMIT
def purge(task_ids: Sequence[UUID], limit: int, *, everything: bool) -> None:
    """Remove letters from the queue. Their stored tasks do not change."""
    wanted = _wanted(task_ids, everything=everything)
    click.echo(f"Removed {asyncio.run(_purge(configuration.load(), wanted, limit))} dead letters.")


def _wanted(task_ids: Sequence[UUID], *, everything: bool) -> set[UUID] | None:
    """The named tasks; None for all."""
    if bool(task_ids) == everything:
        raise click.UsageError("Give task ids or --all, and not both.")
    return None if everything else set(task_ids)


async def _list(settings: configuration.Settings, limit: int) -> list[Letter]:
    from placerank.queue.letters import DeadLetterQueue

    async with DeadLetterQueue.opened(settings.broker_url.get_secret_value()) as queue:
        return await queue.take(limit)


async def _purge(settings: configuration.Settings, wanted: set[UUID] | None, limit: int) -> int:
    from placerank.queue.letters import DeadLetterQueue

    async with DeadLetterQueue.opened(settings.broker_url.get_secret_value()) as queue:
        letters = _chosen(await queue.take(limit), wanted)
        await queue.drop(letters)
        return len(letters)


async def _replay(settings: configuration.Settings, wanted: set[UUID] | None, limit: int) -> tuple[int, int]:
    from placerank.db.operations import OperationsRepository
    from placerank.queue.letters import DeadLetterQueue
    from placerank.runtime import api_cache, async_database

    database, cache = async_database(settings, "placerank dead-letters", pool_size=1), api_cache(settings)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(cache.close)
        await database.open()
        stack.push_async_callback(database.close)
        queue = await stack.enter_async_context(DeadLetterQueue.opened(settings.broker_url.get_secret_value()))
        letters = _chosen(await queue.take(limit), wanted)
        revived = await _revive(OperationsRepository(database), letters)
        # The cached results of these tasks are stale now. The letters are dropped last: after a crash before that
        # they are in the queue again.
        await cache.forget(list(revived))
        await queue.drop([letter for letter in letters if letter.task_id in revived])
        return len(revived), len(letters)


async def _revive(operations: OperationsRepository, letters: Sequence[Letter]) -> set[UUID]:
    revived: set[UUID] = set()
    for task, kind in _KINDS.items():
        task_ids = [letter.task_id for letter in letters if letter.task == task and letter.task_id is not None]
        if task_ids:
            revived |= await operations.revive(kind, task_ids)
    return revived


def _chosen(letters: Sequence[Letter], wanted: set[UUID] | None) -> list[Letter]:
    if wanted is None:
        return list(letters)
    missing = wanted - {letter.task_id for letter in letters}
    if missing:
        raise PlacerankError(
            f"There is no dead letter for {', '.join(sorted(map(str, missing)))}: nothing was changed. "
            "`placerank dead-letters list` shows the letters."
        )
    return [letter for letter in letters if letter.task_id in wanted]
