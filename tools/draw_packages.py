"""Draws the packages and the direction of their imports, from the code and its layers, as SVG.

``python -m tools.draw_packages`` writes ``docs/pictures/packages.svg``; a test keeps the picture current.
"""

from __future__ import annotations

import ast
import html
import sys
import textwrap
import tomllib
from pathlib import Path
from typing import Final

import grimp

ROOT: Final = Path(__file__).resolve().parents[1]
PICTURE: Final = ROOT / "docs" / "pictures" / "packages.svg"
_SOURCE: Final = ROOT / "src" / "placerank"
#: Everything may import these: arrows to them would hide the others.
_EVERYWHERE: Final = {"domain", "errors"}
#: ``__main__`` only starts the command line.
_LEFT_OUT: Final = {"__main__"}
_WIDTH, _BOX, _HEIGHT, _GAP, _ROW, _MARGIN = 1240, 168, 92, 10, 132, 16
_LETTERS = 27


def layers() -> list[list[str]]:
    """The layers that import-linter enforces, the topmost first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    found = next(one for one in contracts if one.get("containers") == ["placerank"])
    rows = [[name.strip() for name in layer.split("|")] for layer in found["layers"]]
    return [row for row in rows if not set(row) & _LEFT_OUT]


def imports() -> dict[str, set[str]]:
    """What each package or top-level module imports, including imports for types only."""
    graph = grimp.build_graph("placerank", cache_dir=None)
    names = [name for row in layers() for name in row]
    return {
        one: {
            other
            for other in names
            if one != other
            and graph.direct_import_exists(importer=f"placerank.{one}", imported=f"placerank.{other}", as_packages=True)
        }
        for one in names
    }


def arrows(imported: dict[str, set[str]]) -> list[tuple[str, str]]:
    """The imports that no path of other arrows implies (the transitive reduction of an acyclic graph)."""
    reached: dict[str, set[str]] = {}

    def below(name: str) -> set[str]:
        if name not in reached:
            reached[name] = imported[name].union(*(below(other) for other in imported[name]))
        return reached[name]

    return [
        (one, other)
        for one, others in imported.items()
        for other in sorted(others - _EVERYWHERE)
        if not any(other in below(between) for between in others if between != other)
    ]


def described(name: str) -> str:
    """The first sentence of a package's or module's docstring."""
    file = _SOURCE / name / "__init__.py" if (_SOURCE / name).is_dir() else _SOURCE / f"{name}.py"
    first = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
    return " ".join(first.split())


def svg() -> str:
    """The picture."""
    rows = layers()
    places = {
        name: (_centre(column, len(row)) - _BOX // 2, _MARGIN + number * _ROW)
        for number, row in enumerate(rows)
        for column, name in enumerate(row)
    }
    lines = [_arrow(places[one], places[other]) for one, other in arrows(imports())]
    boxes = [_box(name, *place) for name, place in places.items()]
    height = _MARGIN * 2 + len(rows) * _ROW - (_ROW - _HEIGHT)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="system-ui, sans-serif" '
        'font-size="11"><title>The packages of placerank; an arrow points to what is imported</title>'
        '<defs><marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#7a8794"/></marker></defs><rect width="100%" height="100%" fill="#fff"/>'
    )
    return "\n".join([head, *lines, *boxes, "</svg>", ""])


def _centre(column: int, of: int) -> int:
    """The centre of a box; boxes are spread over the width, so that long arrows pass between them."""
    between = (_WIDTH - _BOX - 2 * _GAP) // max(of - 1, 4)
    return _WIDTH // 2 + int((column - (of - 1) / 2) * between)


def _arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    x, y, to_x, to_y = start[0] + _BOX // 2, start[1] + _HEIGHT, end[0] + _BOX // 2, end[1]
    return (
        f'<path d="M{x} {y} C{x} {y + 34} {to_x} {to_y - 34} {to_x} {to_y}" fill="none" stroke="#7a8794" '
        'marker-end="url(#end)"/>'
    )


def _box(name: str, x: int, y: int) -> str:
    package = (_SOURCE / name).is_dir()
    text = textwrap.wrap(described(name), _LETTERS, max_lines=5, placeholder=" …")
    words = "".join(
        f'<text x="{x + 8}" y="{y + 31 + 12 * line}" fill="#44505c" font-size="10">{html.escape(one)}</text>'
        for line, one in enumerate(text)
    )
    return (
        f'<rect x="{x}" y="{y}" width="{_BOX}" height="{_HEIGHT}" rx="6" fill="{"#eef4fb" if package else "#f6f1e7"}" '
        f'stroke="#9db4cc"/><text x="{x + 8}" y="{y + 17}" font-weight="700" font-size="13" fill="#1b2733">'
        f"{name}{'/' if package else ''}</text>{words}"
    )


if __name__ == "__main__":
    PICTURE.write_text(svg(), encoding="utf-8")
    sys.exit(0)
