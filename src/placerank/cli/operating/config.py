"""``placerank config``."""

from __future__ import annotations

import click

from placerank.config import settings


@click.command()
def config() -> None:
    """Print the settings in force, as variables with their values; secrets are hidden."""
    rows = settings.describe(settings.load())
    width = max(len(f"{variable}={value}") for variable, value, _ in rows)
    for variable, value, description in rows:
        click.echo(f"{f'{variable}={value}':<{width}}  # {description}")
