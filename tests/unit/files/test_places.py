"""Files of places: reading gives exactly what was written, and every bad row is named."""

from __future__ import annotations

import gzip
import json
from math import nextafter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from placerank.domain import PLACE_FIELDS, PLACE_FLAGS, Place
from placerank.files.places import PlacesFile, UnknownFormatError, read_places, write_places
from placerank.files.problems import UnusableFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = (
    "places.csv",
    "places.tsv",
    "places.jsonl",
    "places.ndjson",
    "places.csv.gz",
    "places.tsv.gz",
    "PLACES.JSONL.GZ",
)

finite = st.floats(allow_nan=False, allow_infinity=False)
columns = {name: st.booleans() if name in PLACE_FLAGS else finite for name in PLACE_FIELDS}
columns["price"] = st.floats(min_value=0, allow_nan=False, allow_infinity=False)
many_places = st.lists(
    st.builds(Place, location_id=st.integers(0, 2**31 - 1), **columns),
    min_size=1,
    unique_by=lambda place: place.location_id,
)


def ignore(_: int) -> None:
    """A progress callback that does nothing."""


def read(path: Path) -> PlacesFile:
    return read_places(path, progress=ignore)


def values(**changes: object) -> dict[str, Any]:
    """The values of a valid row, with changes."""
    return {name: "True" if name in PLACE_FLAGS else "1.5" for name in PLACE_FIELDS} | changes


def table(*rows: dict[str, Any], delimiter: str = ",") -> str:
    """Rows of equal keys as lines below a header."""
    return "".join(f"{delimiter.join(map(str, cells))}\n" for cells in (rows[0], *(row.values() for row in rows)))


def problems(path: Path, content: str | bytes) -> list[tuple[int, str | None, str]]:
    """The problems that are found in a file with this content."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [(problem.line, problem.column, problem.detail) for problem in read(path).problems]


def unusable(path: Path, content: str | bytes) -> tuple[int | None, str]:
    """The line and the sentence with which a file of this content is refused as a whole."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UnusableFile) as error:
        read(path)
    assert str(error.value) == f"{path}, line {error.value.line}: {error.value.sentence}"
    return error.value.line, error.value.sentence


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(places=many_places)
def test_what_was_written_is_read_again(tmp_path: Path, name: str, places: list[Place]) -> None:
    write_places(tmp_path / name, places)
    file = read(tmp_path / name)
    assert file.problems == []
    assert [Place(*row) for row in file.rows] == places  # type: ignore[arg-type]
    # -0.0 equals 0.0, so compare the printed values too.
    assert repr([Place(*row) for row in file.rows]) == repr(places)  # type: ignore[arg-type]


