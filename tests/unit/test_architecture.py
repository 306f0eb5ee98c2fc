"""The layout holds: imports point one way, modules stay small, nothing is loaded by pickle."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from tools.draw_packages import PICTURE, imports, svg

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "src" / "placerank").rglob("*.py"))
LONGEST = 400


PACKAGES = sorted(file.parent for file in MODULES if file.name == "__init__.py" and "migrations" not in file.parts)
MOST_MODULES = 15
MOST_BESIDE_PACKAGES = 8


def name_of(module: Path) -> str:
    return str(module.relative_to(ROOT))


def test_imports_point_one_way() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_entrance_shows_packages() -> None:
    shown = {path for path in (ROOT / "src" / "placerank").iterdir() if path.name != "__pycache__"}
    assert len([path for path in shown if path not in PACKAGES]) <= MOST_BESIDE_PACKAGES
    assert not {path.stem for path in shown} & {"common", "core", "misc", "utils", "util", "helpers"}


@pytest.mark.parametrize("package", PACKAGES, ids=name_of)
def test_no_package_is_crowded(package: Path) -> None:
    assert len(list(package.glob("*.py"))) <= MOST_MODULES


@pytest.mark.parametrize("package", PACKAGES[1:], ids=name_of)
def test_a_package_says_what_lives_in_it_and_what_it_imports(package: Path) -> None:
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8"))) or ""
    lives, imported = text.split("\n\n")
    assert lives.endswith(".")
    assert imported.startswith("Imports ")
    if package.parent.name == "placerank" and "every other" not in imported:
        said = set(imported.removeprefix("Imports ").rstrip(".").split(", ")) - {"nothing"}
        assert said == imports()[package.name]


def test_the_picture_of_the_packages_is_drawn_from_the_code() -> None:
    assert PICTURE.read_text(encoding="utf-8") == svg(), "run: make structure"


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_no_module_is_long(module: Path) -> None:
    assert len(module.read_text(encoding="utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_nothing_is_loaded_by_pickle(module: Path) -> None:
    nodes = list(ast.walk(ast.parse(module.read_text(encoding="utf-8"))))
    imported = {alias.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {(node.module or "").split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}
    assert not imported & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    called = {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}
    assert not called & {"torch.load", "torch.save", "np.load", "numpy.load"}, "these unpickle"


def test_every_revision_of_the_schema_is_plain_sql() -> None:
    versions = ROOT / "src" / "placerank" / "db" / "migrations" / "versions"
    scripts = sorted(path.stem for path in versions.glob("[0-9]*.py"))
    assert scripts == sorted(path.stem for path in versions.glob("*.sql"))


def test_what_the_api_is_made_of_is_loaded_without_torch_and_celery() -> None:
    code = (
        "import sys, placerank.api.app, placerank.runtime, placerank.api.server, placerank.cli;"
        "print(*(sys.modules.keys() & {'torch','numpy','pandas','sklearn','celery','kombu','sqlalchemy','alembic'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
