"""Writes ``docs/reference/metrics.md`` from the metrics themselves; a test keeps the page current."""

from __future__ import annotations

import sys
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from placerank.telemetry import metrics

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "metrics.md"
HEAD = """# Metrics

Every process serves its metrics at `PLACERANK_TELEMETRY__METRICS_PORT`; the API also serves them under `/metrics`. A
process counts only its own work: sum over the processes. The relay's samples describe the whole system, and every relay
reports the same values: take the maximum. Times are in seconds, sizes in bytes, shares and progress from 0 to 1. The
usual `process_*` and `python_*` metrics are included.

Counters count the rows that the database reports as changed. Their sum over all processes since the first start
therefore equals the number of rows: `placerank_inferences_started_total` the rows of `inferences`,
`placerank_results_stored_total` those with status SUCCESS, by `model_version`, and `placerank_selections_total` the
events `selected`. If a process is killed, what it has counted since the last scrape is lost.

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