def test_rows_can_be_indexed_and_cut(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(table(*(values(price=n) for n in range(5))))
    rows = read(tmp_path / "a.csv").rows
    assert len(rows) == 5
    assert [rows[0], *rows[1:4], rows[-1]] == list(rows)
    assert [row[5] for row in rows] == [0.0, 1.0, 2.0, 3.0, 4.0]
    with pytest.raises(IndexError):
        rows[5]


def test_a_file_without_ids_has_rows_without_ids_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text(table(values(price=3), values(price=2), delimiter="\t"))
    file = read(tmp_path / "a.tsv")
    assert [(row[0], row[5]) for row in file.rows] == [(None, 3.0), (None, 2.0)]


@pytest.mark.parametrize(
    ("spelling", "truth"),
    [(word, True) for word in ("True", "true", "TRUE", "1", "yes", "Yes", " true ", "yEs")]
    + [(word, False) for word in ("False", "false", "FALSE", "0", "no", "No", " 0")],
)
def test_spellings_of_truth(tmp_path: Path, spelling: str, truth: bool) -> None:
    (tmp_path / "a.csv").write_text(table(values(has_spa=spelling)))
    file = read(tmp_path / "a.csv")
    assert file.problems == []
    assert file.rows[0][1 + PLACE_FIELDS.index("has_spa")] is truth


def test_json_takes_its_own_values_and_words(tmp_path: Path) -> None:
    row = dict.fromkeys(PLACE_FIELDS, 1) | {"has_pool": False, "has_spa": "no", "animals": 0, "price": 2, "more": [{}]}
    (tmp_path / "a.jsonl").write_text(f"\n{json.dumps(row)}\n\n{json.dumps(row | {'location_id': None})}")
    file = read(tmp_path / "a.jsonl")
    assert file.problems == []
    assert [row[5:9] for row in file.rows] == [(2.0, False, False, False)] * 2


def test_order_of_columns_unknown_columns_mark_and_line_ends_do_not_matter(tmp_path: Path) -> None:
    row = {"näme": '"a, ""b""\nc_d"', **dict(reversed(values(price=" 7 ").items()))}
    text = "\ufeff" + table(row, row).replace("\n", "\r\n") + "\r\n\r\n"
    assert problems(tmp_path / "a.csv", text) == []
    assert [row[5] for row in read(tmp_path / "a.csv").rows] == [7.0, 7.0]


def test_huge_numbers_whose_sum_is_infinite_are_good(tmp_path: Path) -> None:
    largest = nextafter(float("inf"), 0)
    (tmp_path / "a.csv").write_text(table(values(price=largest, user_score=largest, food_rating=-largest)))
    file = read(tmp_path / "a.csv")
    assert (file.problems, file.rows[0][5]) == ([], largest)


@pytest.mark.parametrize(
    ("column", "cell", "sentence"),
    [
        ("has_pool", "maybe", "'maybe' is neither true nor false."),
        ("has_pool", "2", "'2' is neither true nor false."),
        ("has_pool", "", "The value is missing."),
        ("price", " ", "The value is missing."),
        ("price", "much", "'much' is not a number."),
        ("price", "1_000", "'1_000' is not a number."),
        ("price", "\u0661", r"'\u0661' is not a number."),
        ("price", "-0.01", "The price '-0.01' is negative."),
        ("price", "nan", "'nan' is not a finite number."),
        ("user_score", "inf", "'inf' is not a finite number."),
        ("user_score", "-Infinity", "'-Infinity' is not a finite number."),
        ("user_score", "1e400", "'1e400' is not a finite number."),
        ("user_score", "x" * 100, f"'{'x' * 56}... is not a number."),
        ("user_score", "\x1b[2J", r"'\x1b[2J' is not a number."),
        ("location_id", "-1", "'-1' is not between 0 and 2147483647."),
        ("location_id", "2147483648", "'2147483648' is not between 0 and 2147483647."),
        ("location_id", "9" * 30, f"'{'9' * 30}' is not between 0 and 2147483647."),
        ("location_id", "9" * 5000, f"'{'9' * 56}... is not a whole number."),
        ("location_id", "1.0", "'1.0' is not a whole number."),
        ("location_id", "", "The value is missing."),
    ],
)
def test_a_bad_cell(tmp_path: Path, column: str, cell: str, sentence: str) -> None:
    rows = [values(location_id=1), values(location_id=2) | {column: cell}, values(location_id=3)]
    assert problems(tmp_path / "a.csv", table(*rows)) == [(3, column, sentence)]
    assert [row[0] for row in read(tmp_path / "a.csv").rows] == [1, 3]


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("has_pool", 2, "2 is neither true nor false."),
        ("has_pool", [], "[] is neither true nor false."),
        ("has_pool", None, "The value is missing."),
        ("price", True, "True is not a number."),
        ("price", "1", "'1' is not a number."),
        ("price", float("nan"), "nan is not a finite number."),
        ("price", 10**400, f"1{'0' * 56}... is too large a number."),
        ("price", -1, "The price -1 is negative."),
        ("price", {}, "{} is not a number."),
        ("location_id", 1.0, "1.0 is not a whole number."),
        ("location_id", True, "True is not a whole number."),
        ("location_id", -1, "-1 is not between 0 and 2147483647."),
        ("location_id", None, "The value is missing."),
    ],
)
def test_a_bad_value_in_json(tmp_path: Path, column: str, value: object, sentence: str) -> None:
    good = dict.fromkeys(PLACE_FIELDS, 1)
    rows = [good | {"location_id": 7}, good | {"location_id": 8} | {column: value}]
    assert problems(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows))) == [(2, column, sentence)]


def test_a_bad_line_in_json(tmp_path: Path) -> None:
    good = json.dumps(dict.fromkeys(PLACE_FIELDS, 1))
    lines = [
        good,
        "[1]",
        "{",
        "[" * 100_000,
        json.dumps(dict.fromkeys(PLACE_FIELDS[1:], 1)),
        good[:-1] + ', "location_id": 4}',
    ]
    found = problems(tmp_path / "a.jsonl", "\n".join(lines).encode() + b'\n{"a": "\xff"}\n')
    assert [(line, column) for line, column, _ in found] == [
        (2, None),
        (3, None),
        (4, None),
        (5, "children"),
        (6, "location_id"),
        (7, None),
    ]
    assert [detail.split(":")[0] for _, _, detail in found] == [
        "The line is not a JSON object.",
        "The line is not JSON",
        "The line is not JSON",
        "The value is missing.",
        "This place has an id, but the first place has none.",
        "The text is not UTF-8.",
    ]


def test_every_bad_value_of_every_row_is_named(tmp_path: Path) -> None:
    text = table(values(price="a", has_spa="b"), values(), values(user_score="c"))
    assert [(line, column) for line, column, _ in problems(tmp_path / "a.csv", text)] == [
        (2, "price"),
        (2, "has_spa"),
        (4, "user_score"),
    ]


def test_a_second_place_with_an_id_is_named_with_the_first(tmp_path: Path) -> None:
    text = table(*(values(location_id=n) for n in (5, 6, 5, 5)))
    sentence = "The id 5 is already in line 2."
    assert problems(tmp_path / "a.csv", text) == [(4, "location_id", sentence), (5, "location_id", sentence)]
    assert [row[0] for row in read(tmp_path / "a.csv").rows] == [5, 6]


def test_lines_are_counted_through_quoted_line_ends_and_blank_lines(tmp_path: Path) -> None:
    text = table({"name": '"a\nb\nc"', **values()}) + "\n" + table({"name": "d", **values(price="x")}).split("\n")[1]
    assert problems(tmp_path / "a.csv", text) == [(6, "price", "'x' is not a number.")]


