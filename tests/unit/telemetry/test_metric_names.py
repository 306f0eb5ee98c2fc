"""The names of metrics follow conventions, and the page of metrics is up to date."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase
from tools.document_metrics import PAGE, page

from placerank.telemetry import metrics

ALL = {name: one for name, one in vars(metrics).items() if isinstance(one, MetricWrapperBase)}
SOURCE = Path(__file__).resolve().parents[3] / "src" / "placerank"
UNITS = ("_seconds", "_bytes", "_ratio", "_total")
#: Endings of metrics without a unit, such as counts.
COUNTS = re.compile(
    r"_(in_flight|limit|size|score|held|version|places|length|messages|consumers|trainings|metric|connected|"
    r"connections|waiting|deadlocks|records)$"
)


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tools.document_metrics"


@pytest.mark.parametrize("name", ALL)
def test_a_metric_has_a_unit_and_a_sentence(name: str) -> None:
    (family,) = ALL[name].describe()
    shown = f"{family.name}_total" if family.type == "counter" else family.name
    assert shown.startswith(("placerank_", "http_"))
    assert shown.endswith(UNITS) or COUNTS.search(shown), shown
    assert family.documentation.endswith(".")


@pytest.mark.parametrize("name", ALL)
def test_a_metric_is_used(name: str) -> None:
    uses = sum(len(re.findall(rf"\b{name}\b", path.read_text())) for path in SOURCE.rglob("*.py"))
    assert uses > 1


def test_metrics_are_declared_in_one_module() -> None:
    made = re.compile(r"\b(Counter|Gauge|Histogram|Summary)\(\s*\"")
    found = [path.name for path in SOURCE.rglob("*.py") if made.search(path.read_text())]
    assert found == ["metrics.py"]


def test_failures_begin_at_nothing() -> None:
    codes = {sample.labels["code"] for family in metrics.FAILED.collect() for sample in family.samples}
    assert set(metrics.PROBLEMS) <= codes
