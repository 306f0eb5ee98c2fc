"""The parts of dashboards: queries, panels, pages and common expressions."""

from __future__ import annotations

from dataclasses import dataclass, field

#: Selects all series of a release's processes; ``$namespace`` is a variable of the dashboard.
OURS = 'namespace=~"$namespace"'
RATE = "$__rate_interval"


@dataclass(frozen=True, slots=True)
class Query:
    """An expression and the legend of its series; ``on_cluster`` if only Kubernetes or KEDA has these metrics."""

    expression: str
    legend: str
    on_cluster: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph; ``unit`` is Grafana's name of the unit."""

    title: str
    unit: str
    queries: tuple[Query, ...]
    description: str = ""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A page of panels; ``name`` is the name of its file."""

    name: str
    title: str
    panels: tuple[Panel, ...] = field(default_factory=tuple)


def of(metric: str, labels: str = "") -> str:
    """A metric of the namespace, with more labels."""
    return f"{metric}{{{labels + ',' if labels else ''}{OURS}}}"


def rate(metric: str, labels: str = "") -> str:
    """The growth of a counter per second."""
    return f"rate({of(metric, labels)}[{RATE}])"


def sum_by(by: str, inner: str) -> str:
    """A sum, by labels."""
    return f"sum by ({by}) ({inner})" if by else f"sum({inner})"


def quantile(share: float, metric: str, by: str = "", labels: str = "") -> str:
    """A quantile of a histogram, by labels."""
    kept = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({kept}) ({rate(metric + '_bucket', labels)}))"


def quantiles(metric: str, labels: str = "") -> tuple[Query, ...]:
    """Median, p95 and p99 of a histogram."""
    return tuple(Query(quantile(share, metric, labels=labels), f"p{share * 100:g}") for share in (0.5, 0.95, 0.99))


def q(expression: str, legend: str) -> Query:
    """A query of metrics that every installation has."""
    return Query(expression, legend)


def k(expression: str, legend: str) -> Query:
    """A query of metrics that only a cluster has."""
    return Query(expression, legend, on_cluster=True)


def mean_score(over: str) -> str:
    """Mean of the best scores by version, over a time range."""
    total, count = (f"rate({of(f'placerank_answer_score_{part}')}[{over}])" for part in ("sum", "count"))
    return f"{sum_by('model_version', total)} / {sum_by('model_version', count)}"
