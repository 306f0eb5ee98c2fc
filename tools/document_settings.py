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
