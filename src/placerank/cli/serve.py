"""The long-running commands."""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from placerank import __version__
from placerank.cli.data import DEFAULT_DATA_DIR
from placerank.config import settings as configuration
from placerank.schema.traveller import example_lines
from placerank.supervision.escalation import GRACE_S, escalation
from placerank.supervision.threads import SupervisedThread
from placerank.telemetry import MetricsServer, set_up_logging, tracing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from placerank.config.settings import Settings
    from placerank.db.catalogue import CatalogueRepository

_EXAMPLE = (
    "curl -s -X POST {url}/inference/start -H 'Content-Type: application/json' -H 'Prefer: wait=10' -d '{traveller}'"
)


@click.command()
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one.")
@click.option("--data-dir", type=click.Path(path_type=Path), default=DEFAULT_DATA_DIR, show_default=True)
@click.option(
    "--places",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Catalogue to import; it replaces the stored one.",
)
def run(host: str | None, port: int | None, data_dir: Path, places: Path | None) -> None:
    """Run everything in one process: PostgreSQL, queue, worker and API. The data is kept in a folder."""
    with _process("embedded", host, port) as settings:
        try:
            from placerank import embedded
        except ModuleNotFoundError as error:
            raise click.ClickException(f"{error.name} is missing: install placerank[embedded].") from None
        from placerank.cli.places import import_file

        def prepare(catalogue: CatalogueRepository) -> None:
            if places is not None:
                import_file(catalogue, places, replace=True, skip_bad=False)
            elif catalogue.count() == 0:
                catalogue.put(embedded.demo_rows(), demo=True)

        sys.exit(embedded.run(settings, data_dir.absolute(), prepare, lambda at: _introduce(settings, at, data_dir)))


@click.command()
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one.")
def api(host: str | None, port: int | None) -> None:
    """Serve the HTTP API."""
    with _process("api", host, port) as settings:
        from placerank.api.app import create_app
        from placerank.api.server import serve
        from placerank.runtime import api_runtime

        app = create_app(api_runtime(settings))
        listening = settings.api.host, settings.api.port
        ready = lambda at: click.echo(_listening(settings, at))  # noqa: E731
        sys.exit(serve(app, *listening, ready, drain_s=settings.api.drain_s))


@click.command()
def relay() -> None:
    """Publish committed work that the broker has not confirmed. Several relays share the work."""
    with _process("relay") as settings:
        from placerank.runtime import relay_runtime

        async def relay_until_told_to_end() -> None:
            relaying = relay_runtime(settings)
            loop, told = asyncio.get_running_loop(), asyncio.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, told.set)
            async with relaying.opened():
                await told.wait()

        asyncio.run(relay_until_told_to_end())


@click.command()
@click.option("--queue", type=click.Choice(["inference", "training"]), required=True, help="What to work on.")
def worker(queue: str) -> None:
    """Work on a queue until SIGTERM, then finish the running tasks and return the rest to the queue."""
    with _process(f"{queue}-worker") as settings:
        from placerank.runtime import worker_runtime

        try:
            from placerank.worker import process
        except ModuleNotFoundError as error:
            raise click.ClickException(f"{error.name} is missing: install placerank[worker].") from None
        runtime = worker_runtime(settings)
        work = process.inference_work(runtime) if queue == "inference" else process.training_work(runtime)
        try:
            code = process.run(work)
        finally:
            runtime.close()
        sys.exit(code)


@contextmanager
def _process(name: str, host: str | None = None, port: int | None = None) -> Iterator[Settings]:
    """The settings of a long-running process, with its logs, metrics and traces set up.

    While inside, a part that cannot be kept running ends the process.
    """
    settings = _settings(name, host, port)
    # An API serves while it drains.
    drain_s = settings.api.drain_s if name == "api" else 0
    with escalation.armed(GRACE_S + drain_s):
        _observe(settings, name)
        yield settings


def _observe(settings: Settings, process: str) -> None:
    if port := settings.telemetry.metrics_port:
        metrics = MetricsServer(port)
        metrics.open()
        SupervisedThread("metrics server", metrics.run, end=metrics.close).start()
    if (export := tracing.set_up(process, os.environ, __version__)) is not None:
        thread = SupervisedThread("span export", export.run, end=lambda: None)
        thread.start()
        # Before the last spans are sent: that ends the export, which is no failure then.
        atexit.register(thread.stop, 0)


def _settings(process: str, host: str | None, port: int | None) -> Settings:
    """Load the settings of a process and set up its logs."""
    chosen = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = configuration.load(**({"api": chosen} if chosen else {}))
    telemetry = settings.telemetry
    set_up_logging(telemetry.log_level, telemetry.log_format, process=process, secrets=configuration.secrets(settings))
    return settings


def _listening(settings: Settings, port: int) -> str:
    return f"placerank listens on http://{settings.api.host}:{port}"


def _introduce(settings: Settings, port: int, data_dir: Path) -> None:
    url = f"http://{settings.api.host}:{port}"
    click.echo(f"\n{_listening(settings, port)} (routes: {url}/docs), its data is in {data_dir}.\nTry:\n")
    click.echo(_EXAMPLE.format(url=url, traveller=example_lines()) + "\n\nCtrl-C ends it.")
