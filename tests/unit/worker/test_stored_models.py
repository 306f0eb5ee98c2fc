"""Models in use that cannot be read are left out and named once; the others serve."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from placerank.ranking.errors import ModelError
from placerank.ranking.model import Model
from placerank.ranking.prior import prior
from placerank.telemetry.metrics import MODEL_REFUSED, RECORDS_REFUSED
from placerank.worker.inference.stored_models import StoredModels

OTHER = Model("logit", np.ones_like(prior().weights))


def row(version: str, model: Model, share: int = 50, **changes: Any) -> dict[str, Any]:
    return {
        "version": version,
        "artifact": model.to_artifact(),
        "digest": model.digest,
        "use_percentage": share,
        **changes,
    }


ODD = row("v9", prior(), artifact=b"not a model")


def named() -> set[str]:
    return {sample.labels["model_version"] for metric in MODEL_REFUSED.collect() for sample in metric.samples}


def counted() -> float:
    return float(RECORDS_REFUSED.labels("model")._value.get())


@pytest.fixture(autouse=True)
def no_metrics_left() -> None:
    MODEL_REFUSED.clear()


def test_the_others_serve_with_their_shares() -> None:
    usable = StoredModels().usable([row("v1", prior(), 60), ODD, row("v2", OTHER, 20)])
    assert [(one.version, one.share) for one in usable] == [("v1", 60), ("v2", 20)]
    assert named() == {"v9"}


def test_a_model_under_the_digest_of_another_is_left_out() -> None:
    usable = StoredModels().usable([row("v1", prior()), row("v2", OTHER, digest=prior().digest)])
    assert [one.version for one in usable] == ["v1"]


def test_a_refusal_is_told_once_and_again_when_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    stored, before = StoredModels(), counted()
    with caplog.at_level(logging.INFO):
        for _ in range(5):
            stored.usable([row("v1", prior()), ODD])
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert "model v9 is not served" in caplog.text
        stored.usable([row("v1", prior()), ODD | {"artifact": prior().to_artifact()[:-1]}])
        assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
        assert counted() - before == 2
        stored.usable([row("v1", prior())])
        assert "model v9 is no longer refused" in caplog.text
        assert named() == set()
        stored.usable([row("v1", prior()), ODD])
    assert sum(record.levelname == "ERROR" for record in caplog.records) == 3


def test_if_none_is_left_the_last_ones_go_on(caplog: pytest.LogCaptureFixture) -> None:
    stored = StoredModels()
    stored.usable([row("v1", prior(), 70), row("v2", OTHER, 30)])
    for _ in range(3):
        usable = stored.usable([ODD | {"use_percentage": 100}])
        assert [(one.version, one.share) for one in usable] == [("v1", 70), ("v2", 30)]
    assert caplog.text.count("v1, v2 serves as before") == 1
    assert [one.version for one in stored.usable([row("v3", OTHER, 100), ODD])] == ["v3"]


def test_a_fresh_worker_without_a_readable_model_serves_none() -> None:
    stored = StoredModels()
    for _ in range(2):
        with pytest.raises(ModelError, match="placerank doctor"):
            stored.usable([ODD])
    assert named() == {"v9"}
    assert [one.version for one in stored.usable([row("v1", prior())])] == ["v1"]
