"""``placerank status``: the whole system in a terminal."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click
from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from placerank.config import settings as configuration

if TYPE_CHECKING:
    from rich.console import RenderableType

    from placerank.overview.overseer import Overseer, Overview

UNHEALTHY = 1


@click.command()
@click.option("--watch", is_flag=True, help="Repeat until Ctrl-C.")
@click.option(
    "--interval",
    type=click.FloatRange(0.2, 3600),
    default=2.0,
    show_default=True,
    help="Seconds between updates with --watch.",
)
def status(*, watch: bool, interval: float) -> None:
    """Show queue, workers, rates, versions and health. Exit code 0: healthy, 1: unhealthy."""
    from placerank.telemetry import set_up_logging

    settings = configuration.load()
    # Unreachable services are reported below. Log lines would repeat it.
    set_up_logging("ERROR", "text", secrets=configuration.secrets(settings))
    seen = asyncio.run(_show(settings, interval if watch else None))
    sys.exit(0 if seen.healthy else UNHEALTHY)


async def _show(settings: configuration.Settings, interval: float | None) -> Overview:
    from placerank.runtime import overseer

    console = Console()
    async with overseer(settings) as looking:
        seen = await looking.look()
        if interval is None:
            console.print(picture(seen))
            return seen
        return await _watch(console, looking, seen, interval)


async def _watch(console: Console, looking: Overseer, seen: Overview, interval: float) -> Overview:
    with Live(picture(seen), console=console, auto_refresh=False) as live:
        try:
            while True:
                await asyncio.sleep(interval)
                seen = await looking.look()
                live.update(picture(seen), refresh=True)
        except asyncio.CancelledError:
            return seen


def picture(seen: Overview) -> RenderableType:
    """Render an overview for a terminal."""
    parts = [_queues(seen), _rates(seen), _versions(seen), _services(seen)]
    return Group(_health(seen), Columns([part for part in parts if part is not None], padding=(0, 1)))


def _health(seen: Overview) -> RenderableType:
    if seen.healthy:
        return Text("healthy", style="bold green")
    return Panel("\n".join(f"• {one}" for one in seen.problems), title="unhealthy", border_style="red", expand=False)


def _queues(seen: Overview) -> Table:
    table = Table("queue", title="Queues", title_justify="left")
    table.add_column("ready", justify="right")
    table.add_column("workers", justify="right")
    for name, state in seen.queues.items():
        table.add_row(name, str(state.ready), str(state.consumers))
    return table


def _rates(seen: Overview) -> Table | None:
    if seen.figures is None or seen.rates is None:
        return None
    rates, figures = seen.rates, seen.figures
    table = _pairs(f"Last {rates.seconds:.0f} s")
    for name, count in (("started", rates.started), ("answered", rates.answered), ("failed", rates.failed)):
        table.add_row(name, f"{count / rates.seconds:.1f} /s")
    table.add_row("chosen", f"{rates.selected / rates.answered:.0%} of answers" if rates.answered else "-")
    table.add_row("median / p99", f"{rates.median_s * 1e3:.0f} / {rates.p99_s * 1e3:.0f} ms")
    table.add_row("waiting", f"{figures.backlog}, the oldest {figures.backlog_age_s:.0f} s")
    table.add_row("not published", f"{figures.outbox}, the oldest {figures.outbox_age_s:.0f} s")
    return table


def _versions(seen: Overview) -> Table | None:
    if seen.figures is None or seen.learning is None:
        return None
    table = _pairs("Versions")
    for version, share in seen.shares.items():
        table.add_row(version, f"{share} %")
    table.add_row("places", str(seen.figures.places))
    running = seen.learning.trainings.get("STARTED", 0)
    table.add_row("training", f"{seen.learning.progress:.0%}" if running else "none runs")
    return table


def _services(seen: Overview) -> Table:
    table = _pairs("Services")
    table.add_row("database", "unreachable" if seen.figures is None else f"{seen.figures.size_bytes / 1e6:.0f} MB")
    if seen.figures is not None:
        table.add_row("connections", f"{seen.figures.connections} of {seen.figures.connections_limit}")
    table.add_row("broker", "ok" if seen.queues else "unreachable")
    cache = seen.cache
    table.add_row(
        "cache", "unreachable" if cache is None else f"{cache.memory_bytes / 1e6:.1f} MB, {cache.records} records"
    )
    return table


def _pairs(title: str) -> Table:
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    return table
