"""Parsers for the Dockerfile, ``.dockerignore`` and YAML files."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
SCHEMAS = Path(__file__).parent / "schemas"


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a Dockerfile, with continuation lines joined."""

    name: str
    arguments: str

    @property
    def copied_from(self) -> str | None:
        """The stage from which a COPY copies; none for the build context."""
        found = re.match(r"--from=(\S+)", self.arguments)
        return found[1] if found else None

    @property
    def sources(self) -> list[str]:
        """The paths that a COPY copies."""
        return [part for part in shlex.split(self.arguments) if not part.startswith("--")][:-1]


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of a Dockerfile, with its base image or base stage."""

    base: str
    instructions: list[Instruction] = field(default_factory=list)


def stages() -> dict[str, Stage]:
    """The stages of the Dockerfile by name; one without a name is ""."""
    found: dict[str, Stage] = {}
    current = Stage("")
    for instruction in _instructions():
        if instruction.name == "FROM":
            base, _, name = instruction.arguments.partition(" AS ")
            current = found.setdefault(name, Stage(base))
        else:
            current.instructions.append(instruction)
    return found


def _instructions() -> list[Instruction]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines)).splitlines()
    return [Instruction(*line.split(None, 1)) for line in joined]


def whole(name: str) -> list[Instruction]:
    """All instructions of a stage's image, including those of its base stages."""
    known = stages()
    stage = known[name]
    return [*(whole(stage.base) if stage.base in known else []), *stage.instructions]


def is_ignored(path: str) -> bool:
    """Whether ``.dockerignore`` excludes a path: the last pattern decides that matches it or one of its folders."""
    ignored = False
    parts = path.split("/")
    above = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.strip().removeprefix("!")
        if not pattern or pattern.startswith("#"):
            continue
        if any(_matches(one, pattern) for one in above):
            ignored = not line.startswith("!")
    return ignored


def _matches(path: str, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return any(fnmatchcase(part, pattern[3:]) for part in path.split("/"))
    return path.count("/") == pattern.count("/") and fnmatchcase(path, pattern)


def load(name: str) -> Any:
    """A YAML file of one document."""
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def load_all(name: str) -> list[dict[str, Any]]:
    """A YAML file of many documents."""
    return list(yaml.safe_load_all((ROOT / name).read_text(encoding="utf-8")))
