"""The model registry: shares, commands, reproduction of a version."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load, save
from tests.integration.learned import (
    begun,
    register_contrary,
    shares,
    standing,
    training,
)
from tests.integration.support import opened, rows, value

from placerank.cli import cli
from placerank.db.learning import LearningRepository, NewVersion, Promotion
from placerank.db.models import ModelRepository
from placerank.db.system import SystemRepository
from placerank.errors import NotFound, PlacerankError, ShareConflict
from placerank.files.models import ARTIFACT
from placerank.ranking import manifest as manifests
from placerank.ranking.model import Model
from placerank.worker.first_model import ensure_first_model

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from placerank.db.pool import Database


async def test_shares_are_set_one_after_the_other_and_stay_100(url: str, database: Database) -> None:
    ensure_first_model(database)
    rows(
        url,
        "INSERT INTO models (kind, digest, artifact) SELECT kind, digest, artifact FROM models, generate_series(1, 3)",
    )
    ids = [row["id"] for row in rows(url, "SELECT id FROM models")]
    version = value(url, "SELECT models FROM versions")
    async with opened(url, pool_size=8) as pool:
        registry = ModelRepository(pool)
        await asyncio.gather(*(registry.set_share(ids[n % 4], (n * 17) % 101) for n in range(40)))
        assert sum(shares(url).values()) == 100
        assert value(url, "SELECT models FROM versions") == version + 40
        with pytest.raises(NotFound):
            await registry.set_share(ids[-1] + 1000, 10)


async def test_the_only_version_cannot_give_up_its_share(url: str, database: Database) -> None:
    ensure_first_model(database)
    (row,) = rows(url, "SELECT id FROM models")
    async with opened(url) as pool:
        with pytest.raises(ShareConflict):
            await ModelRepository(pool).set_share(row["id"], 50)
    assert [*shares(url).values()] == [100]


def command(url: str, *arguments: str) -> str:
    result = CliRunner(env={"DATABASE_URL": url}).invoke(cli, arguments)
    if result.exception is not None:
        raise result.exception
    return result.output


def test_a_version_is_reproduced_to_the_byte(url: str, database: Database) -> None:
    training_id = begun(url, seed=2)
    training(database).run(training_id)
    version = standing(url, training_id).model_version
    assert version is not None
    # A choice that is replaced later does not change the recorded dataset.
    rows(url, "UPDATE inferences SET choice = -1 WHERE id = (SELECT id FROM inferences WHERE choice >= 0 LIMIT 1)")
    digest = value(url, "SELECT digest FROM models WHERE version = %s", version)
    assert digest in command(url, "train", "--reproduce", version)


def written_by(artifact: bytes, version: str) -> bytes:
    """The same model as another version of placerank writes it: with its name, and other blanks."""
    end = 8 + int.from_bytes(artifact[:8], "little")
    manifest = json.loads(json.loads(artifact[8:end])["__metadata__"]["manifest"]) | {"code": version}
    manifest["seal"] = manifests.seal(manifest)
    return save({"weights": load(artifact)["weights"]}, {"manifest": json.dumps(manifest, indent=1)})


def replace_artifact(url: str, version: str, artifact: bytes) -> str:
    digest = hashlib.sha256(artifact).hexdigest()
    rows(url, "UPDATE models SET artifact = %s, digest = %s WHERE version = %s", artifact, digest, version)
    return digest


def test_an_upgrade_changes_neither_export_nor_reproduction(url: str, database: Database, tmp_path: Path) -> None:
    training_id = begun(url, seed=2)
    training(database).run(training_id)
    version = str(standing(url, training_id).model_version)
    today = bytes(value(url, "SELECT artifact FROM models WHERE version = %s", version))
    older = written_by(today, "0.0.1")
    assert older != today
    digest = replace_artifact(url, version, older)
    assert digest in command(url, "train", "--reproduce", version)
    command(url, "models", "export", version, str(tmp_path))
    assert (tmp_path / ARTIFACT).read_bytes() == older
    command(url, "models", "import", str(tmp_path))
    stored = rows(url, "SELECT artifact, digest FROM models ORDER BY id DESC LIMIT 1")[0]
    assert (bytes(stored["artifact"]), stored["digest"]) == (older, digest)
    # A weight, however little, is another model.
    model = Model.from_artifact(today)
    other = replace(model, weights=np.nextafter(model.weights, 1e6))
    replace_artifact(url, version, other.to_artifact())
    with pytest.raises(PlacerankError, match="not reproduced: weights differ"):
        command(url, "train", "--reproduce", version)


@pytest.mark.parametrize(
    ("column", "odd"),
    [("task_ids", "'{}'"), ("choices", "'{}'"), ("choices", "array_append(choices[2:], NULL)")],
)
def test_an_odd_dataset_is_named(url: str, database: Database, column: str, odd: str) -> None:
    training_id = begun(url)
    training(database).run(training_id)
    version = str(standing(url, training_id).model_version)
    rows(url, f"UPDATE datasets SET {column} = {odd}")
    with pytest.raises(PlacerankError, match=r"Dataset \d+ cannot be used"):
        command(url, "train", "--reproduce", version)
    assert LearningRepository(database).dataset(training_id) is None


@pytest.mark.parametrize("odd", ["[]", "7", '"text"', "true", '{"auc": "x", "log_loss": true, "hit_at_1": {}}'])
def test_odd_metrics_and_models_are_listed_and_named(url: str, database: Database, odd: str, tmp_path: Path) -> None:
    ensure_first_model(database)
    rows(url, "INSERT INTO models (kind, digest, artifact) SELECT kind, digest, artifact FROM models")
    good, version = sorted(shares(url), key=lambda name: int(name[1:]))
    rows(url, "UPDATE models SET metrics = %s, decision = %s, artifact = 'x' WHERE version = %s", odd, odd, version)
    listed = command(url, "models", "list").splitlines()
    assert len(listed) == 2
    assert "cannot be read" in listed[1]
    assert good in listed[0]
    assert "not served" in command(url, "models", "show", version)
    assert "not served" not in command(url, "models", "show", good)
    with pytest.raises(PlacerankError, match=f"{version} cannot be exported"):
        command(url, "models", "export", version, str(tmp_path))
    assert not list(tmp_path.iterdir())
    command(url, "models", "export", good, str(tmp_path))


@pytest.mark.parametrize(
    ("odd", "taken"),
    [("[]", {}), ("null", {}), ('{"auc": 1e400, "hit_at_1": "x", "f1": true, "log_loss": 0.5}', {"log_loss": 0.5})],
)
def test_odd_metrics_of_the_newest_version_are_left_out(
    url: str, database: Database, odd: str, taken: dict[str, float]
) -> None:
    training(database).run(begun(url))
    rows(url, "UPDATE models SET metrics = %s", odd)

    async def figures() -> Mapping[str, float]:
        async with opened(url) as pool:
            return (await SystemRepository(pool).learning()).metrics

    assert dict(asyncio.run(figures())) == taken


def test_a_version_whose_lists_were_erased_is_not_reproduced(url: str, database: Database) -> None:
    training_id = begun(url)
    training(database).run(training_id)
    version = standing(url, training_id).model_version
    rows(url, "UPDATE datasets SET task_ids = array_append(task_ids[2:], gen_random_uuid())")
    with pytest.raises(PlacerankError, match=r"1 of the 300 lists .* have been erased"):
        command(url, "train", "--reproduce", str(version))
    with pytest.raises(NotFound, match="v0"):
        command(url, "train", "--reproduce", "v0")
    with pytest.raises(PlacerankError, match="not trained here"):
        command(url, "train", "--reproduce", min(shares(url)))


def test_models_go_out_and_in_again_by_commands(url: str, database: Database, tmp_path: Path) -> None:
    ensure_first_model(database)
    (first,) = shares(url)
    command(url, "models", "export", first, str(tmp_path))
    assert "v" in command(url, "models", "import", str(tmp_path), "--share", "30")
    (second,) = set(shares(url)) - {first}
    assert shares(url) == {first: 70, second: 30}
    listed = json.loads(command(url, "models", "list", "--json"))
    assert [(row["version"], row["use_percentage"]) for row in listed] == [(first, 70), (second, 30)]
    assert listed[0]["digest"] == listed[1]["digest"]
    assert second in command(url, "models", "list")
    assert "How good it is" in command(url, "models", "show", second)
    command(url, "models", "share", second, "100")
    assert shares(url) == {first: 0, second: 100}
    with pytest.raises(PlacerankError, match="No change of version"):
        command(url, "models", "rollback")


def test_the_last_change_of_version_is_rolled_back_by_a_command(url: str, database: Database) -> None:
    register_contrary(url)
    (contrary,) = shares(url)
    training_id = begun(url, seed=1)
    training(database).run(training_id)
    learned = standing(url, training_id).model_version
    assert shares(url) == {contrary: 0, learned: 100}
    assert command(url, "models", "rollback") == f"Rolled back {learned}: {contrary} serves its travellers now.\n"
    assert shares(url) == {contrary: 100, learned: 0}


def test_a_version_on_its_way_is_rolled_back_by_a_command(url: str, database: Database) -> None:
    register_contrary(url)
    (contrary,) = shares(url)
    name = LearningRepository(database).register(
        begun(url), NewVersion("logit", "d", b"artifact", {}, "card", promotion=Promotion(25, {}))
    )
    command(url, "models", "rollback")
    assert shares(url) == {contrary: 100, name: 0}
    assert value(url, "SELECT status FROM canaries") == "rolled_back"
