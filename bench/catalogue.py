"""A catalogue of a million places in a real PostgreSQL: imported, loaded by a worker, changed while the worker serves.

While the changed catalogue loads, the worker ranks travellers on the old one. The slowest ranking is reported.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from tools.services import start

from placerank.config import addresses
from placerank.db.catalogue import CatalogueRepository
from placerank.db.migrate import migrate
from placerank.db.pool import Database
from placerank.demo import synthetic
from placerank.worker.inference.catalogue_rows import catalogue_table
from placerank.worker.inference.serving import Serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from placerank.db.catalogue import Row

OUT: Final = Path(__file__).parent / "out"
_K: Final = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--places", type=int, default=1_000_000, help="how many places")
    parser.add_argument("--json", type=Path, default=OUT / "catalogue.json", help="where to write the numbers")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with start(["postgresql"], install=False) as services:
        url = addresses.postgresql(services.create_database(f"bench_{secrets.token_hex(4)}"))
        migrate(url)
        report = _measured(url, options.places)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2) + "\n")
    print("\n".join(f"{name:<32}{value}" for name, value in report.items()))
    return 0


def _measured(url: str, places: int) -> dict[str, Any]:
    catalogue = CatalogueRepository(url)
    report: dict[str, Any] = {"places": places, "put": _timed(lambda: catalogue.put(_rows(places)))}
    database = Database(url, application_name="bench", pool_size=2)
    database.open()
    report["read"] = _timed(lambda: catalogue_table(database))
    serving = Serving(database, device="cpu", refresh_s=0.5)
    began = time.perf_counter()
    serving.start()
    before = serving.current()
    report["loaded and ready"] = {"wall_s": round(time.perf_counter() - began, 2)}
    report["changed"] = _timed(lambda: catalogue.put(_rows(10)))
    report["while it loads"] = _served_meanwhile(serving, before.versions[0])
    serving.stop()
    database.close()
    return report


def _served_meanwhile(serving: Serving, old: int) -> dict[str, float]:
    travellers = synthetic.travellers(100, seed=5)
    calm: list[float] = []
    loading: list[float] = []
    changed = time.perf_counter()
    while (snapshot := serving.current()).versions[0] == old:
        began = time.perf_counter()
        snapshot.model_for("x").scorer.rank([travellers[len(loading) % 100]], _K)
        loading.append(time.perf_counter() - began)
    took = time.perf_counter() - changed
    for one in travellers[:50]:
        began = time.perf_counter()
        snapshot.model_for("x").scorer.rank([one], _K)
        calm.append(time.perf_counter() - began)
    return {
        "new_after_s": round(took, 2),
        "ranked": len(loading),
        "slowest_ms": round(max(loading) * 1000, 1),
        "median_ms": round(sorted(loading)[len(loading) // 2] * 1000, 1),
        "median_calm_ms": round(sorted(calm)[len(calm) // 2] * 1000, 1),
    }


def _rows(places: int) -> Iterator[Row]:
    columns = synthetic.place_columns(places, seed=places)
    return zip(*(column.tolist() for column in columns.values()), strict=True)


def _timed(do: Callable[[], object]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    do()
    return {"wall_s": round(time.perf_counter() - wall, 2), "cpu_s": round(time.process_time() - cpu, 2)}


if __name__ == "__main__":
    sys.exit(main())
