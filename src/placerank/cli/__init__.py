"""The command line; each command's module is loaded when it is called, so that --help stays quick.

Imports every other package.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Final

import click

from placerank import __version__
from placerank.errors import ConfigurationError, PlacerankError

#: Module and name of each command, and its line in ``placerank --help``.
_COMMANDS: Final = {
    "run": ("placerank.cli.serve:run", "Runs everything in one process, with its data in a folder."),
    "api": ("placerank.cli.serve:api", "Serves the HTTP API."),
    "relay": ("placerank.cli.serve:relay", "Publishes committed work that the broker has not confirmed."),
    "worker": ("placerank.cli.serve:worker", "Works on a queue: --queue inference or --queue training."),
    "migrate": ("placerank.cli.operating.database:migrate", "Migrates the database to this version's schema."),
    "wait": ("placerank.cli.operating.database:wait", "Waits until the other processes can start."),
    "broker-definitions": (
        "placerank.cli.operating.broker:definitions",
        "Writes the definitions that RabbitMQ imports when it starts.",
    ),
    "places": ("placerank.cli.places:places", "Imports and exports the catalogue."),
    "train": ("placerank.cli.learning.offline:train", "Trains a model on files, or reproduces a stored version."),
    "evaluate": ("placerank.cli.learning.offline:evaluate", "Computes a model's metrics on lists that were shown."),
    "rank": ("placerank.cli.learning.rank:rank", "Ranks files offline, on every core."),
    "models": ("placerank.cli.models:models", "Lists, shares, rolls back, imports and exports model versions."),
    "dead-letters": (
        "placerank.cli.operating.dead_letters:dead_letters",
        "Lists, replays and purges tasks that failed for good.",
    ),
    "prune": ("placerank.cli.operating.operations:prune", "Removes finished answers that are older than an age."),
    "status": (
        "placerank.cli.operating.status:status",
        "Shows queue, workers, rates, versions and health.",
    ),
    "doctor": ("placerank.cli.operating.doctor:doctor", "Checks settings and services, and says what to do."),
    "config": ("placerank.cli.operating.config:config", "Prints the settings in force, with secrets hidden."),
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
    """Run a command; an error that the user can fix is printed as one sentence, without a traceback."""
    # The matrices are small, so that more BLAS threads would only spin. numpy reads this variable when it is imported.
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
    # The API hides the database's own message from its clients. Whoever runs a command may see it.
    cause = f" ({' '.join(str(error.__cause__).split())})" if error.__cause__ is not None else ""
    click.echo(f"placerank: {error}{cause}", err=True)
    sys.exit(code)
