"""The data of a training, as arrays and as a record from which the training can be repeated."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from placerank import __version__
from placerank.db.learning import Dataset
from placerank.domain import PLACE_FIELDS, started_at
from placerank.ranking.learning.training import train
from placerank.ranking.lists import ShownLists

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from placerank.db.learning import AnsweredList
    from placerank.ranking.learning.training import Trained

_CPU_INFO: Final = Path("/proc/cpuinfo")


def shown_lists(answered: Sequence[AnsweredList]) -> ShownLists:
    """Answered lists as the arrays that training takes."""
    lengths = [len(one.places) for one in answered]
    return ShownLists(
        travellers=[one.traveller for one in answered],
        identities=[one.identity for one in answered],
        places=np.array([place for one in answered for place in one.places], dtype=np.float64).reshape(
            sum(lengths), len(PLACE_FIELDS)
        ),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        chosen=np.array([one.chosen for one in answered], dtype=np.int64),
    )


def dataset_of(answered: Sequence[AnsweredList], seed: int) -> Dataset:
    """The record of these lists; equal lists and choices have equal digests."""
    digest = hashlib.sha256()
    for one in answered:
        digest.update(one.task_id.bytes + one.chosen.to_bytes(2, signed=True))
    task_ids, choices = [one.task_id for one in answered], [one.chosen for one in answered]
    return Dataset(seed, digest.hexdigest(), task_ids, choices, environment())


def learn_from(
    answered: Sequence[AnsweredList],
    dataset: Dataset,
    *,
    min_lists: int,
    progress: Callable[[float], None] = lambda _done: None,
) -> Trained:
    """Train on a dataset; the same dataset, libraries and kind of CPU give the same bytes."""
    first, last = started_at(dataset.task_ids[0]), started_at(dataset.task_ids[-1])
    data = {
        "lists": str(len(answered)),
        "travellers": str(len({one.identity for one in answered})),
        "from": first.isoformat(timespec="seconds"),
        "to": last.isoformat(timespec="seconds"),
        "digest": dataset.digest,
        "seed": str(dataset.seed),
    }
    return train(shown_lists(answered), seed=dataset.seed, data=data, min_lists=min_lists, progress=progress)


def environment() -> dict[str, str]:
    """What the bytes of a model depend on, in addition to lists and seed."""
    return {"placerank": __version__, "numpy": np.__version__, "machine": platform.machine(), "cpu": _cpu()}


def _cpu() -> str:
    try:
        lines = _CPU_INFO.read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
