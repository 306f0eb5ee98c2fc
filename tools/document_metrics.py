"""Writes ``docs/reference/metrics.md`` from the metrics themselves; a test holds the two together."""

from __future__ import annotations

import sys
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from placerank.telemetry import metrics

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "metrics.md"
HEAD = """# Metrics

Every process serves its own at `PLACERANK_TELEMETRY__METRICS_PORT`, the API under `/metrics` too. What one process
counts is its own: sum over processes. What the relay samples is about the whole system and is said by each relay alike:
take the greatest. Times are in seconds, sizes in bytes, shares and progress from 0 to 1. The usual `process_*` and
`python_*` metrics come with them.

A counter counts what the database has said to have changed, so that sums over all processes since the beginning are
the rows: `placerank_inferences_started_total` those of `inferences`, `placerank_results_stored_total` those with status
SUCCESS and by `model_version`, `placerank_selections_total` the events `selected`. A process that is killed takes with
it what nobody had read yet.

| metric | kind | labels | what it is |
| --- | --- | --- | --- |
"""


def page() -> str:
    """The page's text."""
    return HEAD + "".join(f"{row}\n" for row in _rows())


def _rows() -> list[str]:
    found = [one for one in vars(metrics).values() if isinstance(one, MetricWrapperBase)]
    return [_row(one) for one in found]


def _row(metric: MetricWrapperBase) -> str:
    (family,) = metric.describe()
    name = f"{family.name}_total" if family.type == "counter" else family.name
    labels = ", ".join(f"`{label}`" for label in metric._labelnames)  # noqa: SLF001 - it has no other name
    return f"| `{name}` | {family.type} | {labels} | {family.documentation} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.exit(0)
