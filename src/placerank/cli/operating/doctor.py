"""``placerank doctor``: what is wrong, and what to do about it."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from placerank.config import settings as configuration
from placerank.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from placerank.overview.checkup import Finding
    from placerank.overview.overseer import Overview


@click.command()
def doctor() -> None:
    """Check settings and services. Exit code 0: everything works, 1: a check failed, 2: a setting is wrong."""
    from placerank.telemetry import set_up_logging

    try:
        settings = configuration.load()
    except ConfigurationError as error:
        click.echo(f"✗ The settings are valid\n    {error}\n    → docs/reference/settings.md has every variable.")
        sys.exit(2)
    click.echo("✓ The settings are valid")
    # Unreachable services are reported below. Log lines would repeat it.
    set_up_logging("CRITICAL", "text")
    sys.exit(1 if _tell(_findings(settings)) else 0)


def _findings(settings: configuration.Settings) -> Iterable[Finding]:
    from placerank.overview import checkup
    from placerank.runtime import addresses_of

    addresses = addresses_of(settings)
    yield from checkup.connections(*addresses)
    yield from checkup.stored_models(addresses[0])
    yield from checkup.system(asyncio.run(_look(settings)))


async def _look(settings: configuration.Settings) -> Overview:
    from placerank.runtime import overseer

    async with overseer(settings) as looking:
        return await looking.look()


def _tell(findings: Iterable[Finding]) -> int:
    """Print each finding as soon as it is known; returns the number of problems."""
    bad = 0
    for finding in findings:
        if finding.problem is None:
            click.echo(f"✓ {finding.subject}")
            continue
        bad += 1
        click.echo(f"✗ {finding.subject}\n    {finding.problem}\n    → {finding.remedy}")
    return bad
