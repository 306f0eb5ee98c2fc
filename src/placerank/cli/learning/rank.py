"""``placerank rank``: ranks all places for every traveller of a file, on every core, without a service."""

from __future__ import annotations

import csv
import json
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from placerank.errors import PlacerankError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

    from placerank.domain import Traveller
    from placerank.files.problems import RowProblem
    from placerank.ranking.catalogue import PlaceTable
    from placerank.ranking.model import Model
    from placerank.ranking.scoring.scorer import Ranking

    Answers = Iterator[list[Ranking]]

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
#: Travellers that a thread ranks at a time.
_BATCH: Final = 256
_COLUMNS: Final = ("traveller", "position", "location_id", "score")
_console = Console(stderr=True)


@click.command()
@click.option("--places", type=_FILE, required=True, help="The catalogue: CSV, TSV or JSON (.gz too).")
@click.option("--travellers", type=_FILE, required=True, help="The travellers, in the same formats.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="File to write; its suffix selects CSV, TSV or JSON lines (.gz too).",
)
@click.option("--model", "place", type=click.Path(path_type=Path, exists=True), help="Folder or file; default: prior.")
@click.option("--limit", type=click.IntRange(1, 100), default=10, show_default=True, help="Places for each traveller.")
def rank(places: Path, travellers: Path, out: Path, place: Path | None, limit: int) -> None:
    """Rank every place of one file for every traveller of another. If a row is bad, no file is written."""
    from placerank.files.models import files_of
    from placerank.files.writing import check_outputs
    from placerank.ranking.errors import ModelError

    write = _writer(out)
    check_outputs([out], [places, travellers, *([] if place is None else files_of(place))])
    table, asked, model = _table(places), _travellers(travellers), _model(place)
    try:
        with _progress() as progress:
            task = progress.add_task("Ranking", total=len(asked))
            answers = _ranked(model, table, asked, limit)
            write(_counted(answers, lambda done: progress.advance(task, done)), table)
    except ModelError as error:
        raise PlacerankError(str(error)) from None
    except OSError as error:
        raise PlacerankError(f"{out} cannot be written: {error}") from None
    click.echo(
        f"Ranked {len(table)} places for {len(asked)} travellers by {model.kind} {model.digest[:12]} into {out}."
    )


def _ranked(model: Model, table: PlaceTable, travellers: Sequence[Traveller], limit: int) -> Answers:
    """Yield batches of rankings, in the order of the travellers; about two batches per core are in flight."""
    import torch

    from placerank.ranking.scoring.scorer import Scorer

    scorer = Scorer(model, table)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # One thread per core, each with its own matrix products: one product is too small to split over threads.
    with ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as threads:
        waiting: deque[Future[list[Ranking]]] = deque()
        for start in range(0, len(travellers), _BATCH):
            waiting.append(threads.submit(scorer.rank, travellers[start : start + _BATCH], limit))
            if len(waiting) > 2 * cores:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _counted(answers: Answers, advance: Callable[[int], None]) -> Iterator[Ranking]:
    for batch in answers:
        yield from batch
        advance(len(batch))


def _writer(out: Path) -> Callable[[Iterator[Ranking], PlaceTable], None]:
    """The writer for the format that the file name selects; called first, so that an unknown format fails early."""
    from placerank.files.places import DELIMITERS, JSON_LINES, UnknownFormatError, format_of
    from placerank.files.writing import writing

    try:
        kind = format_of(out.name)
    except UnknownFormatError as error:
        raise PlacerankError(str(error)) from None

    def write(rankings: Iterator[Ranking], table: PlaceTable) -> None:
        with writing(out) as text:
            if kind == JSON_LINES:
                text.writelines(_line(number, ranking, table) for number, ranking in enumerate(rankings, 1))
                return
            rows = csv.writer(text, delimiter=DELIMITERS[kind], lineterminator="\n")
            rows.writerow(_COLUMNS)
            for number, ranking in enumerate(rankings, 1):
                rows.writerows((number, *shown) for shown in _shown(ranking, table))

    return write


def _line(number: int, ranking: Ranking, table: PlaceTable) -> str:
    shown = [{"location_id": place, "score": score} for _, place, score in _shown(ranking, table)]
    return json.dumps({"traveller": number, "places": shown}, separators=(",", ":")) + "\n"


def _shown(ranking: Ranking, table: PlaceTable) -> Iterator[tuple[int, int, float]]:
    """Yield position (from 1), place id and score, best first."""
    ids: list[int] = table.location_ids[list(ranking.rows)].tolist()
    return zip(range(1, len(ids) + 1), ids, ranking.scores, strict=True)


def _table(path: Path) -> PlaceTable:
    from placerank.files.places import read_places

    found = _read(path, lambda: read_places(path, progress=lambda _: None))
    if not found.rows:
        raise PlacerankError(f"{path} holds no place.")
    return _columns(found.rows)


def _columns(rows: Any) -> PlaceTable:
    """A catalogue of these rows; if the file has no ids, the places are numbered from 1."""
    import numpy as np

    from placerank.domain import PLACE_FIELDS
    from placerank.ranking.catalogue import PlaceTable

    values = np.empty((len(rows), len(PLACE_FIELDS)))
    ids = np.arange(1, len(rows) + 1, dtype=np.int64)
    for number, row in enumerate(rows):
        values[number] = row[1:]
        if row[0] is not None:
            ids[number] = row[0]
    return PlaceTable(0, ids, np.ones_like(ids), values)


def _travellers(path: Path) -> list[Traveller]:
    from placerank.files.travellers import read_travellers

    found = _read(path, lambda: read_travellers(path))
    if not found.travellers:
        raise PlacerankError(f"{path} holds no traveller.")
    travellers: list[Traveller] = found.travellers
    return travellers


def _read(path: Path, read: Callable[[], Any]) -> Any:
    """Read a file; prints every bad row, and raises ``PlacerankError`` if there is one."""
    try:
        found = read()
    except OSError as error:
        raise PlacerankError(f"{path} cannot be read: {error}") from None
    problems: list[RowProblem] = sorted(found.problems, key=lambda problem: problem.line)
    for problem in problems:
        click.echo(f"{path}: {problem}", err=True)
    if problems:
        raise PlacerankError(f"{path} has {found.bad_rows} bad rows: nothing was ranked. Fix them.")
    return found


def _model(place: Path | None) -> Model:
    from placerank.files.models import read_model
    from placerank.ranking.prior import prior

    return prior() if place is None else read_model(place)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=_console, transient=not _console.is_terminal, disable=not _console.is_terminal)
