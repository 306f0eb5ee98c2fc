"""Files as other programs write them are taken as they are: exports/README.md says how they were made."""

from __future__ import annotations

import gzip
import json
from datetime import date
from pathlib import Path

import pytest

from placerank.domain import PLACE_FIELDS, TRAVELLER_FIELDS
from placerank.files.places import read_places
from placerank.files.travellers import read_travellers

EXPORTS = Path(__file__).parent / "exports"
PLACES = sorted((EXPORTS / "places").iterdir())
TRAVELLERS = sorted((EXPORTS / "travellers").iterdir())


def expected(folder: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((EXPORTS / folder / "expected.json").read_text(encoding="utf-8"))
    return found


def test_there_are_exports_of_every_program() -> None:
    programs = {path.name.split(".")[0].split("-")[0] for path in PLACES}
    assert programs >= {"psql", "pandas", "duckdb", "libreoffice", "excel"}


@pytest.mark.parametrize("path", PLACES, ids=lambda path: path.name)
def test_places_are_those_exported(path: Path) -> None:
    found = read_places(path, progress=lambda _: None)
    assert (found.problems, found.bad_rows) == ([], 0)
    assert [dict(zip(("location_id", *PLACE_FIELDS), row, strict=True)) for row in found.rows] == [
        {name: value for name, value in row.items() if name != "name"} for row in expected("places")
    ]


@pytest.mark.parametrize("path", TRAVELLERS, ids=lambda path: path.name)
def test_travellers_are_those_exported(path: Path) -> None:
    found = read_travellers(path)
    assert (found.problems, found.bad_rows) == ([], 0)
    rows = [{name: getattr(one, name) for name in TRAVELLER_FIELDS} for one in found.travellers]
    assert rows == [
        {**row, "people_age": tuple(row["people_age"]), "time_arrival": date.fromisoformat(str(row["time_arrival"]))}  # type: ignore[arg-type]
        for row in expected("travellers")
    ]


@pytest.mark.parametrize("path", PLACES, ids=lambda path: path.name)
@pytest.mark.parametrize("name", ["places", "places.gz", "places.csv", "places.tsv", "places.jsonl", "places.xlsx"])
def test_the_name_of_a_file_does_not_matter(tmp_path: Path, path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(path.read_bytes())
    assert len(read_places(tmp_path / name, progress=lambda _: None).rows) == 10


@pytest.mark.parametrize("path", [path for path in PLACES if path.suffix != ".gz"], ids=lambda path: path.name)
def test_compressed_or_not_they_are_the_same(tmp_path: Path, path: Path) -> None:
    (tmp_path / "a").write_bytes(gzip.compress(path.read_bytes()))
    plain, packed = read_places(path, progress=lambda _: None), read_places(tmp_path / "a", progress=lambda _: None)
    assert list(packed.rows) == list(plain.rows)
