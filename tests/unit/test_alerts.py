"""Each alert has a runbook and a promtool test, and these tests pass."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
import yaml
from tests.conftest import in_ci
from tools.dashboards.pages import ALL
from tools.services import ServiceUnavailable, prometheus

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "charts" / "placerank" / "files" / "alerts.yaml"
TESTS = Path(__file__).parent / "alerts" / "alerts.test.yaml"
ALERTS = [
    rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"] if "alert" in rule
]
CASES = yaml.safe_load(TESTS.read_text())["tests"]


@pytest.fixture(autouse=True, scope="module")
def _needs_promtool() -> None:
    try:
        prometheus.find(install=os.geteuid() == 0)
    except ServiceUnavailable as missing:
        if in_ci():
            pytest.fail(str(missing))
        pytest.skip(str(missing))


def test_promtool_s_tests_pass() -> None:
    assert shutil.which("promtool")
    for arguments in (("check", "rules", str(RULES)), ("test", "rules", str(TESTS))):
        done = prometheus.promtool(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_is_tested_and_has_a_runbook(alert: str) -> None:
    cases = [one for case in CASES for one in case.get("alert_rule_test", []) if one["alertname"] == alert]
    assert [one for one in cases if one.get("exp_alerts")], "no test case makes the alert fire"
    assert [one for one in cases if not one.get("exp_alerts")], "no test case in which the alert does not fire"
    page = ROOT / "docs" / "runbooks" / f"{alert}.md"
    text = page.read_text()
    for heading in ("## What it means", "## What to look at", "## What to do"):
        assert heading in text, heading
    assert f"[{alert}]" in (page.parent / "README.md").read_text()


def test_the_cluster_s_queries_are_tried_against_recorded_series() -> None:
    tried = {one["expr"] for case in CASES for one in case.get("promql_expr_test", [])}
    asked = [query.expression for page in ALL for panel in page.panels for query in panel.queries if query.on_cluster]
    for expression in asked:
        filled = re.sub(r"\$namespace", "n", expression.replace("$__rate_interval", "4m"))
        assert filled in tried, filled
