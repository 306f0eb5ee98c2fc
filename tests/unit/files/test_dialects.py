"""Delimiters, encodings, decimal marks and wrong kinds of files."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest
from tests.unit.files.test_whole_files import lists, read, rows, text, write

from placerank.domain import PLACE_FIELDS
from placerank.files.impressions import read_impressions
from placerank.files.problems import UnusableFile

if TYPE_CHECKING:
    from pathlib import Path

PRICE = 1 + PLACE_FIELDS.index("price")


def commas(content: str) -> str:
    """The same text with decimal commas; its delimiter must not be one."""
    return content.replace(".25", ",25")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be with mark"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("above", ["", "sep=DELIMITER\n", '"sep=DELIMITER"\n', "\n\n"])
def test_every_dialect_is_taken(tmp_path: Path, delimiter: str, encoding: str, line_end: str, above: str) -> None:
    content = (above.replace("DELIMITER", delimiter) + text(rows(10), delimiter)).replace("\n", line_end)
    content = "\ufeff" + content if "mark" in encoding else content
    found = read(write(tmp_path / "a.csv", content.encode(encoding.split()[0])))
    assert (found.problems, [row[0] for row in found.rows]) == ([], list(range(1, 11)))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_rows_of_empty_cells_are_none(tmp_path: Path, delimiter: str) -> None:
    blank = delimiter * 18 + "\n" + f" {delimiter}".replace(" ", "") * 3 + "\n\n"
    found = read(write(tmp_path / "a.csv", text(rows(10), delimiter) + blank))
    assert (found.problems, len(found.rows)) == ([], 10)


def test_a_wrong_separator_line_does_not_matter(tmp_path: Path) -> None:
    assert len(read(write(tmp_path / "a.csv", "sep=,\n" + text(rows(10), ";"))).rows) == 10


def test_any_other_separator_may_be_named(tmp_path: Path) -> None:
    assert len(read(write(tmp_path / "a.csv", "sep=^\n" + text(rows(10), "^"))).rows) == 10


@pytest.mark.parametrize("name", ["LOCATION_ID", "Location_Id", " location_id "])
def test_the_case_of_a_column_does_not_matter(tmp_path: Path, name: str) -> None:
    found = read(write(tmp_path / "a.csv", text(rows(10)).replace("location_id", name)))
    assert found.rows[9][0] == 10


def test_decimal_commas(tmp_path: Path) -> None:
    for delimiter in (";", "\t"):
        found = read(write(tmp_path / "a.csv", commas(text(rows(10), delimiter))))
        assert (found.problems, [row[PRICE] for row in found.rows]) == ([], [n + 0.25 for n in range(1, 11)])
    quoted = "".join(
        ",".join(f'"{commas(cell)}"' for cell in line.split(",")) + "\n" for line in text(rows(10)).splitlines()
    )
    assert [row[PRICE] for row in read(write(tmp_path / "b.csv", quoted)).rows] == [n + 0.25 for n in range(1, 11)]


def test_decimal_commas_in_shown_lists(tmp_path: Path) -> None:
    plain = read_impressions(write(tmp_path / "a.csv", text(lists(), ";")))
    with_commas = "\n".join(
        ";".join(cell if "[" in cell else cell.replace(".", ",") for cell in line.split(";"))
        for line in text(lists(), ";").splitlines()
    )
    found = read_impressions(write(tmp_path / "b.csv", with_commas))
    assert found.digest == plain.digest
    assert (found.lists.places == plain.lists.places).all()


def test_a_thousand_is_not_taken_for_a_fraction(tmp_path: Path) -> None:
    """1,234 is 1.234 or 1234: other numbers of the file tell which, and where none does the file is refused."""
    found = rows(3)
    found[0]["price"], found[1]["price"] = "1,234", "12.5"
    whole = [{name: 3 if value == n + 0.25 else value for name, value in row.items()} for n, row in enumerate(found, 1)]
    with pytest.raises(UnusableFile, match=r"line 3: '12\.5' and numbers above"):
        read(write(tmp_path / "a.csv", text(whole, ";")))
    whole[1]["price"] = 1500
    with pytest.raises(UnusableFile, match="line 2: '1,234' may be a fraction or a thousand"):
        read(write(tmp_path / "b.csv", text(whole, ";")))
    whole[1]["price"] = "12,5"
    assert [row[PRICE] for row in read(write(tmp_path / "c.csv", text(whole, ";"))).rows] == [1.234, 12.5, 3.0]


def test_a_number_with_the_other_mark_is_a_bad_row(tmp_path: Path) -> None:
    found = rows(4)
    found[2]["price"] = "12,5"
    bad = read(write(tmp_path / "a.csv", text(found)))
    assert (len(bad.rows), bad.bad_rows, bad.problems[0].line) == (3, 1, 4)
    assert "'12,5' and numbers above use comma and point in different ways" in bad.problems[0].detail


@pytest.mark.parametrize("cell", ["1.234,50", "1,234.50", "1'234", "1 234", "12,5 EUR", "1,234,567"])
def test_numbers_with_more_than_a_decimal_mark_are_refused(tmp_path: Path, cell: str) -> None:
    found = rows(2)
    found[0]["price"] = cell
    bad = read(write(tmp_path / "a.csv", text(found, ";")))
    assert [(one.line, one.column, one.detail) for one in bad.problems] == [(2, "price", f"{cell!r} is not a number.")]


@pytest.mark.parametrize(
    "content",
    [
        "name,people_num\na,1\n",
        "True,1,2\n",
        "<html><body>Not found</body></html>\n",
        "location_id^children^price\n1^1^1\n",
        '{"error": "not found"}\n',
        '[{"error": "not found"}]',
        '{"results": [1, 2]}',
    ],
)
def test_a_wrong_kind_of_file_is_told_in_one_sentence(tmp_path: Path, content: str) -> None:
    with pytest.raises(UnusableFile, match=r"line 1: None of the 17 (columns|keys) .*file of places.* It begins with"):
        read(write(tmp_path / "a.csv", content))


def zipped(content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("places.csv", content)
    return out.getvalue()


def tarred(content: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo("places.csv")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


CSV = text(rows(10)).encode()
OTHERS = {
    "a zip archive": zipped(CSV),
    "a tar archive": tarred(CSV),
    "a Parquet file": b"PAR1" + bytes(100),
    "xz": b"\xfd7zXZ\0" + bytes(100),
    "bzip2": b"BZh91AY",
    "zstd": b"\x28\xb5\x2f\xfd" + bytes(9),
    "no text": bytes(range(256)),
    "UTF-32": CSV.decode().encode("utf-32"),
    "UTF-16 without a byte-order mark": CSV.decode().encode("utf-16-le"),
    "PostgreSQL": b"PGDMP" + bytes(20),
}


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_other_formats_are_named(tmp_path: Path, what: str, name: str) -> None:
    match = "pg_dump" if what == "PostgreSQL" else what
    with pytest.raises(UnusableFile, match=f"line 1: The file is .*{match}"):
        read(write(tmp_path / name, OTHERS[what]))
    with pytest.raises(UnusableFile, match=f"line 1: The file is .*{match}"):
        read(write(tmp_path / name, gzip.compress(OTHERS[what])))


def test_a_name_that_ends_in_gz_is_taken_by_its_content(tmp_path: Path) -> None:
    assert len(read(write(tmp_path / "a.csv.gz", CSV)).rows) == 10
    assert len(read(write(tmp_path / "a.csv", gzip.compress(gzip.compress(CSV)))).rows) == 10
