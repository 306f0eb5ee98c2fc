"""Writes ``docs/reference/settings.md`` from the settings themselves; a test holds the two together."""

from __future__ import annotations

import sys
from pathlib import Path

from placerank.config import settings

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "settings.md"
HEAD = """# Settings

Environment variables. A wrong value, a variable that is not known, or two that contradict each other stop the start
with a sentence that names the variable, and exit code 2. `placerank config` prints what is in force.

Addresses are taken in all their spellings: `postgres://`, `postgresql+psycopg2://`, `pyamqp://`, a virtual host given
as `/`, `//` or by name.

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
