"""``placerank models``: the model registry, and import and export of models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import psycopg

from placerank.cli.data import DATA_DIR, opened_database
from placerank.errors import DatabaseUnavailable, NotMigrated, PlacerankError

if TYPE_CHECKING:
    from collections.abc import Callable

    from placerank.db.registry import Registry

_FIELDS = ("version", "kind", "use_percentage", "digest", "training_id", "dataset_id", "created_at")
#: Above it a number of a metric is not one.
_GREATEST = 1e15
_METRICS = ("log_loss", "auc", "auc_within_lists", "hit_at_1")


@click.group()
def models() -> None:
    """List, show, share and roll back model versions; import and export them."""


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@DATA_DIR
def list_(*, as_json: bool, data_dir: Path | None) -> None:
    """Every version with its share of the travellers and what the gate decided."""
    rows = _with_registry(data_dir, lambda registry: registry.versions())
    click.echo(_json(rows) if as_json else "\n".join(_line(row) for row in rows) or "There is no model yet.")


@models.command()
@click.argument("version")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@DATA_DIR
def show(version: str, *, as_json: bool, data_dir: Path | None) -> None:
    """One version: its card, and the gate's decision with its figures."""
    row = _with_registry(data_dir, lambda registry: registry.version(version))
    problem = _unreadable(bytes(row.pop("artifact")), row["digest"])
    if as_json:
        click.echo(_json(row))
        return
    for name in _FIELDS:
        click.echo(f"{name:<16}{row[name]}")
    if problem:
        click.echo(f"not served      {problem}")
    click.echo(f"decision        {_json(row['decision'])}\n\n{row['card'] or ''}")


@models.command()
@click.argument("version")
@click.argument("per_cent", type=click.IntRange(0, 100))
@DATA_DIR
def share(version: str, per_cent: int, data_dir: Path | None) -> None:
    """Give a version a share of the travellers, in per cent. The other shares change so that the sum stays 100."""
    shares = _with_registry(data_dir, lambda registry: registry.set_share(version, per_cent))
    click.echo(", ".join(f"{name} {share}" for name, share in shares.items() if share))


@models.command()
@DATA_DIR
def rollback(data_dir: Path | None) -> None:
    """Roll back the running canary, or else the last one that reached all travellers."""
    change = _with_registry(data_dir, lambda registry: registry.roll_back())
    click.echo(f"Rolled back {change.given_up}: {change.taken_over} serves its travellers now.")


@models.command("import")
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--share", "per_cent", type=click.IntRange(0, 100), help="Share in per cent; default: 0.")
@DATA_DIR
def import_(folder: Path, per_cent: int | None, data_dir: Path | None) -> None:
    """Register a model that `placerank train` has written. The first version in a registry serves everyone."""
    from placerank.db.learning import NewVersion
    from placerank.files.models import read_model
    from placerank.ranking.judging.card import model_card

    model = read_model(folder)
    version = NewVersion(model.kind, model.digest, model.to_artifact(), dict(model.metrics), model_card(model, {}))
    name = _with_registry(data_dir, lambda registry: registry.add(version, per_cent))
    click.echo(f"{folder} is version {name}. Set its share with `placerank models share {name} PER_CENT`.")


@models.command()
@click.argument("version")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@DATA_DIR
def export(version: str, folder: Path, data_dir: Path | None) -> None:
    """Write a version's artifact, byte for byte as it is stored, and its card to a folder."""
    from placerank.files.models import write_model
    from placerank.ranking.errors import ModelError
    from placerank.ranking.model import Model

    row = _with_registry(data_dir, lambda registry: registry.version(version))
    try:
        model = Model.from_registry(bytes(row["artifact"]), row["digest"])
    except ModelError as error:
        raise PlacerankError(f"{version} cannot be exported: {error}") from None
    write_model(folder, model, {}, version)
    click.echo(f"{version} is in {folder}.")


def _with_registry(data_dir: Path | None, ask: Callable[[Registry], Any]) -> Any:
    from psycopg_pool import PoolTimeout

    from placerank.db.registry import Registry

    with opened_database(data_dir) as database:
        try:
            return ask(Registry(database))
        except psycopg.errors.UndefinedTable as error:
            raise NotMigrated("The database has not been migrated yet: run placerank migrate.") from error
        except (psycopg.OperationalError, PoolTimeout) as error:
            raise DatabaseUnavailable("The database does not answer.") from error


def _line(row: dict[str, Any]) -> str:
    return f"{row['version']:<6}{row['use_percentage']:>4} %  {row['kind']:<6}  {_metrics(row)}{_gate(row)}"


def _metrics(row: dict[str, Any]) -> str:
    found = row["metrics"]
    if not isinstance(found, dict):
        return "its metrics cannot be read"
    known = {name: found[name] for name in _METRICS if name in found}
    return "  ".join(f"{name} {_number(value)}" for name, value in known.items())


def _number(value: Any) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _GREATEST
    return f"{value:.4f}" if is_number else "cannot be read"


def _gate(row: dict[str, Any]) -> str:
    if row["decision"] is None:
        return ""
    passed = row["decision"].get("passed") if isinstance(row["decision"], dict) else None
    if not isinstance(passed, bool):
        return "  its decision cannot be read"
    return "  passed" if passed else "  refused"


def _unreadable(artifact: bytes, digest: str) -> str | None:
    from placerank.ranking.errors import ModelError
    from placerank.ranking.model import Model

    try:
        Model.from_registry(artifact, digest)
    except ModelError as error:
        return str(error)
    return None


def _json(value: Any) -> str:
    return json.dumps(value, default=str)
