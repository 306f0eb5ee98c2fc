"""``placerank train --reproduce``: the same lists, seed and code give the same model, to the byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from placerank.cli.data import opened_database
from placerank.errors import NotFound, PlacerankError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def reproduce_version(version: str, data_dir: Path | None) -> None:
    """Train a version again from its recorded dataset; raises ``PlacerankError`` if it fails or the digest differs."""
    from placerank.db.learning import LearningRepository
    from placerank.worker.training.datasets import environment, learn_from

    with opened_database(data_dir) as database:
        learning = LearningRepository(database)
        found = learning.dataset_of(version)
        if found is None:
            raise NotFound(f"No model has the version {version}. `placerank models list` shows all versions.")
        digest, dataset = found
        if dataset is None:
            raise PlacerankError(f"{version} was not trained here: it has no dataset to train it again from.")
        answered = learning.lists_of(dataset)
    if missing := len(dataset.task_ids) - len(answered):
        raise PlacerankError(
            f"{version} cannot be reproduced: {missing} of the {len(dataset.task_ids)} lists that it was trained on "
            "have been erased since."
        )
    again = learn_from(answered, dataset, min_lists=2).model.digest
    if again != digest:
        differences = _differences(dataset.environment, environment())
        raise PlacerankError(f"{version} is not reproduced: the digest is {again} instead of {digest}.{differences}")
    click.echo(f"{version} is reproduced: {again}, from {len(answered)} lists with seed {dataset.seed}.")


def _differences(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    found = [f"{name} was {then.get(name)} and is {now[name]}" for name in now if then.get(name) != now[name]]
    return f" The environment differs: {'; '.join(found)}." if found else ""
