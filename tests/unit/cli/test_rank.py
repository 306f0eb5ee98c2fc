from __future__ import annotations

import csv
import gzip
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from placerank.cli import cli
from placerank.cli.learning import rank as module
from placerank.demo import synthetic
from placerank.domain import TRAVELLER_FIELDS, Traveller
from placerank.errors import PlacerankError
from placerank.files.models import write_model
from placerank.files.places import write_places
from placerank.ranking.catalogue import PlaceTable
from placerank.ranking.model import Model
from placerank.ranking.prior import prior
from placerank.ranking.scoring.scorer import Scorer

if TYPE_CHECKING:
    from pathlib import Path

PLACES = synthetic.places(300, seed=1)
TRAVELLERS = synthetic.travellers(70, seed=1)


def body(traveller: Traveller) -> dict[str, object]:
    return {**asdict(traveller), "people_age": list(traveller.people_age), "time_arrival": str(traveller.time_arrival)}


def travellers_file(folder: Path, name: str, travellers: list[Traveller] = TRAVELLERS) -> Path:
    path = folder / name
    opened = gzip.open if name.endswith(".gz") else open
    with opened(path, "wt", encoding="utf-8", newline="") as file:
        if "jsonl" in name:
            file.writelines(json.dumps(body(one)) + "\n" for one in travellers)
        else:
            rows = csv.DictWriter(file, TRAVELLER_FIELDS, delimiter="\t" if "tsv" in name else ",")
            rows.writeheader()
            rows.writerows({**body(one), "people_age": json.dumps(one.people_age)} for one in travellers)
    return path


def rank(folder: Path, travellers: Path, out: Path, *more: str, places: str = "places.csv") -> str:
    if not (folder / places).exists():
        write_places(folder / places, PLACES)
    arguments = ["rank", "--places", str(folder / places), "--travellers", str(travellers), "--out", str(out), *more]
    return CliRunner().invoke(cli, arguments, catch_exceptions=False, standalone_mode=False).output


def expected(model: Model, limit: int = 10) -> list[tuple[int, int, int, float]]:
    table = PlaceTable.from_places(1, PLACES)
    answers = Scorer(model, table).rank(TRAVELLERS, limit)
    return [
        (number, position, int(table.location_ids[row]), score)
        for number, answer in enumerate(answers, 1)
        for position, (row, score) in enumerate(zip(answer.rows, answer.scores, strict=True), 1)
    ]


@pytest.mark.parametrize(("given", "wanted"), [("t.csv", "o.tsv"), ("t.tsv.gz", "o.csv.gz"), ("t.csv", "o.csv")])
def test_the_ranking_is_the_service_s(given: str, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BATCH", 8)
    out = tmp_path / wanted
    assert "70 travellers" in rank(tmp_path, travellers_file(tmp_path, given), out)
    text = gzip.decompress(out.read_bytes()).decode() if wanted.endswith(".gz") else out.read_text()
    rows = list(csv.reader(text.splitlines(), delimiter="\t" if "tsv" in wanted else ","))
    assert rows[0] == ["traveller", "position", "location_id", "score"]
    assert [(int(a), int(b), int(c), float(d)) for a, b, c, d in rows[1:]] == expected(prior())


def test_json_lines_in_and_out_and_a_model_of_one_s_own(tmp_path: Path) -> None:
    model = Model("logit", prior().weights * 0.5)
    write_model(tmp_path / "model", model, {})
    out = tmp_path / "o.jsonl"
    rank(
        tmp_path,
        travellers_file(tmp_path, "t.jsonl.gz"),
        out,
        "--model",
        str(tmp_path / "model"),
        "--limit",
        "3",
        places="places.jsonl.gz",
    )
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    found = [
        (line["traveller"], position, place["location_id"], place["score"])
        for line in lines
        for position, place in enumerate(line["places"], 1)
    ]
    assert found == expected(model, 3)


def test_every_bad_row_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    travellers_file(tmp_path, "t.csv")
    lines = path.read_text().splitlines()
    lines[3] = lines[3].replace("[", "", 1)
    lines[5] = lines[5].rsplit(",", 1)[0] + ",perhaps"
    lines[6] = lines[6].rsplit(",", 1)[0]
    path.write_text("\n".join(lines) + "\n")
    out = tmp_path / "o.csv"
    out.write_text("as before")
    with pytest.raises(PlacerankError, match="3 bad rows"):
        rank(tmp_path, path, out)
    assert out.read_text() == "as before"


def test_bad_rows_are_told_with_line_and_column(tmp_path: Path) -> None:
    from placerank.files.travellers import read_travellers

    path = tmp_path / "t.jsonl"
    bad = [{**body(TRAVELLERS[0]), "budget": -1}, {**body(TRAVELLERS[0]), "people_num": 99}, {"name": "x"}]
    path.write_text("".join(json.dumps(one) + "\n" for one in [body(TRAVELLERS[0]), *bad]) + "no json\n")
    found = read_travellers(path)
    assert len(found.travellers) == 1
    assert {(problem.line, problem.column) for problem in found.problems} >= {
        (2, "budget"),
        (3, "people_age"),
        (4, "budget"),
        (5, None),
    }


def test_missing_columns_are_told_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("name,people_num\na,1\nb,2\n")
    with pytest.raises(PlacerankError, match=r"line 1: The columns are missing: people_age, .* and sport\.$"):
        rank(tmp_path, path, tmp_path / "o.csv")


def test_what_fails_while_it_writes_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "o.csv"
    monkeypatch.setattr(Scorer, "_possible", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        rank(tmp_path, travellers_file(tmp_path, "t.csv"), out)
    assert not [path for path in tmp_path.iterdir() if "o.csv" in path.name]


def test_a_name_that_says_no_format_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(PlacerankError, match="no known format"):
        rank(tmp_path, travellers_file(tmp_path, "t.csv"), tmp_path / "o.parquet")
