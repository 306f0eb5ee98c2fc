"""How fast a catalogue is ranked exactly, and how close this is to a lower bound of the time on this machine.

The bound is measured in the same run. It is the longer of two times: reading all features once per batch, and matrix
products of the model's shape on a tile that stays in the cache. It holds for methods that score every place; pruning by
boxes can beat it. Times are CPU seconds on one thread (medians, measured in turns), because busy neighbours on shared
cores disturb them less than wall-clock time. On a GPU they are wall-clock time. Compared with: one torch product and
``topk``, the same under ``torch.compile``, and a flat inner-product search (faiss), which ignores the budget and is
exact only to float32.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from placerank.demo import synthetic
from placerank.domain import PLACE_FIELDS
from placerank.ranking.catalogue import PlaceTable
from placerank.ranking.features import LOG_PRICE, prices
from placerank.ranking.prior import prior
from placerank.ranking.scoring.scorer import Scorer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from placerank.domain import Traveller
    from placerank.ranking.model import Model

OUT: Final = Path(__file__).parent / "out"
_K: Final = 10
#: Travellers and places of the product whose rate is the bound.
_PRODUCT: Final = (64, 2048)
_CHECKED: Final = 4
#: Short cases are repeated until they take about this long.
_ROUND_S: Final = 0.02
_COMPILED_PLACES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Case:
    """Milliseconds per batch of each contestant, and the bound divided by the time of placerank."""

    places: int
    travellers: int
    ms: Mapping[str, float]
    bound_ms: float
    bound_by: str
    share: float


class Plain:
    """A catalogue and travellers as plain float32 tensors on the device."""

    def __init__(self, scorer: Scorer, travellers: Sequence[Traveller], device: str) -> None:
        tastes = scorer.model.tastes(travellers)
        features = scorer._all_features()  # noqa: SLF001
        self.columns = torch.from_numpy(np.ascontiguousarray(features.T)).to(device)
        self.weights = torch.from_numpy(tastes.places.astype(np.float32)).to(device)
        self.over = torch.from_numpy(tastes.over.astype(np.float32)[:, None]).to(device)
        self.slope = tastes.over_slope
        self.budgets = torch.from_numpy(tastes.budgets[:, None]).to(device)
        self.prices = torch.from_numpy(prices(scorer.table.values).copy()).to(device)


class Contestants:
    """The same batch ranked in several ways. Only placerank also computes the travellers' weights itself."""

    def __init__(self, scorer: Scorer, travellers: Sequence[Traveller], plainly: Plain, *, compiled: bool) -> None:
        self._scorer = scorer
        self._travellers = travellers
        self._plainly = plainly
        self._compiled = torch.compile(_plain) if compiled else None
        self._flat = _flat_index(plainly.columns) if plainly.columns.device.type == "cpu" else None

    def all(self) -> dict[str, Callable[[], object]]:
        """The contestants by name."""
        found: dict[str, Callable[[], object]] = {
            "placerank": lambda: self._scorer.rank(self._travellers, _K),
            "torch": lambda: _plain(self._plainly, _K),
        }
        if (compiled := self._compiled) is not None:
            found["torch.compile"] = lambda: compiled(self._plainly, _K)
        if (flat := self._flat) is not None:
            weights = self._plainly.weights.numpy()
            found["faiss flat"] = lambda: flat.search(weights, _K)
        return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints and writes; returns 1 if a ranking was not exact."""
    options = _options(arguments)
    torch.set_num_threads(1)
    report: dict[str, Any] = {"machine": {"cores": os.cpu_count(), "device": _device_name(options.device)}, "cases": []}
    exact = True
    print(_heading(), flush=True)
    for places in options.places:
        table = _table(places)
        began = time.process_time()
        scorer = Scorer(prior(), table, device=options.device)
        report[f"memory_{places}"] = _memory(scorer) | {"built_s": round(time.process_time() - began, 3)}
        exact &= _is_exact(scorer)
        for travellers in options.travellers:
            case = _case(scorer, travellers, options)
            report["cases"].append(asdict(case))
            print(_line(case), flush=True)
        print(f"{'':>10} {_told(report[f'memory_{places}'])}", flush=True)
    report["exact"] = exact
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\nThe ten best were {'' if exact else 'NOT '}those of a plain float64 scoring. Written to {options.json}.")
    return int(not exact)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--places", type=_numbers, default="210,10000,100000,1000000", help="sizes of the catalogue")
    parser.add_argument("--travellers", type=_numbers, default="1,8,64,256", help="travellers of a batch")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each contestant")
    parser.add_argument("--compile", action="store_true", help="also torch.compile, for a million places")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("--json", type=Path, default=OUT / "scoring.json", help="where to write the numbers")
    return parser.parse_args(arguments)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _case(scorer: Scorer, travellers: int, options: argparse.Namespace) -> Case:
    asked = synthetic.travellers(travellers * 6, seed=travellers)[:travellers]
    compiled = options.compile and len(scorer.table) >= _COMPILED_PLACES
    plainly = Plain(scorer, asked, options.device)
    columns = plainly.columns
    contestants = Contestants(scorer, asked, plainly, compiled=compiled).all()
    contestants["stream"] = _stream(columns)
    contestants["product"] = _product(columns)
    seconds = _in_turns(contestants, options.rounds, options.device)
    share_of_product = columns.shape[1] * travellers / (_PRODUCT[0] * _PRODUCT[1])
    bounds = {"bytes": seconds.pop("stream"), "products": seconds.pop("product") * share_of_product}
    by = max(bounds, key=lambda name: bounds[name])
    return Case(
        places=len(scorer.table),
        travellers=travellers,
        ms={name: round(one * 1000, 3) for name, one in seconds.items()},
        bound_ms=round(bounds[by] * 1000, 3),
        bound_by=by,
        share=round(bounds[by] / seconds["placerank"], 3),
    )


def _stream(columns: torch.Tensor) -> Callable[[], object]:
    """Reads as many bytes as all features have."""
    data = torch.ones(columns.numel(), device=columns.device)
    return lambda: data.sum()


def _product(columns: torch.Tensor) -> Callable[[], object]:
    """A matrix product of the model's shape, always on the same tile."""
    travellers, places = _PRODUCT
    weights = torch.rand(travellers, len(columns), device=columns.device)
    tile = torch.rand(len(columns), places, device=columns.device)
    out = torch.empty(travellers, places, device=columns.device)
    return lambda: torch.mm(weights, tile, out=out)


