"""What a worker serves: the catalogue as columns, and the old catalogue until the new one is loaded."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING

import numpy as np
import psycopg
import pytest
from safetensors.numpy import save
from tests.integration.support import eventually, places, rows, thread_database, value

from placerank.db.catalogue import CatalogueRepository
from placerank.domain import Place
from placerank.ranking import manifest as manifests
from placerank.ranking.catalogue import PlaceTable
from placerank.ranking.prior import prior
from placerank.telemetry.metrics import MODEL_REFUSED
from placerank.worker.inference import catalogue_rows
from placerank.worker.inference.catalogue_rows import catalogue_table
from placerank.worker.inference.serving import Serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from placerank.db.pool import Database


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = thread_database(database_url)
    yield found
    found.close()


def test_the_columns_are_the_places(database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue_rows, "_ROWS_AT_ONCE", 7)
    catalogue = CatalogueRepository(database_url)
    odd = (2**31 - 1, *places(1)[0][1:5], 1e300, *places(1)[0][6:-1], -3.25)
    catalogue.put([*places(50), odd])
    catalogue.remove(3)
    table = catalogue_table(database)
    expected = PlaceTable.from_places(table.version, list(catalogue.places()))
    assert np.array_equal(table.location_ids, expected.location_ids)
    assert np.array_equal(table.values, expected.values)
    assert len(set(table.revisions.tolist())) == len(table) == 50
    assert table.place(49) == Place(*odd)


def test_no_places_are_a_table_too(database: Database) -> None:
    assert len(catalogue_table(database)) == 0


def test_the_old_catalogue_is_served_while_the_new_one_loads(database: Database, database_url: str) -> None:
    catalogue = CatalogueRepository(database_url)
    catalogue.put(places(20))
    serving = Serving(database, device="cpu", refresh_s=3600.0)
    serving.start()
    try:
        old = serving.current()
        with psycopg.connect(database_url) as holding:
            catalogue.put(places(30))
            holding.execute("LOCK TABLE locations IN ACCESS EXCLUSIVE MODE")
            wanted = (old.versions[0] + 1, old.versions[1])
            first = serving.current(wanted)
            began = time.monotonic()
            later = [serving.current(wanted) for _ in range(100)]
            waited_s = time.monotonic() - began
        assert all(one is old for one in (first, *later))
        # The first call waits for a moment, later calls do not.
        assert waited_s < 1.0
        eventually(lambda: serving.current().versions[0] == wanted[0])
        assert len(serving.current().table) == 30
    finally:
        serving.stop()


def test_nobody_looks_for_versions_while_batches_say_which_there_are(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = CatalogueRepository(database_url)
    catalogue.put(places(20))
    serving = Serving(database, device="cpu", refresh_s=0.3)
    looks = 0

    def look(one: Serving) -> None:
        nonlocal looks
        looks += 1
        refresh(one)

    refresh = Serving._refresh
    monkeypatch.setattr(Serving, "_refresh", look)
    serving.start()
    try:
        versions = serving.current().versions
        before = looks
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            serving.current(versions)
            time.sleep(0.01)
        assert looks <= before + 1
        catalogue.put(places(30))
        # A newer version that a batch names is loaded at once. Without batches, the worker looks for one periodically.
        wanted = (versions[0] + 1, versions[1])
        assert len(serving.current(wanted).table) == 30
        catalogue.put(places(40))
        eventually(lambda: len(serving.current().table) == 40)
    finally:
        serving.stop()


def add_odd_model(url: str, artifact: bytes) -> str:
    """Give a model as many travellers as all others together; returns its version."""
    (row,) = rows(
        url,
        "WITH bumped AS (UPDATE versions SET models = models + 1)"
        " INSERT INTO models (kind, digest, artifact, use_percentage) VALUES ('logit', %s, %s, 100) RETURNING version",
        hashlib.sha256(artifact).hexdigest(),
        artifact,
    )
    return str(row["version"])


def odd_artifacts() -> list[bytes]:
    good = prior().to_artifact()
    end = 8 + int.from_bytes(good[:8], "little")
    manifest = json.loads(json.loads(good[8:end])["__metadata__"]["manifest"])
    odd = [b"", b"broken", good[:-1], good + b"\0"]
    for changed in ({"metrics": [1]}, {"mixture": {"lapse": "x"}}, {"kind": ["logit"]}, {"weights": {"a": 1}}):
        body = {name: value for name, value in (manifest | changed).items() if name != "seal"}
        body["seal"] = manifests.seal(body)
        odd.append(save({"weights": prior().weights}, {"manifest": json.dumps(body)}))
    for name in manifest:
        body = {other: value for other, value in manifest.items() if other not in (name, "seal")}
        body["seal"] = manifests.seal(body)
        if name not in ("data", "mixture", "code", "seal"):
            odd.append(save({"weights": prior().weights}, {"manifest": json.dumps(body)}))
    return odd


def test_models_that_cannot_be_read_stop_nobody(database: Database, database_url: str) -> None:
    catalogue = CatalogueRepository(database_url)
    catalogue.put(places(20))
    serving = Serving(database, device="cpu", refresh_s=0.05)
    serving.start()
    try:
        (first,) = serving.current().shares
        odd = [add_odd_model(database_url, artifact) for artifact in odd_artifacts()]
        wanted = value(database_url, "SELECT models FROM versions")
        eventually(lambda: serving.current().versions[1] == wanted)
        assert serving.current().shares == {first: 1.0}
        assert {version for version in odd if MODEL_REFUSED.labels(version)._value.get() == 1} == {*odd}
        # If none is left, the last one goes on, on the newest catalogue.
        rows(database_url, "UPDATE models SET use_percentage = 0 WHERE version = %s", first)
        rows(database_url, "UPDATE versions SET models = models + 1")
        catalogue.put(places(30))
        eventually(lambda: len(serving.current().table) == 30)
        assert serving.current().shares == {first: 1.0}
        assert serving.current().model_for("Ann").version == first
    finally:
        serving.stop()
        MODEL_REFUSED.clear()


@pytest.mark.parametrize("wrong", ["NaN", "Infinity", "-Infinity"])
def test_a_place_that_is_not_of_numbers_is_left_out(database: Database, database_url: str, wrong: str) -> None:
    CatalogueRepository(database_url).put(places(20))
    rows(database_url, "UPDATE locations SET food_rating = %s WHERE location_id = 7", wrong)
    table = catalogue_table(database)
    assert len(table) == 19
    assert 7 not in table.location_ids
    assert np.isfinite(table.values).all()
