"""Pictures of a model's quality. Only this module imports matplotlib; no long-running process loads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

from matplotlib.figure import Figure

from placerank.errors import PlacerankError
from placerank.ranking.judging.metrics import chosen_rows, judge_order, reliability

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from placerank.domain import Traveller
    from placerank.ranking.lists import ShownLists

_FEW: Final = 5


def write_picture(path: Path, rows: NDArray[np.float64], lists: ShownLists) -> None:
    """Write a reliability curve and NDCG@10 by kind of traveller; the suffix of the name selects the format."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    _reliability(left, rows, lists)
    _by_kind(right, rows, lists)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise PlacerankError(f"{path} cannot be written: {error}") from None


def kind_of(traveller: Traveller) -> str:
    """The kind of a traveller's party, from fields that every request has."""
    if traveller.children_num:
        return "with children"
    if traveller.people_age and min(traveller.people_age) >= 60:
        return "all 60 or older"
    sizes = {1: "one person", 2: "two people"}
    return sizes.get(traveller.people_num, "three or more")


def _reliability(axes: Any, rows: NDArray[np.float64], lists: ShownLists) -> None:
    bins = reliability(rows, chosen_rows(lists))
    greatest = max(1e-3, *(float(promised.mean()) for promised, _ in bins))
    axes.plot([0, greatest], [0, greatest], color="grey", linewidth=1, label="perfect")
    axes.plot([promised.mean() for promised, _ in bins], [came.mean() for _, came in bins], "o-", label="model")
    axes.set(xlabel="score", ylabel="share chosen", title="Reliability")
    axes.legend()


def _by_kind(axes: Any, rows: NDArray[np.float64], lists: ShownLists) -> None:
    kinds = np.array([kind_of(traveller) for traveller in lists.travellers])
    bars = {}
    for kind in sorted(set(kinds.tolist())):
        which = np.flatnonzero((kinds == kind) & (lists.chosen >= 0))
        if len(which) >= _FEW:
            own = np.concatenate([rows[lists.offsets[one] : lists.offsets[one + 1]] for one in which])
            bars[f"{kind} ({len(which)})"] = judge_order(own, np.zeros(len(which)), lists.subset(which))["ndcg_at_10"]
    axes.barh(list(bars), list(bars.values()))
    axes.set(xlim=(0, 1), title="NDCG@10 by kind of traveller (lists)")
