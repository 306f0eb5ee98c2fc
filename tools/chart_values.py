"""Reads a chart's ``values.yaml`` with its comments: what each value is, and what is accepted for it.

A value is described by the comment right above it. Lines ``# @schema …`` in that comment hold JSON Schema in YAML's
flow style, and narrow what the default's type already says. ``{each: GROUP, named: PATTERN}`` describes a map whose
keys match ``PATTERN`` and whose values are groups like ``GROUP``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MARK = "@schema"
#: The schema of a value without ``@schema``, by the type of its default.
_TYPES: dict[type, dict[str, Any]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer", "minimum": 0},
    float: {"type": "number", "minimum": 0},
    str: {"type": "string"},
    list: {"type": "array"},
    dict: {"type": "object"},
}


@dataclass(frozen=True, slots=True)
class Value:
    """A value, or a group of values where it has ``children``."""

    path: tuple[str, ...]
    default: Any
    description: str
    narrowed: dict[str, Any] = field(default_factory=dict)
    children: tuple[Value, ...] = ()

    @property
    def name(self) -> str:
        """The value's name within its group."""
        return self.path[-1]

    def leaves(self) -> Iterator[Value]:
        """Yield the values below a group, or the value itself."""
        if not self.children:
            yield self
        for child in self.children:
            yield from child.leaves()


def read(path: Path) -> tuple[Value, ...]:
    """The values of a file, in its order."""
    text = path.read_text(encoding="utf-8")
    return _values(yaml.compose(text, yaml.SafeLoader), text.splitlines(), ())


def schema(values: tuple[Value, ...], groups: dict[str, Value] | None = None) -> dict[str, Any]:
    """JSON Schema of an object with only these values; ``groups`` are the groups that ``each`` may name."""
    groups = {".".join(group.path): group for group in _groups(values)} if groups is None else groups
    properties = {value.name: _schema_of(value, groups) for value in values}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _schema_of(value: Value, groups: dict[str, Value]) -> dict[str, Any]:
    described = {"description": value.description} if value.description else {}
    if value.children:
        return described | schema(value.children, groups)
    narrowed = dict(value.narrowed)
    if each := narrowed.pop("each", None):
        named = {narrowed.pop("named"): schema(groups[each].children, groups)}
        narrowed |= {"patternProperties": named, "additionalProperties": False}
    basis = {} if value.default is None else _TYPES[type(value.default)]
    if "type" in narrowed or "enum" in narrowed:
        basis = {}
    return described | basis | narrowed


def _groups(values: tuple[Value, ...]) -> Iterator[Value]:
    for value in values:
        if value.children:
            yield value
            yield from _groups(value.children)


def _values(node: Any, lines: list[str], path: tuple[str, ...]) -> tuple[Value, ...]:
    return tuple(_value(key, inner, lines, path) for key, inner in node.value)


def _value(key: Any, node: Any, lines: list[str], path: tuple[str, ...]) -> Value:
    description, narrowed = _comment(lines, key)
    here = (*path, str(key.value))
    if isinstance(node, yaml.MappingNode) and not node.flow_style and _comment(lines, node.value[0][0])[0]:
        return Value(here, None, description, children=_values(node, lines, here))
    loader = yaml.SafeLoader("")
    return Value(here, loader.construct_object(node, deep=True), description, narrowed)


def _comment(lines: list[str], key: Any) -> tuple[str, dict[str, Any]]:
    """The words and the schema of the comment above a key; comments of another indentation belong to another key."""
    start, column = key.start_mark.line, key.start_mark.column
    first = start
    while first and lines[first - 1].startswith(" " * column + "#"):
        first -= 1
    words: list[str] = []
    narrowed: dict[str, Any] = {}
    for line in (line.strip().removeprefix("#").strip() for line in lines[first:start]):
        if line.startswith(_MARK):
            narrowed |= _annotation(line.removeprefix(_MARK).strip())
        else:
            words.append(line)
    return " ".join(words), narrowed


def _annotation(text: str) -> dict[str, Any]:
    wanted = yaml.safe_load(text)
    if not isinstance(wanted, dict):
        raise TypeError(f"{_MARK} {text}: this is not a mapping")
    return wanted
