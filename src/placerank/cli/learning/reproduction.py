"""``placerank train --reproduce``: the same lists and seed give the same model, to the last bit of each weight.

The package's own version, which an artifact names, is not compared: an upgrade need not change a model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from placerank.cli.data import opened_database
from placerank.errors import NotFound, PlacerankError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from placerank.db.learning import StoredVersion
    from placerank.ranking.model import Model


def reproduce_version(version: str, data_dir: Path | None) -> None:
    """Train a version again from its recorded dataset; raises ``PlacerankError`` if it fails or the model differs."""
    from placerank.db.learning import LearningRepository
    from placerank.worker.training.datasets import environment, learn_from

    with opened_database(data_dir) as database:
        learning = LearningRepository(database)
        found = learning.dataset_of(version)
        if found is None:
            raise NotFound(f"No model has the version {version}. `placerank models list` shows all versions.")
        stored, dataset = found
        if dataset is None:
            raise PlacerankError(f"{version} was not trained here: it has no dataset to train it again from.")
        before = _stored_model(stored)
        answered = learning.lists_of(dataset)
    if missing := len(dataset.task_ids) - len(answered):
        raise PlacerankError(
            f"{version} cannot be reproduced: {missing} of the {len(dataset.task_ids)} lists that it was trained on "
            "have been erased since, or are damaged."
        )
    again = learn_from(answered, dataset, min_lists=2).model
    if different := _different(before, again):
        differences = _differences(dataset.environment, environment())
        raise PlacerankError(f"{version} is not reproduced: {', '.join(different)} differ.{differences}")
    click.echo(f"{version} is reproduced: {stored.digest}, from {len(answered)} lists with seed {dataset.seed}.")


def _stored_model(stored: StoredVersion) -> Model:
    from placerank.ranking.errors import ModelError
    from placerank.ranking.model import Model

    try:
        return Model.from_registry(stored.artifact, stored.digest)
    except ModelError as error:
        raise PlacerankError(f"{stored.version} cannot be compared: {error}") from None


def _different(before: Model, again: Model) -> list[str]:
    """What training determines and came out differently; an upgrade of placerank alone changes none of it."""
    then, now = before.determined(), again.determined()
    return [name for name in then if then[name] != now[name]]


def _differences(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    found = [f"{name} was {then.get(name)} and is {now[name]}" for name in now if then.get(name) != now[name]]
    return f" The environment differs: {'; '.join(found)}." if found else ""
