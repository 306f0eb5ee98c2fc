"""``placerank places``: import and export of the catalogue."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from placerank.cli.data import DATA_DIR, DEFAULT_DATA_DIR, database_url
from placerank.db.catalogue import CatalogueRepository
from placerank.errors import PlacerankError
from placerank.files.places import read_places, write_places
from placerank.files.problems import UnusableFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from placerank.db.catalogue import Removal
    from placerank.files.places import PlacesFile

_console = Console(stderr=True)
#: The share of the places that may go without a confirmation when rows were skipped.
_MOST_REMOVED: Final = 0.1


@click.group()
def places() -> None:
    """Import and export the catalogue."""


@places.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--replace", is_flag=True, help="Remove every place that is not in the file.")
@click.option("--skip-bad", is_flag=True, help="Import the good rows even if others are bad.")
@click.option("--yes", is_flag=True, help="Let --replace --skip-bad remove more than a tenth of the places.")
@DATA_DIR
def import_(file: Path, *, replace: bool, skip_bad: bool, yes: bool, data_dir: Path | None) -> None:
    """Import places from CSV, TSV or JSON (.gz too), all or nothing.

    A row whose location_id exists already updates that place. Rows without a location_id are added. A file that is cut
    off or damaged is never imported.
    """
    with _catalogue(data_dir) as catalogue:
        import_file(catalogue, file, replace=replace, skip_bad=skip_bad, yes=yes)


@places.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@DATA_DIR
def export(file: Path, data_dir: Path | None) -> None:
    """Export every place to CSV, TSV or JSON lines (.gz too); the suffix of the name selects the format."""
    _check_not_in(file, data_dir)
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


def import_file(
    catalogue: CatalogueRepository, file: Path, *, replace: bool, skip_bad: bool, yes: bool = False
) -> None:
    """Read a file and put its places into the catalogue; raises ``PlacerankError`` when rows are bad.

    If rows are skipped, ``replace`` may remove more than a tenth of the present places only with ``yes``.
    """
    found = _read(file)
    _report(file, found, skip_bad=skip_bad)
    removals: list[Removal] = []

    def removing(removal: Removal) -> None:
        if found.bad_rows and not yes and removal.places > _MOST_REMOVED * removal.present:
            raise PlacerankError(
                f"{file}: {_count(found.bad_rows, 'bad row')} would be skipped, and {removal.places} of "
                f"{removal.present} places removed: nothing was imported. Fix the rows, or confirm with --yes."
            )
        removals.append(removal)

    with _progress("Importing", MofNCompleteColumn()) as progress:
        task = progress.add_task(file.name, total=len(found.rows))
        sent = lambda done: progress.update(task, completed=done)  # noqa: E731
        count = catalogue.put(found.rows, replace=replace, imported=True, progress=sent, removing=removing)
    skipped = f", {_count(found.bad_rows, 'bad row')} skipped" if found.bad_rows else ""
    click.echo(f"Imported {_count(count, 'place')} from {file}{skipped}{_removed(removals[0], replace=replace)}.")


def _read(file: Path) -> PlacesFile:
    with _progress("Reading", DownloadColumn()) as progress:
        task = progress.add_task(file.name, total=file.stat().st_size)
        try:
            return read_places(file, progress=lambda done: progress.update(task, completed=done))
        except UnusableFile as error:
            raise PlacerankError(f"{error} Nothing was imported.") from None
        except OSError as error:
            raise PlacerankError(f"{file} cannot be read: {error}") from None


def _report(file: Path, found: PlacesFile, *, skip_bad: bool) -> None:
    for problem in found.problems:
        click.echo(f"{file}: {problem}", err=True)
    if found.problems and not skip_bad:
        raise PlacerankError(
            f"{file} has {found.bad_rows} bad {'row' if found.bad_rows == 1 else 'rows'}: nothing was imported. "
            "Fix them, or import the others with --skip-bad."
        )
    if not found.rows:
        raise PlacerankError(f"{file} has no good row: nothing was imported.")


def _removed(removal: Removal, *, replace: bool) -> str:
    demo = f", {_count(removal.demo, 'demo place')} removed" if removal.demo else ""
    return f", {_count(removal.places, 'place')} removed{demo}" if replace else demo


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _check_not_in(file: Path, data_dir: Path | None) -> None:
    """Raise ``PlacerankError`` if a file to write is in a data folder: it could be one of PostgreSQL's own."""
    for folder in (data_dir, DEFAULT_DATA_DIR):
        if folder is not None and folder.is_dir() and file.resolve().is_relative_to(folder.resolve()):
            raise PlacerankError(f"{file} is in the data folder {folder}: export to another folder.")


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
