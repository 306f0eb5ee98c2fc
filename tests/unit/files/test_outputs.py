"""An output is never one of the inputs, under whatever name: it is refused before anything is read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from placerank.cli import cli
from placerank.errors import PlacerankError
from placerank.files.writing import check_outputs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def itself(path: Path) -> Path:
    return path


def around(path: Path) -> Path:
    (path.parent / "folder").mkdir(exist_ok=True)
    return path.parent / "folder" / ".." / path.name


def symlink(path: Path) -> Path:
    link = path.with_name(f"link-to-{path.name}")
    link.symlink_to(path)
    return link


def hard_link(path: Path) -> Path:
    link = path.with_name(f"hard-{path.name}")
    os.link(path, link)
    return link


NAMES: list[Callable[[Path], Path]] = [itself, around, symlink, hard_link]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Inputs that no command could read: what is refused has not been read."""
    (tmp_path / "model").mkdir()
    for name in ("places.csv", "travellers.csv", "shown.csv", "model/model.safetensors", "model/model-card.md"):
        (tmp_path / name).write_text(f"not a {name}")
    return tmp_path


COMMANDS = {
    "rank": ("--places places.csv --travellers travellers.csv --model model --out OUT", "places.csv travellers.csv"),
    "evaluate scores": (
        "--model model --places places.csv --impressions shown.csv --scores OUT",
        "places.csv shown.csv model/model.safetensors",
    ),
    "evaluate plot": (
        "--model model/model.safetensors --places places.csv --impressions shown.csv --plot OUT",
        "places.csv shown.csv model/model.safetensors",
    ),
}


def call(folder: Path, command: str, options: str, out: Path) -> None:
    words = [str(folder / word) if "." in word or word == "model" else word for word in options.split()]
    words = [str(out) if word == "OUT" else word for word in words]
    CliRunner().invoke(cli, [command.split()[0], *words], catch_exceptions=False, standalone_mode=False)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_is_never_an_input(folder: Path, command: str, name: Callable[[Path], Path]) -> None:
    options, inputs = COMMANDS[command]
    for given in inputs.split():
        with pytest.raises(PlacerankError, match=r"is the file .*, which is read: write to another file"):
            call(folder, command, options, name(folder / given))
        assert (folder / given).read_text() == f"not a {given}"


@pytest.mark.parametrize("file", ["model.safetensors", "model-card.md"])
def test_a_model_is_not_written_over_what_it_learns_from(folder: Path, file: str) -> None:
    options = f"--places places.csv --impressions model/{file} --out OUT"
    with pytest.raises(PlacerankError, match="which is read"):
        call(folder, "train", options, folder / "model")


def test_two_outputs_are_two_files(folder: Path) -> None:
    options = "--model model --places places.csv --impressions shown.csv --scores OUT --plot OUT"
    with pytest.raises(PlacerankError, match="which is written too"):
        call(folder, "evaluate", options, folder / "new.png")


@pytest.mark.parametrize("name", [itself, around])
def test_a_file_that_is_not_there_yet_has_a_name_too(tmp_path: Path, name: Callable[[Path], Path]) -> None:
    with pytest.raises(PlacerankError, match="which is written too"):
        check_outputs([tmp_path / "new", name(tmp_path / "new")], [])
    check_outputs([tmp_path / "new"], [tmp_path / "other"])


def test_an_export_does_not_go_into_a_data_folder(tmp_path: Path) -> None:
    (tmp_path / "data" / "postgresql").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    for out in ("data/places.csv", "data/postgresql/PG_VERSION", "link/places.csv"):
        words = ["places", "export", str(tmp_path / out), "--data-dir", str(tmp_path / "data")]
        with pytest.raises(PlacerankError, match="is in the data folder"):
            CliRunner().invoke(cli, words, catch_exceptions=False, standalone_mode=False)
