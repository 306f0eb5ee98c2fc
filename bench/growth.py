"""Whether the rate stays the same when the tables grow: measured before and after adding a million inferences."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
from bench.client import Target
from bench.closed_loop import OUT, STATE, Server, measure, run, server_of

from placerank.config import addresses

if TYPE_CHECKING:
    from collections.abc import Sequence

_POLL_S: Final = 0.01
_WARM_UP_S: Final = 3.0
_AT_ONCE: Final = 100_000
#: Finished inferences spread over about a year: ten places each, every second one with a choice.
_FILL: Final = """
WITH traveller AS (
    INSERT INTO users (
        identity, name, people_num, people_age, children_num, budget, nights, time_arrival, pool, spa, pet_friendly,
        lake, mountain, sport, created_at
    )
    SELECT 'digest:' || md5((random() * 1e9)::text), 'Traveller ' || n, 2, '{41,7}', 1, 100 + n % 900, 1 + n % 14,
        date '2027-01-01' + n % 365, n % 2 = 0, n % 3 = 0, n % 5 = 0, n % 7 = 0, n % 4 = 0, n % 6 = 0,
        now() - n * interval '30 seconds'
    FROM generate_series(1, %(rows)s) AS n
    RETURNING id, created_at
),
inference AS (
    INSERT INTO inferences (
        id, user_id, status, created_at, published_at, finished_at, model_version, catalogue_version, candidates,
        revisions, location_ids, scores, propensities, choice, chosen_at
    )
    SELECT gen_random_uuid(), id, 'SUCCESS', created_at, created_at, created_at, 'v1', 1, 210,
        array(SELECT s FROM generate_series(1, 10) AS s), array(SELECT s FROM generate_series(1, 10) AS s),
        array(SELECT 1.0 / (s + 1) FROM generate_series(1, 10) AS s), array_fill(1.0, ARRAY[10]),
        CASE WHEN id % 2 = 0 THEN 1 END, CASE WHEN id % 2 = 0 THEN created_at END
    FROM traveller
    RETURNING id, created_at, choice
)
INSERT INTO events (task_id, kind, location_id, at)
SELECT id, 'started', NULL::integer, created_at FROM inference
UNION ALL
SELECT id, 'selected', choice, created_at FROM inference WHERE choice IS NOT NULL
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, fills, measures again, prints and writes; returns 1 if a loop failed."""
    options = _options(arguments)
    with server_of(options) as server:
        _windows(server, options, 1, _WARM_UP_S)
        before = _windows(server, options, options.windows, options.seconds)
        filled_s = _fill(server.addresses["DATABASE_URL"], options.rows)
        stored = int(server.get("/content/info")["inferences"])
        _windows(server, options, 1, _WARM_UP_S)
        after = _windows(server, options, options.windows, options.seconds)
    report = {
        "machine": {"cores": os.cpu_count(), "load_before": os.getloadavg()[2]},
        "travellers": options.travellers,
        "stored": stored,
        "filled_s": round(filled_s, 1),
        "before": _summary(before),
        "after": _summary(after),
    }
    report["ratio"] = {
        name: round(report["after"][name] / max(report["before"][name], 1e-9), 3)
        for name in ("loops_per_s", "cpu_ms_per_loop", "postgresql_ms_per_loop")
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2) + "\n")
    for name, value in report.items():
        print(f"{name:>12}  {value}")
    return int(any(sum(window["errors"].values()) for window in (*before, *after)))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="inferences to add; they stay in the database")
    parser.add_argument("--travellers", type=int, default=64, help="concurrent travellers")
    parser.add_argument("--windows", type=int, default=3, help="measurements before and after")
    parser.add_argument("--seconds", type=float, default=8.0, help="seconds of each measurement")
    parser.add_argument("--json", type=Path, default=OUT / "growth.json", help="where to write the numbers")
    parser.add_argument("--url", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--state", type=Path, default=STATE, help="addresses and process ids of running services")
    return parser.parse_args(arguments)


def _windows(server: Server, options: argparse.Namespace, count: int, seconds: float) -> list[dict[str, Any]]:
    target = Target.of(server.url, poll_s=_POLL_S)
    return [run(measure(server, target, options.travellers, seconds)).report() for _ in range(count)]


def _summary(windows: Sequence[dict[str, Any]]) -> dict[str, float]:
    def median(values: Sequence[float]) -> float:
        return round(statistics.median(values), 3)

    return {
        "loops_per_s": median([window["loops_per_s"] for window in windows]),
        "p50_ms": median([window["answer_ms"]["p50"] for window in windows]),
        "p99_ms": median([window["answer_ms"]["p99"] for window in windows]),
        "cpu_ms_per_loop": median([window["cpu_ms_per_loop"]["sum"] for window in windows]),
        "postgresql_ms_per_loop": median([window["cpu_ms_per_loop"].get("postgresql", 0.0) for window in windows]),
    }


def _fill(database_url: str, rows: int) -> float:
    """Add ``rows`` finished inferences and run VACUUM ANALYZE, as autovacuum would; returns the seconds."""
    began = time.monotonic()
    with psycopg.connect(addresses.postgresql(database_url), autocommit=True) as connection:
        for start in range(0, rows, _AT_ONCE):
            connection.execute(_FILL.replace("% ", "%% ").encode(), {"rows": min(_AT_ONCE, rows - start)})
        for table in ("users", "inferences", "events"):
            connection.execute(f"VACUUM ANALYZE {table}".encode())
        connection.execute("CHECKPOINT") if _may_checkpoint(connection) else None
    return time.monotonic() - began


def _may_checkpoint(connection: psycopg.Connection[Any]) -> bool:
    found = connection.execute("SELECT pg_has_role('pg_checkpoint', 'MEMBER')").fetchone()
    return bool(found and found[0])


if __name__ == "__main__":
    sys.exit(main())
