"""Writes the files that are generated from the chart's values and the broker's names; a test keeps them current.

They are the chart's README, a ``values.schema.json`` for the chart and each subchart, and the topology that the broker
imports.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools import chart_values

from placerank.queue.definitions import vhost_definitions

if TYPE_CHECKING:
    from tools.chart_values import Value

CHART = Path(__file__).resolve().parents[1] / "charts" / "placerank"
SUBCHARTS = ("postgresql", "rabbitmq", "redis")
#: The version of the subchart's broker, and the placeholder that its template replaces with the virtual host.
BROKER, VHOST = (4, 3), "@VHOST@"
HEAD = """# placerank on Kubernetes

An API, workers that scale with the length of their queue, and a relay. It also installs PostgreSQL, RabbitMQ and Redis
from their official images, unless you have your own. It needs Helm 3.14 or newer, Kubernetes 1.30 or newer and
[KEDA](https://keda.sh) 2.17 or newer (not with `autoscaling.mode: hpa` or `none`).

```sh
helm install placerank charts/placerank --namespace placerank --create-namespace
helm test placerank --namespace placerank --logs
```

How to [install on a cluster](../../docs/how-to/kubernetes.md),
[prepare for production](../../docs/how-to/production.md) and [find the sizes](../../docs/how-to/sizing.md).

`python -m tools.document_chart` generates this page and the `values.schema.json` files from `values.yaml`. Helm refuses
unknown values.
"""


def pages() -> dict[Path, str]:
    """Every file and its text."""
    values = {"": chart_values.read(CHART / "values.yaml")} | {
        name: chart_values.read(CHART / "charts" / name / "values.yaml") for name in SUBCHARTS
    }
    return {
        CHART / "README.md": HEAD + "".join(_section(name, values[name]) for name in values),
        CHART / "values.schema.json": _json(_parent_schema(values[""])),
        **{CHART / "charts" / name / "values.schema.json": _json(_root(values[name])) for name in SUBCHARTS},
        CHART / "charts" / "rabbitmq" / "files" / "topology.json": _json(vhost_definitions(BROKER, VHOST)),
    }


def _parent_schema(values: tuple[Value, ...]) -> dict[str, Any]:
    """The chart's schema; the subcharts check their values with their own schemas."""
    whole = _root(values)
    for name in SUBCHARTS:
        whole["properties"][name] |= {"additionalProperties": True, "required": ["enabled"]}
    return whole


def _root(values: tuple[Value, ...]) -> dict[str, Any]:
    whole = chart_values.schema(values)
    # Helm adds `global` to every chart's values.
    whole["properties"]["global"] = {"type": "object"}
    return {"$schema": "http://json-schema.org/draft-07/schema#", **whole}


def _section(subchart: str, values: tuple[Value, ...]) -> str:
    title = f"Values of {subchart}" if subchart else "Values"
    before = f"{subchart}." if subchart else ""
    rows = "".join(_row(before, leaf) for value in values for leaf in value.leaves())
    return f"\n## {title}\n\n| value | default | what it sets |\n| --- | --- | --- |\n{rows}"


def _row(before: str, value: Value) -> str:
    default = json.dumps(value.default, ensure_ascii=False).replace("|", "\\|")
    return f"| `{before}{'.'.join(value.path)}` | `{default}` | {value.description.replace('|', chr(92) + '|')} |\n"


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
    sys.exit(0)
