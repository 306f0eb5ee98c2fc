"""What ends a file early, or makes one row of many, fails the file: rows that nobody has seen are not skipped."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from placerank.demo import synthetic
from placerank.domain import PLACE_FIELDS, PLACE_FLAGS, TRAVELLER_FIELDS
from placerank.errors import PlacerankError
from placerank.files.impressions import read_impressions
from placerank.files.places import PlacesFile, read_places
from placerank.files.problems import UnusableFile
from placerank.files.travellers import read_travellers

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = 1000


def read(path: Path) -> PlacesFile:
    return read_places(path, progress=lambda _: None)


def rows(count: int = ROWS) -> list[dict[str, Any]]:
    return [
        {"location_id": n, "name": f"Haus {n}"}
        | {name: n % 3 == 0 if name in PLACE_FLAGS else n + 0.25 for name in PLACE_FIELDS}
        for n in range(1, count + 1)
    ]


def text(found: list[dict[str, Any]], delimiter: str = ",", quoting: int = csv.QUOTE_MINIMAL) -> str:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(found[0]), delimiter=delimiter, lineterminator="\n", quoting=quoting)  # type: ignore[arg-type]
    writer.writeheader()
    writer.writerows(found)
    return out.getvalue()


def lists() -> list[dict[str, Any]]:
    return [
        {name: getattr(traveller, name) for name in TRAVELLER_FIELDS}
        | {"people_age": [*traveller.people_age]}
        | {name: getattr(place, name) for name in PLACE_FIELDS}
        | {"label": float(one == chosen)}
        for traveller, _, places, chosen in synthetic.shown_lists(50, 30, 1)
        for one, place in enumerate(places)
    ]


def travellers() -> list[dict[str, Any]]:
    return [{name: row[name] for name in TRAVELLER_FIELDS} for row in lists()]


KINDS: dict[str, tuple[Callable[[Path], Any], Callable[[], list[dict[str, Any]]]]] = {
    "places": (read, rows),
    "travellers": (read_travellers, travellers),
    "impressions": (read_impressions, lists),
}
FORMATS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "csv": lambda found: text(found).encode(),
    "semicolons": lambda found: text(found, ";").encode(),
    "tsv in UTF-16": lambda found: text(found, "\t").encode("utf-16"),
    "json lines": lambda found: "".join(json.dumps(row, default=str) + "\n" for row in found).encode(),
    "json array": lambda found: json.dumps(found, default=str).encode(),
}


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMATS)
def test_whole_they_are_read(tmp_path: Path, kind: str, form: str) -> None:
    reader, make = KINDS[kind]
    found = reader(write(tmp_path / "a", FORMATS[form](make())))
    assert not getattr(found, "problems", [])
    assert reader(write(tmp_path / "b", gzip.compress(FORMATS[form](make()))))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("share", [0.1, 0.6, 0.999])
def test_a_compressed_file_that_is_cut_off(tmp_path: Path, kind: str, form: str, share: float) -> None:
    reader, make = KINDS[kind]
    whole = gzip.compress(FORMATS[form](make()))
    with pytest.raises(UnusableFile, match=r"line \d+: .*cut off or damaged"):
        reader(write(tmp_path / "a.gz", whole[: int(len(whole) * share)]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", [b"behind", bytes([1])])
def test_a_compressed_file_with_something_else_behind(tmp_path: Path, kind: str, end: bytes) -> None:
    reader, make = KINDS[kind]
    with pytest.raises(UnusableFile, match="damaged"):
        reader(write(tmp_path / "a", gzip.compress(FORMATS["csv"](make())) + end))


@pytest.mark.parametrize("at", [-8, -4, -1, 3000])
def test_a_compressed_file_with_a_wrong_byte(tmp_path: Path, at: int) -> None:
    content = bytearray(gzip.compress(text(rows()).encode()))
    content[at] ^= 0xFF
    with pytest.raises(UnusableFile):
        read(write(tmp_path / "a.gz", bytes(content)))


@pytest.mark.parametrize("form", FORMATS)
def test_a_plain_file_that_is_cut_off_within_a_row(tmp_path: Path, form: str) -> None:
    """Wherever it is cut: the rows are all read, or a number lost its last digits, or the file is refused."""
    whole = FORMATS[form](rows(40))
    complete = read(write(tmp_path / "whole", whole)).rows
    refused = 0
    for size in range(int(len(whole) * 0.8), len(whole) - 2):
        try:
            found = read(write(tmp_path / "cut", whole[:size]))
        except UnusableFile:
            refused += 1
            continue
        assert found.problems == []
        assert list(found.rows[:-1]) == complete[: len(found.rows) - 1]
    assert refused > 0.9 * 0.2 * len(whole)


@pytest.mark.parametrize("kind", ["travellers", "impressions"])
@pytest.mark.parametrize("form", FORMATS)
def test_other_files_that_are_cut_off_within_a_row(tmp_path: Path, kind: str, form: str) -> None:
    reader, make = KINDS[kind]
    whole = FORMATS[form](make()).rstrip(b"\n\0")
    whole = whole[: -len(whole) % 2 or None] if "16" in form else whole
    with pytest.raises(UnusableFile):
        reader(write(tmp_path / "a", whole[:-60]))


def test_a_last_row_without_a_line_end_is_a_row(tmp_path: Path) -> None:
    assert len(read(write(tmp_path / "a.csv", text(rows()).rstrip("\n"))).rows) == ROWS
    bad = text([*rows(3), {**rows(1)[0], "location_id": 9, "user_score": "good"}]).rstrip("\n")
    found = read(write(tmp_path / "b.csv", bad))
    assert (len(found.rows), found.bad_rows) == (3, 1)


@pytest.mark.parametrize("row", [1, 10, 500, ROWS])
@pytest.mark.parametrize("column", [0, 1, 5, 18])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC, csv.QUOTE_ALL])
def test_one_stray_quote_costs_no_row_in_silence(tmp_path: Path, row: int, column: int, quoting: int) -> None:
    lines = text(rows(), quoting=quoting).splitlines()
    cells = lines[row].split(",")
    cells[column] = '"' + cells[column]
    lines[row] = ",".join(cells)
    path = write(tmp_path / "a.csv", "\n".join(lines) + "\n")
    try:
        found = read(path)
    except UnusableFile:
        return
    assert len(found.rows) + found.bad_rows == ROWS
    assert found.bad_rows <= 1


@pytest.mark.parametrize("apart", [1, 2, 300])
@pytest.mark.parametrize("column", [0, 1, 5, 18])
def test_two_stray_quotes_with_rows_between(tmp_path: Path, apart: int, column: int) -> None:
    lines = text(rows()).splitlines()
    for number, where in ((10, 0), (10 + apart, 1)):
        cells = lines[number].split(",")
        cells[column] = ('"' + cells[column], cells[column] + '"')[where]
        lines[number] = ",".join(cells)
    with pytest.raises(UnusableFile, match=r"line 11: .*quote"):
        read(write(tmp_path / "a.csv", "\n".join(lines) + "\n"))


def test_a_quoted_cell_may_hold_line_ends(tmp_path: Path) -> None:
    stories = ["One line.", "First, second\nand third.", "\n\n", 'He said "no",\r\nand left, again, and again.', ""]
    found = [{**row, "name": stories[n % len(stories)]} for n, row in enumerate(rows())]
    assert len(read(write(tmp_path / "a.csv", text(found))).rows) == ROWS


def test_a_disk_that_cannot_be_read(tmp_path: Path) -> None:
    # Linux answers the first read of this file with an error of input and output.
    broken = Path("/proc/self/mem")
    if not broken.exists():
        pytest.skip("needs Linux")
    for reader in (read, read_travellers, read_impressions):
        with pytest.raises(UnusableFile, match="cannot be read any further: Input/output error"):
            reader(broken)


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = gzip.compress(text(rows()).encode())
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    assert len(read(pipe).rows) == ROWS
    writer.join()


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_half_a_character_at_the_end(tmp_path: Path, encoding: str) -> None:
    mark = "\ufeff".encode(encoding)
    with pytest.raises(UnusableFile, match="cut off"):
        read(write(tmp_path / "a", mark + text(rows()).encode(encoding)[:-1]))
    with pytest.raises(UnusableFile, match="within a character"):
        read(write(tmp_path / "b", (text(rows())[:-1] + "ä").encode()[:-1]))


@pytest.mark.parametrize(
    "end", ["", "]]", "] {}", "]\n[]", ",", ", nothing]", " {}]", ', {"location_id": 1'], ids=lambda end: end or "none"
)
def test_an_array_that_does_not_end_well(tmp_path: Path, end: str) -> None:
    whole = json.dumps(rows(), indent=1)
    with pytest.raises(UnusableFile, match=r"line \d+: The JSON is cut off or not well formed"):
        read(write(tmp_path / "a.json", whole.rstrip("]\n") + end))


def test_a_footer_tells_how_many_rows_there_are(tmp_path: Path) -> None:
    assert len(read(write(tmp_path / "a", text(rows()) + "(1000 rows)\n")).rows) == ROWS
    assert len(read(write(tmp_path / "b", text(rows(1)) + "(1 Zeile)\n\n")).rows) == 1
    with pytest.raises(UnusableFile, match="should have 1001 rows, but has 1000"):
        read(write(tmp_path / "c", text(rows()) + "(1001 rows)\n"))
    with pytest.raises(UnusableFile, match="line 1002: Other rows follow"):
        read(write(tmp_path / "d", text(rows()) + "(1000 rows)\n" + text(rows())))


def test_bad_rows_are_counted_as_rows(tmp_path: Path) -> None:
    found = rows(6)
    found[1] |= {"price": "a", "has_spa": "b", "user_score": "c"}
    found[3] |= {"name": "two\nlines", "price": "d"}
    found[4] |= {"location_id": 1}
    for name, content in {
        "a.csv": text(found).replace("Haus 6", "Haus,6"),
        "a.json": json.dumps([*found[:5], {**found[5], "price": None}]),
        "a.jsonl": "\n".join(map(json.dumps, [*found[:5], "6"])) + "\n",
    }.items():
        read_again = read(write(tmp_path / name, content))
        assert (len(read_again.rows), read_again.bad_rows) == (2, 4), name


def test_elements_of_an_array_are_named_by_number_and_line(tmp_path: Path) -> None:
    found = rows(3)
    found[1] |= {"price": "a"}
    found[2] |= {"location_id": 1}
    told = [str(one) for one in read(write(tmp_path / "a.json", json.dumps(found))).problems]
    assert told == [
        "element 2 (line 1), column price: 'a' is not a number.",
        "element 3 (line 1), column location_id: The id 1 is already in element 1.",
    ]
    lines = ",\n\n".join(map(json.dumps, found))
    assert str(read(write(tmp_path / "b.json", f"\n[\n{lines}\n]\n")).problems[0]).startswith("element 2 (line 5), col")


def test_lines_are_numbered_through_blank_ones(tmp_path: Path) -> None:
    header, *lines = text(lists()).splitlines()
    lines[12] = lines[12].rsplit(",", 1)[0] + ",2"
    content = "\n".join(["", "sep=,", "", header, "", *lines[:5], "", "", *lines[5:]])
    with pytest.raises(PlacerankError, match=r"line 20: A label must be 0 or 1, not '2'"):
        read_impressions(write(tmp_path / "a.csv", content))


def test_random_damage_loses_no_row_in_silence(tmp_path: Path) -> None:
    """Any byte of a row may become another: rows are read, counted as bad, or the file is refused."""
    whole, chance = text(rows(60)).encode(), random.Random(7)
    for _ in range(400):
        content = bytearray(whole)
        at = chance.randrange(len(content))
        if content[at] != ord("\n"):
            content[at] = chance.choice(b'",;\t"\'\\x0\xff"')
        try:
            found = read(write(tmp_path / "a.csv", bytes(content)))
        except UnusableFile:
            continue
        # Cells may have been joined or divided, but every line is one row.
        assert len(found.rows) + found.bad_rows == 60


def test_a_name_that_is_not_utf8_is_a_bad_row(tmp_path: Path) -> None:
    found = text([{**row, "name": f"Zoë {row['name']}"} for row in lists()]).encode("latin-1")
    with pytest.raises(UnusableFile, match=r"line 2: The text is not UTF-8"):
        read_impressions(write(tmp_path / "a.csv", found))
    bad = read_travellers(write(tmp_path / "b.csv", found))
    assert (bad.travellers, bad.bad_rows) == ([], 500)
    assert bad.problems[0].column == "name"
