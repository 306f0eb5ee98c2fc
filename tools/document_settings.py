"""Writes ``docs/reference/settings.md`` from the settings themselves; a test keeps the page current."""

from __future__ import annotations

import sys
from pathlib import Path

from placerank.config import settings

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "settings.md"
HEAD = """# Settings

Settings are environment variables. If a value is wrong, a variable is unknown or two variables contradict each other,
the process ends with exit code 2 and a sentence that names the variable. `placerank config` prints the settings in
force.

A setting that guards something, such as a list of keys, a password or `sslrootcert` in an address, is off only if it is
not set. If it is set to nothing, to blanks or to a file that does not exist, the process does not start. Every variable
that begins with `PLACERANK_` must be a setting; only the service links of Kubernetes (`PLACERANK_API_SERVICE_HOST`,
`PLACERANK_API_PORT=tcp://…`) are ignored.

The common spellings of addresses are accepted: `postgres://`, `postgresql+psycopg2://`, `pyamqp://`, and a virtual host
given as `/`, `//` or by name.

| variable | default | what it sets |
| --- | --- | --- |
"""


def page() -> str:
    """The page's text."""
    rows = [
        f"| `{variable}` | {f'`{default}`' if default else ''} | {description} |"
        for variable, default, description in settings.describe(settings.Settings.model_construct())
    ]
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.exit(0)
