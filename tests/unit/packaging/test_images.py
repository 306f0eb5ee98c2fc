"""The images: their contents, their users, and what a change of code rebuilds."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.unit.packaging.files import ROOT, is_ignored, stages, whole

if TYPE_CHECKING:
    from pathlib import Path

TARGETS = ("api", "worker")
PUBLIC = [stage.base for stage in stages().values() if stage.base not in {*stages(), "scratch"}]
RUNS = [one.arguments for stage in stages().values() for one in stage.instructions if one.name == "RUN"]


def stage_of(target: str, path: str) -> str:
    """The stage that a target copies a path from."""
    return next(one.copied_from or "" for one in stages()[target].instructions if one.sources == [path])


def test_the_base_is_one_version() -> None:
    assert PUBLIC
    for base in PUBLIC:
        assert re.fullmatch(r"python:3\.\d+-slim", base), base


@pytest.mark.parametrize("target", TARGETS)
def test_it_runs_as_nobody_in_particular(target: str) -> None:
    users = [one.arguments for one in whole(target) if one.name == "USER"]
    assert users[-1] == "10001:10001", "runAsNonRoot needs a numeric user id"


@pytest.mark.parametrize("target", [*TARGETS, "api-dev", "worker-dev"])
def test_signals_reach_the_process(target: str) -> None:
    entry = [one.arguments for one in whole(target) if one.name == "ENTRYPOINT"][-1]
    assert json.loads(entry)[0] in {"placerank", "python"}, "a shell would not forward SIGTERM"


def test_the_api_is_made_without_torch() -> None:
    copied = [source for one in whole(stage_of("api", "/opt/venv")) for source in one.sources if one.name == "COPY"]
    assert "requirements/api.txt" in copied
    assert not {"requirements/torch.txt", "requirements/worker.txt"} & set(copied)


@pytest.mark.parametrize("target", TARGETS)
def test_code_is_the_last_layer(target: str) -> None:
    layers = [one for one in stages()[target].instructions if one.name in {"COPY", "RUN", "ADD"}]
    assert layers[-1].copied_from == "package"
    for layer in layers[:-1]:
        before = whole(layer.copied_from or "")
        assert not [one for one in before if one.name == "COPY" and "src" in one.sources], (
            "an early layer contains code"
        )


def test_all_but_torch_is_installed_by_hash() -> None:
    installs = [part.strip() for run in RUNS for part in run.split("&&") if re.search(r"pip install", part)]
    free = [one for one in installs if "--require-hashes" not in one and "--no-deps" not in one]
    assert len(installs) > 3
    assert [re.findall(r"-r (\S+)", one) for one in free] == [["requirements/torch.txt"]]


def test_nothing_needs_buildkit() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert not re.search(r"^#\s*syntax=|--mount=|--link|<<", text, re.MULTILINE)


def test_what_is_copied_is_there() -> None:
    copies = [one for stage in stages().values() for one in stage.instructions if one.name == "COPY"]
    sources = [source for one in copies if one.copied_from is None for source in one.sources]
    assert "src" in sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert not is_ignored(source), f"{source} is kept out by .dockerignore"


def test_stages_that_are_copied_from_exist() -> None:
    named = {one.copied_from for stage in stages().values() for one in stage.instructions if one.copied_from}
    assert named <= set(stages())


@pytest.mark.parametrize(
    "path", [".git/config", ".venv/bin/python", "tests/conftest.py", "charts/placerank/values.yaml", ".placerank/data"]
)
def test_the_context_holds_nothing_else(path: str) -> None:
    assert is_ignored(path)
    assert is_ignored("src/placerank/__pycache__/cli.cpython-313.pyc")
    assert not is_ignored("src/placerank/cli/__init__.py")


def make_images(folder: Path, *settings: str) -> list[list[str]]:
    """The commands of ``make images``, run with a builder that only records its arguments."""
    builder, log = folder / "builder", folder / "log"
    builder.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" --- >>{log}\n', encoding="utf-8")
    builder.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name not in {"TORCH_INDEX", "MAKEFLAGS"}}
    command = ["make", "-C", str(ROOT), "images", f"BUILDER={builder} --quiet", "TAG=1.2.3", *settings]
    subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return [call.split("\n")[:-1] for call in log.read_text(encoding="utf-8").split("---\n")[:-1]]


def test_make_builds_both_with_any_builder(tmp_path: Path) -> None:
    calls = make_images(tmp_path)
    for target, call in zip(TARGETS, calls, strict=True):
        assert call[:7] == ["--quiet", "-t", f"placerank/{target}:1.2.3", "-f", "Dockerfile", "--target", target]
        assert call[-1] == "."
        assert not [part for part in call if part.startswith("TORCH_INDEX")], "a plain build must not set TORCH_INDEX"


def test_make_hands_the_index_of_torch_on(tmp_path: Path) -> None:
    _, worker = make_images(tmp_path, "TORCH_INDEX=https://example.org/cpu")
    assert worker[worker.index("TORCH_INDEX=https://example.org/cpu") - 1] == "--build-arg"
