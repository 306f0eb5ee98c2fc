"""Monitors, rules and dashboards can be switched on one by one, and their tools accept them."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
import yaml
from tests.chart.rendering import CHART, of_kind, render
from tools.dashboards.grafana import pages
from tools.services.prometheus import promtool

if TYPE_CHECKING:
    from pathlib import Path

ON = "monitoring.enabled=true"
RULES = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]


def test_nothing_is_there_unless_it_is_switched_on() -> None:
    kinds = {one["kind"] for one in render()}
    assert not kinds & {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
    assert not [name for name in of_kind(render(), "ConfigMap") if "dashboard" in name]


@pytest.mark.parametrize(
    ("switch", "gone"), [("monitors", "ServiceMonitor"), ("rules.enabled", "PrometheusRule")], ids=["monitors", "rules"]
)
def test_each_part_can_be_left_out(switch: str, gone: str) -> None:
    assert of_kind(render(ON), gone)
    assert not of_kind(render(ON, f"monitoring.{switch}=false"), gone)
    off = render(ON, "monitoring.dashboards.enabled=false")
    assert not [name for name in of_kind(off, "ConfigMap") if "dashboard" in name]


def test_the_rules_are_those_of_the_file(tmp_path: Path) -> None:
    (rule,) = of_kind(render(ON), "PrometheusRule").values()
    assert rule["spec"]["groups"] == RULES
    if shutil.which("promtool"):
        path = tmp_path / "rules.yaml"
        path.write_text(yaml.safe_dump(rule["spec"]))
        assert promtool("check", "rules", str(path)).returncode == 0


def test_objective_runbooks_and_alerts_are_the_user_s() -> None:
    (rule,) = of_kind(
        render(
            ON,
            "monitoring.rules.backlogAgeSeconds=7",
            "monitoring.rules.runbookUrl=https://wiki.example.com/run",
            "monitoring.rules.disabled={PlacerankCacheMemory}",
        ),
        "PrometheusRule",
    ).values()
    rules = [one for group in rule["spec"]["groups"] for one in group["rules"]]
    assert rules[0]["expr"] == "vector(7)"
    alerts = {one["alert"]: one for one in rules if "alert" in one}
    assert "PlacerankCacheMemory" not in alerts
    assert all(
        one["annotations"]["runbook_url"] == f"https://wiki.example.com/run/{name}.md" for name, one in alerts.items()
    )


def test_dashboards_are_what_grafana_s_sidecar_looks_for() -> None:
    maps = {name: one for name, one in of_kind(render(ON), "ConfigMap").items() if "dashboard" in name}
    assert len(maps) == len(pages())
    for one in maps.values():
        assert one["metadata"]["labels"]["grafana_dashboard"] == "1"
        ((file, text),) = one["data"].items()
        assert file.endswith(".json")
        assert json.loads(text)["panels"]


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_a_dashboard_is_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == pages()[path], "run: python -m tools.dashboards"
