"""The command line. Each command's module is loaded when it is called: ``--help`` stays quick."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Final

import click

from placerank import __version__
from placerank.errors import ConfigurationError, PlacerankError

#: Where each command stands, and what the list of commands says of it.
_COMMANDS: Final = {
    "run": ("placerank.cli.serve:run", "Everything in one process, data in a folder: to try, on a laptop."),
    "api": ("placerank.cli.serve:api", "The HTTP API of a cluster."),
    "relay": ("placerank.cli.serve:relay", "Publishes what was committed and not confirmed; two are harmless."),
    "worker": ("placerank.cli.serve:worker", "Works on a queue: --queue inference or --queue training."),
    "migrate": ("placerank.cli.operating.database:migrate", "Brings the database to this version's schema."),
    "wait": ("placerank.cli.operating.database:wait", "Waits until the other processes can start."),
    "broker-definitions": (
        "placerank.cli.operating.broker:definitions",
        "Writes what RabbitMQ has to import at its start.",
    ),
    "places": ("placerank.cli.places:places", "Imports and exports the catalogue."),
    "train": ("placerank.cli.learning.offline:train", "Learns from files, or reproduces a stored version."),
    "evaluate": ("placerank.cli.learning.offline:evaluate", "Says how good a model is on lists that were shown."),
    "rank": ("placerank.cli.learning.rank:rank", "Ranks files offline, on every core."),
    "models": ("placerank.cli.models:models", "Lists, shares, rolls back, imports and exports model versions."),
    "dead-letters": (
        "placerank.cli.operating.dead_letters:dead_letters",
        "Tasks that failed for good: list, replay, purge.",
    ),
    "prune": ("placerank.cli.operating.operations:prune", "Removes what is older than an age."),
    "status": (
        "placerank.cli.operating.status:status",
        "Queue, workers, rates, versions and health: live with --watch.",
    ),
    "doctor": ("placerank.cli.operating.doctor:doctor", "Checks settings and services, and says what to do."),
    "config": ("placerank.cli.operating.config:config", "Prints the settings in force, secrets hidden."),
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="placerank")
def cli() -> None:
    """Ranks every place in the catalogue for a traveller."""


def main() -> None:
    """Run a command; an error that people can mend is one sentence, and no traceback."""
    # What is multiplied here is small: further threads only spin. numpy reads it when it is loaded.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        cli.main(standalone_mode=False)
    except ConfigurationError as error:
        _end(error, 2)
    except PlacerankError as error:
        _end(error, 1)
    except click.exceptions.Exit as ended:
        sys.exit(ended.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)


def _end(error: Exception, code: int) -> None:
    # What a client of the API is not told, who runs a command is: the database's own words.
    cause = f" ({' '.join(str(error.__cause__).split())})" if error.__cause__ is not None else ""
    click.echo(f"placerank: {error}{cause}", err=True)
    sys.exit(code)