def _in_turns(contestants: Mapping[str, Callable[[], object]], rounds: int, device: str) -> dict[str, float]:
    """Median seconds of each contestant. They take turns, so that disturbances affect all of them."""
    clock = _device_clock if device == "cuda" else time.process_time
    repeats = {name: _repeats(one, clock) for name, one in contestants.items()}
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, one in contestants.items():
            began = clock()
            for _ in range(repeats[name]):
                one()
            found[name].append((clock() - began) / repeats[name])
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def _repeats(one: Callable[[], object], clock: Callable[[], float]) -> int:
    one()
    began = clock()
    one()
    return max(1, int(_ROUND_S / max(clock() - began, 1e-6)))


def _device_clock() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


def _plain(given: Plain, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """All scores in float32 and their top k, without any optimisation."""
    scores = given.weights @ given.columns
    penalty = given.over + given.slope * given.columns[LOG_PRICE]
    values, rows = torch.topk(scores + torch.where(given.prices > given.budgets, penalty, 0.0), k)
    return values, rows


def _flat_index(columns: torch.Tensor) -> Any:
    try:
        import faiss
    except ModuleNotFoundError:
        return None
    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatIP(len(columns))
    index.add(np.ascontiguousarray(columns.numpy().T))
    return index


def _table(places: int) -> PlaceTable:
    columns = synthetic.place_columns(places, seed=1)
    values = np.column_stack([columns[name].astype(np.float64) for name in PLACE_FIELDS])
    return PlaceTable(1, columns["location_id"], columns["location_id"], values)


def _is_exact(scorer: Scorer) -> bool:
    """Whether the best ten are those of scoring every place in float64 and sorting, ties included."""
    asked = synthetic.travellers(_CHECKED * 6, seed=99)[:_CHECKED]
    answers = scorer.rank(asked, _K)
    return all(
        list(answer.rows) == _plainly(scorer.model, scorer.table, one)
        for one, answer in zip(asked, answers, strict=True)
    )


def _plainly(model: Model, table: PlaceTable, traveller: Traveller) -> list[int]:
    utilities: NDArray[np.float64] = model.utilities([traveller], table.values)[0][0]
    rows: list[int] = np.lexsort((table.location_ids, -utilities))[:_K].tolist()
    return rows


def _memory(scorer: Scorer) -> dict[str, Any]:
    """MB of the table, of its features in float32, and of what the scorer keeps in addition to the table."""
    table = scorer.table
    own = table.values.nbytes + table.location_ids.nbytes + table.revisions.nbytes
    features = len(table) * len(scorer.model.columns) * np.dtype(np.float32).itemsize
    kept = scorer._rough.nbytes + scorer._order.nbytes  # noqa: SLF001
    return {
        "table_mb": round(own / 1e6, 2),
        "features_mb": round(features / 1e6, 2),
        "scorer_mb": round(kept / 1e6, 2),
        "scorer_to_features": round(kept / features, 2),
        "all_to_table": round((own + kept) / own, 2),
    }


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else "cpu"


def _heading() -> str:
    names = ("places", "travellers", "bound ms", "by", "share", "placerank", "torch", "compiled", "faiss")
    return "milliseconds a batch\n" + " ".join(f"{name:>10}" for name in names)


def _line(case: Case) -> str:
    times = [case.ms.get(name, "-") for name in ("placerank", "torch", "torch.compile", "faiss flat")]
    cells = [case.places, case.travellers, case.bound_ms, case.bound_by, f"{case.share:.0%}", *times]
    return " ".join(f"{cell:>10}" for cell in cells)


def _told(memory: Mapping[str, Any]) -> str:
    return (
        f"table {memory['table_mb']} MB, features {memory['features_mb']} MB, scorer {memory['scorer_mb']} MB: "
        f"{memory['scorer_to_features']} x the features, with the table {memory['all_to_table']} x the table; "
        f"built in {memory['built_s']} s"
    )


if __name__ == "__main__":
    sys.exit(main())
