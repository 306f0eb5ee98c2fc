"""``placerank train`` and ``placerank evaluate``: learning from files, and the reproduction of a stored version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from placerank.cli.data import DATA_DIR
from placerank.errors import PlacerankError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from placerank.domain import Place
    from placerank.ranking.lists import ShownLists
    from placerank.ranking.model import Model

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_SHOWN = ("auc", "auc_within_lists", "hit_at_1", "ndcg_at_10", "mrr", "log_loss", "ece")


@click.command()
@click.option("--places", type=_FILE, help="The catalogue: CSV, TSV or JSON (.gz too).")
@click.option("--impressions", type=_FILE, help="The lists shown, ten consecutive rows each, with their label.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for the model and its card.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    show_default=True,
    help="Selects the held-out travellers; the same seed and files give the same model.",
)
@click.option("--reproduce", metavar="VERSION", help="Train a stored version again and compare the digests.")
@DATA_DIR
def train(
    places: Path | None,
    impressions: Path | None,
    out: Path | None,
    seed: int,
    reproduce: str | None,
    data_dir: Path | None,
) -> None:
    """Train a model on files, or reproduce a version of the registry.

    Candidate models are evaluated on held-out travellers. The chosen one is then fitted again on all lists.
    """
    if reproduce is not None:
        from placerank.cli.learning.reproduction import reproduce_version

        reproduce_version(reproduce, data_dir)
        return
    if places is None or impressions is None or out is None:
        raise click.UsageError("Give --places, --impressions and --out, or --reproduce.")
    _train(places, impressions, out, seed)


@click.command()
@click.option("--model", "place", type=click.Path(path_type=Path, exists=True), required=True, help="Folder or file.")
@click.option("--places", type=_FILE, required=True, help="The catalogue: CSV, TSV or JSON (.gz too).")
@click.option("--impressions", type=_FILE, required=True, help="The lists shown, with their label.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--scores", type=click.Path(path_type=Path, dir_okay=False), help="Write one score per row, in order.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Write a picture (.png, .svg, .pdf).")
def evaluate(
    place: Path, places: Path, impressions: Path, *, as_json: bool, scores: Path | None, plot: Path | None
) -> None:
    """Compute a model's metrics on lists that were shown.

    The score of a row is the probability that its place is chosen from its list; choosing nothing is an option too.
    """
    from placerank.files.impressions import read_impressions
    from placerank.files.models import files_of, read_model
    from placerank.files.writing import check_outputs
    from placerank.ranking.lists import choice_probabilities

    check_outputs(filter(None, (scores, plot)), [places, impressions, *files_of(place)])
    model = read_model(place)
    lists = read_impressions(impressions).lists
    if not len(lists):
        raise PlacerankError(f"{impressions} holds no list.")
    rows, nothing = choice_probabilities(model, lists)
    found = _judged(rows, nothing, lists)
    found["catalogue_coverage"] = _catalogue_coverage(model, _places(places), lists)
    found["kind"], found["digest"] = model.kind, model.digest
    if scores is not None:
        _write(scores, "".join(f"{value!r}\n" for value in rows.tolist()))
    if plot is not None:
        _plot(plot, rows, lists)
    click.echo(json.dumps(found) if as_json else _lines(found))


def _train(places: Path, impressions: Path, out: Path, seed: int) -> None:
    from placerank.files.impressions import read_impressions
    from placerank.files.models import files_of, write_model
    from placerank.files.writing import check_outputs
    from placerank.ranking.errors import ModelError, NotEnoughData
    from placerank.ranking.learning.training import learn

    check_outputs(files_of(out), [places, impressions])
    _places(places)
    read = read_impressions(impressions)
    data = {
        "lists": str(len(read.lists)),
        "travellers": str(len(set(read.lists.identities))),
        "digest": read.digest,
        "seed": str(seed),
    }
    try:
        fitted = learn(read.lists, seed=seed, data=data)
    except (NotEnoughData, ModelError) as error:
        raise PlacerankError(str(error)) from None
    found = _judged(fitted.rows, fitted.nothing, fitted.judged)
    write_model(out, fitted.model, found["intervals"])
    losses = ", ".join(f"{kind} {loss:.4f}" for kind, loss in fitted.losses.items())
    click.echo(f"Candidates by loss on held-out travellers: {losses}. Chosen: {fitted.model.kind}.")
    click.echo(_lines(found))
    click.echo(f"The model and its card are in {out}.")


def _judged(rows: NDArray[np.float64], nothing: NDArray[np.float64], lists: ShownLists) -> dict[str, Any]:
    from placerank.ranking.judging.bootstrap import metric_intervals
    from placerank.ranking.judging.metrics import judge

    return {**judge(rows, nothing, lists), "intervals": metric_intervals(rows, nothing, lists, seed=0)}


def _catalogue_coverage(model: Model, places: list[Place], lists: ShownLists) -> float:
    """The share of the catalogue that is in the best ten of at least one traveller of the lists."""
    import numpy as np

    from placerank.ranking.catalogue import place_values

    values, best = place_values(places), set()
    known = dict(zip(lists.identities, lists.travellers, strict=True))
    for traveller in known.values():
        utilities = model.utilities([traveller], values)[0][0]
        best.update(np.argsort(-utilities, kind="stable")[:10].tolist())
    return len(best) / len(values)


def _places(path: Path) -> list[Place]:
    from placerank.domain import Place
    from placerank.files.places import read_places

    try:
        found = read_places(path, progress=lambda _done: None)
    except OSError as error:
        raise PlacerankError(f"{path} cannot be read: {error}") from None
    if found.problems:
        raise PlacerankError(f"{path}: {found.problems[0]}")
    if not found.rows:
        raise PlacerankError(f"{path} holds no place.")
    return [Place(number, *row[1:]) for number, row in enumerate(found.rows, 1)]


def _plot(path: Path, rows: NDArray[np.float64], lists: ShownLists) -> None:
    try:
        from placerank.cli.learning.pictures import write_picture
    except ModuleNotFoundError as error:
        raise PlacerankError(f"{error.name} is missing: install placerank[pictures].") from None
    write_picture(path, rows, lists)


def _lines(found: dict[str, Any]) -> str:
    intervals = found["intervals"]
    return "\n".join(
        f"{name:<18}{found[name]:.4f}  ({intervals[name][0]:.4f} to {intervals[name][1]:.4f})" for name in _SHOWN
    )


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise PlacerankError(f"{path} cannot be written: {error}") from None
