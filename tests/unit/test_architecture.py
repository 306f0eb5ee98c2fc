"""The layout holds: imports point one way, modules stay small, nothing is loaded by pickle."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "src" / "placerank").rglob("*.py"))
LONGEST = 400


def name_of(module: Path) -> str:
    return str(module.relative_to(ROOT))


def test_imports_point_one_way() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


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
