"""Writes the dashboards into the chart."""

from __future__ import annotations

from tools.dashboards.grafana import pages

for path, text in pages().items():
    path.write_text(text, encoding="utf-8")
