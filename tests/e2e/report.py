"""The figures of a run, as JSON and as Markdown."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "build" / "e2e"


@dataclass
class Report:
    """Measured figures by name, grouped under headings."""

    about: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, heading: str, **figures: Any) -> None:
        """Add figures, print them, and write the report."""
        self.figures.setdefault(heading, {}).update(figures)
        print(f"{heading}: " + ", ".join(f"{name} {value}" for name, value in figures.items()))
        self.write()

    def write(self) -> None:
        """Write ``report.json`` and ``report.md``."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        written = {"written_at": datetime.now(UTC).isoformat(timespec="seconds"), **self.about}
        (FOLDER / "report.json").write_text(json.dumps(written | {"figures": self.figures}, indent=2) + "\n")
        lines = ["# End-to-end run", "", *(f"- {name}: {value}" for name, value in written.items())]
        for heading, figures in self.figures.items():
            lines += ["", f"## {heading}", "", "| what | figure |", "| --- | --- |"]
            lines += [f"| {name.replace('_', ' ')} | {value} |" for name, value in figures.items()]
        (FOLDER / "report.md").write_text("\n".join(lines) + "\n")
