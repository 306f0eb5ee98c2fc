"""Learning from files, from the rows to the scores."""

from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

from placerank.cli import cli
from placerank.demo import synthetic
from placerank.domain import PLACE_FIELDS, TRAVELLER_FIELDS
from placerank.errors import PlacerankError
from placerank.files.impressions import read_impressions
from placerank.files.models import read_model
from placerank.ranking.catalogue import PlaceTable
from placerank.ranking.scoring.scorer import Scorer

if TYPE_CHECKING:
    from pathlib import Path

    from placerank.domain import Place, Traveller

LISTS, PLACES, SEED = 80, 40, 3
Rows = list[dict[str, Any]]


def row(traveller: Traveller, place: Place, label: float) -> dict[str, Any]:
    mine = {name: getattr(traveller, name) for name in TRAVELLER_FIELDS} | {"people_age": [*traveller.people_age]}
    return mine | {name: getattr(place, name) for name in PLACE_FIELDS} | {"label": label}


def shown() -> Rows:
    return [
        row(traveller, place, float(one == chosen))
        for traveller, _, places, chosen in synthetic.shown_lists(LISTS, PLACES, SEED)
        for one, place in enumerate(places)
    ]


def write(path: Path, rows: Rows, delimiter: str = "\t") -> Path:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("files")
    catalogue = [{name: getattr(p, name) for name in PLACE_FIELDS} for p in synthetic.places(PLACES, SEED)]
    return {
        "--places": str(write(folder / "places.tsv.gz", catalogue)),
        "--impressions": str(write(folder / "shown.tsv.gz", shown())),
    }


@pytest.fixture(scope="module")
def model(files: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    assert call("train", {**files, "--out": str(folder)})
    return folder


def call(command: str, options: dict[str, str], *flags: str) -> str:
    result = CliRunner().invoke(cli, [command, *(part for pair in options.items() for part in pair), *flags])
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.mark.parametrize(("name", "delimiter"), [("a.tsv", "\t"), ("a.csv", ","), ("a.tsv.gz", "\t")])
def test_lists_are_read_as_they_were_shown(tmp_path: Path, name: str, delimiter: str) -> None:
    lists = read_impressions(write(tmp_path / name, shown(), delimiter)).lists
    wanted = list(synthetic.shown_lists(LISTS, PLACES, SEED))
    assert lists.travellers == [traveller for traveller, _, _, _ in wanted]
    assert lists.chosen.tolist() == [chosen for _, _, _, chosen in wanted]
    assert len(set(lists.identities)) == len({traveller for traveller, _, _, _ in wanted})
    assert lists.places[13, PLACE_FIELDS.index("price")] == wanted[1][2][3].price


def test_a_digest_is_of_what_the_file_says(tmp_path: Path) -> None:
    plain = read_impressions(write(tmp_path / "a.tsv", shown()))
    assert read_impressions(write(tmp_path / "b.csv", shown(), ",")).digest == plain.digest
    other = shown()
    other[7]["price"] += 1
    assert read_impressions(write(tmp_path / "c.tsv", other)).digest != plain.digest


@pytest.mark.parametrize(
    ("line", "column", "value", "message"),
    [
        (4, "price", "dear", "line 4: .*dear"),
        (4, "price", "nan", "line 4: .*finite"),
        (7, "has_pool", "maybe", "line 7: .*maybe"),
        (14, "budget", "1", "line 2[12]: .*not of one traveller"),
        (3, "label", "2", "label must be 0 or 1"),
        (2, "time_arrival", "soon", "line"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, line: int, column: str, value: str, message: str) -> None:
    rows = shown()
    if column == "time_arrival":
        for one in rows[:10]:
            one[column] = value
    rows[line - 2][column] = value
    with pytest.raises(PlacerankError, match=message):
        read_impressions(write(tmp_path / "a.tsv", rows))


def test_a_cut_list_and_a_missing_column_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PlacerankError, match="ends within a list"):
        read_impressions(write(tmp_path / "a.tsv", shown()[:-1]))
    with pytest.raises(PlacerankError, match="column is missing: label"):
        read_impressions(write(tmp_path / "b.tsv", [{k: v for k, v in r.items() if k != "label"} for r in shown()]))


def test_a_trained_model_has_a_card_and_is_the_same_each_time(
    model: Path, files: dict[str, str], tmp_path: Path
) -> None:
    assert "How good it is" in (model / "model-card.md").read_text()
    call("train", {**files, "--out": str(tmp_path)})
    assert read_model(tmp_path).digest == read_model(model).digest
    assert read_model(model).data["lists"] == str(LISTS)


def test_no_model_comes_from_lists_without_a_choice(files: dict[str, str], tmp_path: Path) -> None:
    rows = [{**one, "label": 0.0} for one in shown()]
    options = {**files, "--impressions": str(write(tmp_path / "a.tsv", rows)), "--out": str(tmp_path / "model")}
    with pytest.raises(PlacerankError, match=rf"a place was chosen \(label 1\): there is none among {LISTS} lists"):
        call("train", options)
    assert not (tmp_path / "model").exists()
    rows[13]["label"] = 1.0
    write(tmp_path / "a.tsv", rows)
    call("train", options)
    assert (tmp_path / "model").exists()


def test_an_evaluation_says_how_good_and_how_sure(model: Path, files: dict[str, str]) -> None:
    found = json.loads(call("evaluate", {"--model": str(model), **files}, "--json"))
    for name in ("auc", "auc_within_lists", "hit_at_1", "ndcg_at_10", "mrr", "log_loss", "ece"):
        assert found["intervals"][name][0] <= found[name] <= found["intervals"][name][1]
    assert 0 < found["catalogue_coverage"] <= 1


def test_scores_of_an_answer_written_as_a_list_are_those_served(
    model: Path, files: dict[str, str], tmp_path: Path
) -> None:
    places, travellers = synthetic.places(PLACES, SEED), synthetic.travellers(6, SEED)
    answers = Scorer(read_model(model), PlaceTable.from_places(1, places)).rank(travellers, 10)
    rows = [row(t, places[one], 0.0) for t, answer in zip(travellers, answers, strict=True) for one in answer.rows]
    options = {
        "--model": str(model),
        "--places": files["--places"],
        "--impressions": str(write(tmp_path / "answers.tsv", rows)),
        "--scores": str(tmp_path / "scores"),
    }
    call("evaluate", options, "--json")
    written = [float(line) for line in (tmp_path / "scores").read_text().splitlines()]
    assert written == pytest.approx(np.concatenate([answer.scores for answer in answers]).tolist(), abs=1e-5)


@pytest.mark.parametrize("name", ["picture.png", "picture.svg"])
def test_a_picture_is_written(model: Path, files: dict[str, str], tmp_path: Path, name: str) -> None:
    call("evaluate", {"--model": str(model), **files, "--plot": str(tmp_path / name)})
    assert (tmp_path / name).stat().st_size > 5_000


def test_a_picture_of_unknown_format_is_refused(model: Path, files: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(PlacerankError, match="cannot be written"):
        call("evaluate", {"--model": str(model), **files, "--plot": str(tmp_path / "picture.nothing")})


@pytest.mark.parametrize("data", [b"", b"nonsense"])
def test_what_is_no_model_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(PlacerankError, match="cannot be used"):
        read_model(tmp_path)


def test_processes_never_load_what_draws() -> None:
    code = "import sys, placerank.worker.process, placerank.cli.learning.offline; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_learning_from_files_needs_no_torch() -> None:
    code = (
        "import sys, placerank.ranking.learning.training, placerank.files.impressions; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
