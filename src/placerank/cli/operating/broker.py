"""``placerank broker-definitions``."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote, urlsplit

import click

from placerank.config import addresses, settings
from placerank.errors import ConfigurationError, PlacerankError
from placerank.queue.definitions import definitions as definitions_for


class Version(click.ParamType[tuple[int, int]]):
    """A version of RabbitMQ: 3.10, 4.3, 4.3.1."""

    name = "version"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Major and minor number."""
        if isinstance(value, tuple):
            return value
        found = re.match(r"(\d+)\.(\d+)(\.|-|$)", str(value))
        if found is None:
            self.fail(f"{value!r} is not a version of RabbitMQ, such as 4.3.", param, ctx)
        return int(found[1]), int(found[2])


@click.command()
@click.option("--broker-version", type=Version(), required=True, help="The broker's version, such as 4.3.")
@click.option("--output", type=click.Path(dir_okay=False), help="File to write; default: standard output.")
def definitions(broker_version: tuple[int, int], output: str | None) -> None:
    """Write the definitions that RabbitMQ imports: user, virtual host, exchanges, queues, bindings and policies.

    User, password and virtual host are those of CELERY_BROKER_URL. The file has only a salted hash of the password.
    """
    url = settings.load().broker_url.get_secret_value()
    user, password = addresses.credentials(url)
    if not user or not password:
        raise ConfigurationError("CELERY_BROKER_URL needs a user and a password: without them no client could log in.")
    vhost = unquote(urlsplit(url).path[1:]) or "/"
    text = json.dumps(definitions_for(broker_version, user=user, password=password, vhost=vhost), indent=2)
    if output is None:
        click.echo(text)
        return
    try:
        with click.open_file(output, "w", encoding="utf-8", atomic=True) as file:
            file.write(text + "\n")
    except OSError as error:
        raise PlacerankError(f"{output} cannot be written: {error}") from None
    click.echo(
        f"Wrote definitions for RabbitMQ {'.'.join(map(str, broker_version))}, virtual host {vhost}, to {output}."
    )