def test_missing_and_doubled_columns(tmp_path: Path) -> None:
    row = values()
    del row["animals"]
    assert unusable(tmp_path / "a.csv", table(row)) == (1, "The column is missing: animals.")
    del row["price"]
    assert unusable(tmp_path / "a.csv", "\n" + table(row)) == (2, "The columns are missing: price and animals.")
    header, line, _ = table(values()).split("\n")
    sentence = "The header has more than one column price."
    assert unusable(tmp_path / "a.csv", f"{header},price\n{line},1\n") == (1, sentence)


def test_a_wrong_number_of_columns(tmp_path: Path) -> None:
    header, line, _ = table(values()).split("\n")
    found = problems(tmp_path / "a.csv", f"{header}\n{line},\n{line}\n{line[5:]}\n")
    assert found == [
        (2, None, "The row has 18 columns, and the header 17."),
        (4, None, "The row has 16 columns, and the header 17."),
    ]


def test_bad_quoting_is_named_and_the_next_row_read(tmp_path: Path) -> None:
    header, line, _ = table({"name": "a", **values()}).split("\n")
    [(number, column, detail)] = problems(tmp_path / "a.csv", f'{header}\n"b"{line}\n{line}\n')
    assert (number, column) == (2, None)
    assert detail.startswith("The row is not well formed: ")
    assert len(read(tmp_path / "a.csv").rows) == 1


def test_bad_utf8_is_named_where_it_is_used(tmp_path: Path) -> None:
    text = table({"name": "ä", **values()}, {"name": "b", **values(price="ö")}, {"name": "c", **values()})
    bad = text.encode().replace("ä".encode(), b"\xe4").replace("ö".encode(), b"\xf6")
    [(line, column, detail)] = problems(tmp_path / "a.csv", bad)
    assert (line, column) == (3, "price")
    assert detail.startswith("The text is not UTF-8")
    assert len(read(tmp_path / "a.csv").rows) == 2


@pytest.fixture(scope="module")
def places() -> list[Place]:
    return [Place(n, *((n % 3 == 0) if name in PLACE_FLAGS else n / 7 for name in PLACE_FIELDS)) for n in range(20_000)]  # type: ignore[arg-type]


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.what"])
def test_an_empty_file(tmp_path: Path, name: str, content: str) -> None:
    assert unusable(tmp_path / name, content) == (1, "The file is empty.")
    assert unusable(tmp_path / f"{name}.gz", gzip.compress(content.encode())) == (1, "The file is empty.")


@pytest.mark.parametrize(
    "content", [table(values()), table(values(), delimiter="\t"), json.dumps(dict.fromkeys(PLACE_FIELDS, 1))]
)
@pytest.mark.parametrize("name", ["places", "places.txt", "places.gz", "places.csv.bak"])
def test_without_a_telling_name_the_first_line_tells(tmp_path: Path, name: str, content: str) -> None:
    assert problems(tmp_path / name, content) == []
    assert problems(tmp_path / name, gzip.compress(content.encode())) == []
    assert len(read(tmp_path / name).rows) == 1


def test_an_unknown_format_to_write(tmp_path: Path) -> None:
    with pytest.raises(UnknownFormatError, match=r"a\.xlsx"):
        write_places(tmp_path / "a.xlsx", [])


def test_a_file_without_line_ends_is_not_read_into_memory(tmp_path: Path) -> None:
    content = table(values()) + "x" * (1 << 22)
    found = unusable(tmp_path / "a.csv.gz", gzip.compress(content.encode()))
    assert found == (3, "The line is longer than 1048575 bytes.")


def test_a_file_that_is_not_there_is_the_callers_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "a.csv")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl.gz"])
def test_progress_is_in_bytes_of_the_file_and_ends_at_its_size(tmp_path: Path, name: str, places: list[Place]) -> None:
    write_places(tmp_path / name, places)
    seen: list[int] = []
    read_places(tmp_path / name, progress=seen.append)
    assert seen == sorted(seen)
    assert len(seen) > 3
    assert seen[-1] == (tmp_path / name).stat().st_size


@pytest.mark.parametrize("name", NAMES)
def test_a_writing_that_fails_leaves_the_file_before_and_nothing_else(
    tmp_path: Path, name: str, places: list[Place]
) -> None:
    def fail() -> Iterator[Place]:
        yield from places
        raise RuntimeError("the source broke")

    (tmp_path / name).write_text("before")
    with pytest.raises(RuntimeError, match="the source broke"):
        write_places(tmp_path / name, fail())
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "before"


def test_equal_places_make_equal_files(tmp_path: Path, places: list[Place]) -> None:
    for name in ("a.csv.gz", "b.csv.gz"):
        write_places(tmp_path / name, places[:10])
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()


def test_problems_as_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(table(values(price="x")) + "1,2\n")
    assert [str(problem) for problem in read(tmp_path / "a.csv").problems] == [
        "line 2, column price: 'x' is not a number.",
        "line 3: The row has 2 columns, and the header 17.",
    ]
