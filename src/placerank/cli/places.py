"""``placerank places``: import and export of the catalogue."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from placerank.cli.data import DATA_DIR, database_url
from placerank.db.catalogue import CatalogueRepository
from placerank.errors import PlacerankError
from placerank.files.places import read_places, write_places

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from placerank.files.places import PlacesFile

_console = Console(stderr=True)


@click.group()
def places() -> None:
    """Import and export the catalogue."""


@places.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--replace", is_flag=True, help="Remove every place that is not in the file.")
@click.option("--skip-bad", is_flag=True, help="Import the good rows even if others are bad.")
@DATA_DIR
def import_(file: Path, *, replace: bool, skip_bad: bool, data_dir: Path | None) -> None:
    """Import places from CSV, TSV or JSON lines (.gz too), all or nothing.

    A row whose location_id exists already updates that place. Rows without a location_id are added.
    """
    with _catalogue(data_dir) as catalogue:
        import_file(catalogue, file, replace=replace, skip_bad=skip_bad)


@places.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@DATA_DIR
def export(file: Path, data_dir: Path | None) -> None:
    """Export every place to CSV, TSV or JSON lines (.gz too); the suffix of the name selects the format."""
    with _catalogue(data_dir) as catalogue:
        count = catalogue.count()
        try:
            write_places(file, catalogue.places())
        except (OSError, ValueError) as error:
            raise PlacerankError(f"{file} cannot be written: {error}") from None
    click.echo(f"Exported {count} places to {file}.")


@places.command()
@click.option("--if-empty", is_flag=True, help="Do nothing if the catalogue has places already.")
@DATA_DIR
def demo(data_dir: Path | None, *, if_empty: bool) -> None:
    """Fill an empty catalogue with made-up places; the first import removes them."""
    from placerank.embedded import demo_rows

    with _catalogue(data_dir) as catalogue:
        if catalogue.count():
            if if_empty:
                click.echo("The catalogue has places already: nothing was changed.")
                return
            raise PlacerankError("The catalogue has places already: nothing was changed.")
        click.echo(f"Made {catalogue.put(demo_rows(), demo=True)} demo places.")


def import_file(catalogue: CatalogueRepository, file: Path, *, replace: bool, skip_bad: bool) -> None:
    """Read a file and put its places into the catalogue; raises ``PlacerankError`` when rows are bad."""
    with _progress("Reading", DownloadColumn()) as progress:
        task = progress.add_task(file.name, total=file.stat().st_size)
        try:
            found = read_places(file, progress=lambda done: progress.update(task, completed=done))
        except OSError as error:
            raise PlacerankError(f"{file} cannot be read: {error}") from None
    _report(file, found, skip_bad=skip_bad)
    with _progress("Importing", MofNCompleteColumn()) as progress:
        task = progress.add_task(file.name, total=len(found.rows))
        count = catalogue.put(
            found.rows, replace=replace, imported=True, progress=lambda done: progress.update(task, completed=done)
        )
    skipped = f", {len(_bad_lines(found))} bad rows skipped" if found.problems else ""
    click.echo(f"Imported {count} places from {file}{skipped}.")


def _report(file: Path, found: PlacesFile, *, skip_bad: bool) -> None:
    for problem in found.problems:
        click.echo(f"{file}: {problem}", err=True)
    if found.problems and not skip_bad:
        raise PlacerankError(
            f"{file} has {len(_bad_lines(found))} bad rows: nothing was imported. "
            "Fix them, or import the others with --skip-bad."
        )
    if not found.rows:
        raise PlacerankError(f"{file} has no good row: nothing was imported.")


def _bad_lines(found: PlacesFile) -> set[int]:
    return {problem.line for problem in found.problems}


def _progress(doing: str, count: DownloadColumn | MofNCompleteColumn) -> Progress:
    columns: Sequence[TextColumn | BarColumn | DownloadColumn | MofNCompleteColumn | TimeRemainingColumn] = (
        TextColumn(f"{doing} {{task.description}}"),
        BarColumn(),
        count,
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=_console, transient=not _console.is_terminal, disable=not _console.is_terminal)


@contextmanager
def _catalogue(data_dir: Path | None) -> Iterator[CatalogueRepository]:
    with database_url(data_dir) as url:
        yield CatalogueRepository(url)
