"""``placerank places import``: what goes in, what goes away, and what it says."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest
from tests.integration.support import places, value

from placerank.cli.places import import_file
from placerank.db.catalogue import CatalogueRepository, Removal
from placerank.domain import Place
from placerank.errors import PlacerankError
from placerank.files.places import write_places

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def catalogue(database_url: str) -> CatalogueRepository:
    return CatalogueRepository(database_url)


def written(path: Path, count: int, *, bad: int = 0) -> Path:
    """A file of places with ids from 1 of which the last ones are bad."""
    write_places(path, [Place(*row) for row in places(count)])
    if bad:
        lines = path.read_text().splitlines()
        lines[-bad:] = [f"{line}x" for line in lines[-bad:]]
        path.write_text("\n".join(lines) + "\n")
    return path


def version(url: str) -> int:
    found: int = value(url, "SELECT catalogue FROM versions")
    return found


def test_a_replacement_says_how_many_places_it_removes(
    catalogue: CatalogueRepository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalogue.put(places(50))
    file = written(tmp_path / "a.csv", 20)
    import_file(catalogue, file, replace=True, skip_bad=False)
    assert capsys.readouterr().out == f"Imported 20 places from {file}, 30 places removed.\n"
    import_file(catalogue, file, replace=True, skip_bad=False)
    assert capsys.readouterr().out == f"Imported 20 places from {file}, 0 places removed.\n"
    import_file(catalogue, file, replace=False, skip_bad=False)
    assert capsys.readouterr().out == f"Imported 20 places from {file}.\n"


@pytest.mark.parametrize("replace", [True, False])
def test_demo_places_that_go_are_told_apart(
    catalogue: CatalogueRepository, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, replace: bool
) -> None:
    catalogue.put(places(50), demo=True)
    file = written(tmp_path / "a.csv", 20, bad=1)
    import_file(catalogue, file, replace=replace, skip_bad=True)
    removed = ", 0 places removed" if replace else ""
    assert capsys.readouterr().out == (
        f"Imported 19 places from {file}, 1 bad row skipped{removed}, 50 demo places removed.\n"
    )


def test_places_do_not_go_in_great_number_because_rows_are_bad(
    catalogue: CatalogueRepository, database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalogue.put(places(100))
    before = version(database_url)
    file = written(tmp_path / "a.csv", 100, bad=11)
    with pytest.raises(PlacerankError, match=r"11 bad rows would be skipped, and 11 of 100 places removed: .*--yes"):
        import_file(catalogue, file, replace=True, skip_bad=True)
    assert (catalogue.count(), version(database_url)) == (100, before)
    import_file(catalogue, file, replace=True, skip_bad=True, yes=True)
    assert catalogue.count() == 89
    assert "11 bad rows skipped, 11 places removed" in capsys.readouterr().out


def test_a_tenth_may_go_and_more_where_no_row_is_bad(catalogue: CatalogueRepository, tmp_path: Path) -> None:
    catalogue.put(places(100))
    import_file(catalogue, written(tmp_path / "a.csv", 91, bad=1), replace=True, skip_bad=True)
    assert catalogue.count() == 90
    import_file(catalogue, written(tmp_path / "b.csv", 5), replace=True, skip_bad=True)
    assert catalogue.count() == 5


def test_what_is_cut_off_changes_nothing(catalogue: CatalogueRepository, database_url: str, tmp_path: Path) -> None:
    catalogue.put(places(2000))
    before = version(database_url)
    whole = gzip.compress(written(tmp_path / "a.csv", 2000).read_bytes())
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) * 6 // 10])
    for yes in (True, False):
        with pytest.raises(PlacerankError, match=r"line \d+: .*cut off or damaged here .* Nothing was imported"):
            import_file(catalogue, tmp_path / "cut.csv.gz", replace=True, skip_bad=True, yes=yes)
    assert (catalogue.count(), version(database_url)) == (2000, before)


def test_a_removal_is_judged_in_its_transaction(catalogue: CatalogueRepository) -> None:
    catalogue.put(places(8), demo=True)
    catalogue.put([(70, *places(1)[0][1:]), (71, *places(1)[0][1:])])
    seen: list[Removal] = []

    def refuse(removal: Removal) -> None:
        seen.append(removal)
        raise PlacerankError("no")

    with pytest.raises(PlacerankError, match="no"):
        catalogue.put([(70, *places(1)[0][1:])], replace=True, imported=True, removing=refuse)
    assert seen == [Removal(places=1, present=2, demo=8)]
    assert catalogue.count() == 10
