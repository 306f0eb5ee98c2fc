"""Draws the dashboards for the docs as SVG, with the same queries to a Prometheus.

Grafana draws them live. This module needs only the standard library.
"""

from __future__ import annotations

import html
import math
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tools.dashboards.parts import Dashboard, Panel
    from tools.services.prometheus import Prometheus

_WIDTH, _HEIGHT, _MARGIN = 460, 210, 14
_PLOT = (58, 30, 388, 112)  # x, y, width, height
_STEPS = 120
#: Below this, a value is the rounding error of a difference between two equal sums.
_NOTHING = 1e-9
_MOST_SERIES = 8
_COLOURS = ("#3b6fb6", "#d1495b", "#2e8b57", "#e09f3e", "#7b5ea7", "#4aa3a2", "#8c6d46", "#6b7280")
_UNITS = {"s": "s", "bytes": "B", "percentunit": "%", "reqps": "/s", "ops": "/s"}

Series = tuple[str, list[tuple[float, float]]]


def draw(page: Dashboard, prometheus: Prometheus, asked: Callable[[str], str], *, seconds: float) -> str:
    """The page as SVG, over the last ``seconds`` seconds; ``asked`` fills the dashboard's variables into a query."""
    end = time.time()
    panels = [panel for panel in page.panels if not all(query.on_cluster for query in panel.queries)]
    drawn = []
    for number, panel in enumerate(panels):
        x, y = number % 2 * (_WIDTH + _MARGIN) + _MARGIN, number // 2 * (_HEIGHT + _MARGIN) + 44
        content = _panel(panel, _series(panel, prometheus, asked, end - seconds, end), end - seconds, end)
        drawn.append(f'<g transform="translate({x},{y})">{content}</g>')
    width = 2 * (_WIDTH + _MARGIN) + _MARGIN
    height = (len(panels) + 1) // 2 * (_HEIGHT + _MARGIN) + 50
    head = f'<text x="{_MARGIN}" y="28" font-size="18" font-weight="600">{html.escape(page.title)}</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="11" fill="#1f2933"><rect width="{width}" height="{height}" fill="#f4f5f7"/>{head}'
        f"{''.join(drawn)}</svg>\n"
    )


def _series(
    panel: Panel, prometheus: Prometheus, asked: Callable[[str], str], start: float, end: float
) -> list[Series]:
    found: list[Series] = []
    for query in panel.queries:
        if query.on_cluster:
            continue
        for row in prometheus.query_range(asked(query.expression), start, end, (end - start) / _STEPS):
            points = [(at, float(value)) for at, value in row["values"] if math.isfinite(float(value))]
            if points:
                found.append((_name(query.legend, row["metric"]), points))
    return sorted(found, key=lambda series: -max(value for _, value in series[1]))[:_MOST_SERIES]


def _name(legend: str, labels: dict[str, Any]) -> str:
    for label, value in labels.items():
        legend = legend.replace("{{" + label + "}}", str(value))
    return legend


def _panel(panel: Panel, series: Sequence[Series], start: float, end: float) -> str:
    x, y, width, height = _PLOT
    most = max((value for _, points in series for _, value in points), default=0)
    most = most if most > _NOTHING else 1
    parts = [
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="4" fill="#fff" stroke="#d8dce2"/>',
        f'<text x="12" y="20" font-size="13" font-weight="600">{html.escape(panel.title)}</text>',
    ]
    for part in (0, 0.5, 1):
        at = y + height * (1 - part)
        parts.append(f'<line x1="{x}" x2="{x + width}" y1="{at:.0f}" y2="{at:.0f}" stroke="#e5e8ec"/>')
        parts.append(f'<text x="{x - 6}" y="{at + 4:.0f}" text-anchor="end">{_number(most * part, panel.unit)}</text>')
    for number, (name, points) in enumerate(series):
        colour = _COLOURS[number % len(_COLOURS)]
        line = " ".join(
            f"{x + width * (at - start) / (end - start):.1f},{y + height * (1 - max(value, 0) / most):.1f}"
            for at, value in points
        )
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        left, top = 12 + number % 2 * 224, y + height + 18 + number // 2 * 12
        parts.append(f'<rect x="{left}" y="{top - 7}" width="8" height="8" fill="{colour}"/>')
        parts.append(f'<text x="{left + 13}" y="{top}" font-size="9.5">{html.escape(name[:42])}</text>')
    return "".join(parts)


def _number(value: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {prefix}{_UNITS.get(unit, '')}"
    if unit == "s" and 0 < value < 1:
        return f"{value * 1e3:.3g} ms"
    return f"{value:.3g} {_UNITS.get(unit, '')}".strip()
