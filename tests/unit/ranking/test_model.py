from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save
from tests.unit.ranking.helpers import random_model

from placerank.demo import synthetic
from placerank.domain import PLACE_FIELDS
from placerank.ranking import manifest as manifests
from placerank.ranking.catalogue import place_values
from placerank.ranking.errors import ModelError
from placerank.ranking.features import (
    BASE_TERMS,
    BUDGET_TERMS,
    OUTSIDE_TERMS,
    PLACE_FEATURES,
    TERMS,
    TRAVELLER_FEATURES,
    WEIGHT_NAMES,
    place_features,
    traveller_features,
)
from placerank.ranking.model import Mixture, Model, probabilities
from placerank.ranking.prior import prior

ARTIFACT = Model("logit", random_model(1).weights, {"auc": 0.9}, {"one*price": 1.0}).to_artifact()


def header_and_tensor(data: bytes) -> tuple[dict[str, object], bytes]:
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def test_a_utility_is_the_sum_of_its_named_terms() -> None:
    model = random_model(3)
    weights = dict(zip(WEIGHT_NAMES, model.weights.tolist(), strict=True))
    traveller, place = synthetic.travellers(9, seed=1)[5], synthetic.places(1, seed=1)[0]
    mine = dict(zip(TRAVELLER_FEATURES, traveller_features([traveller])[0].tolist(), strict=True))
    its = dict(zip(PLACE_FEATURES, place_features(place_values([place]))[0].tolist(), strict=True))
    expected = sum(weights[f"{one}*{other}"] * mine[one] * its[other] for one, other in TERMS)
    if place.price > traveller.budget:
        expected += weights["over_budget"] + weights["log_over_budget"] * np.log(place.price / traveller.budget)
    utilities, outside = model.utilities([traveller], place_values([place]))
    assert utilities[0, 0] == pytest.approx(expected)
    assert outside[0] == pytest.approx(sum(weights[f"outside:{name}"] * mine[name] for name in OUTSIDE_TERMS))


def test_a_traveller_has_the_same_utilities_in_any_batch() -> None:
    model, values = random_model(4), place_values(synthetic.places(50, seed=2))
    batch = synthetic.travellers(40, seed=2)
    together, outside = model.utilities(batch, values)
    for number, traveller in enumerate(batch):
        alone, alone_outside = model.utilities([traveller], values)
        assert (alone[0] == together[number]).all()
        assert alone_outside[0] == outside[number]


def test_values_that_are_not_numbers_are_refused() -> None:
    values = place_values(synthetic.places(3, seed=1))
    values[1, PLACE_FIELDS.index("price")] = np.nan
    with pytest.raises(ModelError, match="not a finite number"):
        prior().utilities(synthetic.travellers(1, seed=1), values)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e7])
def test_weights_that_cannot_be_used_are_refused(wrong: float) -> None:
    weights = np.zeros(len(WEIGHT_NAMES))
    weights[3] = wrong
    with pytest.raises(ModelError, match="weight"):
        Model("logit", weights)


def test_too_few_weights_are_refused() -> None:
    with pytest.raises(ModelError, match="shape"):
        Model("logit", np.zeros(2))


def test_weights_cannot_be_changed() -> None:
    given_weights = np.zeros(len(WEIGHT_NAMES))
    model = Model("logit", given_weights)
    given_weights[0] = 1.0
    assert model.weights[0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        model.weights[0] = 1.0


def test_an_artifact_holds_the_whole_model() -> None:
    model = Model.from_artifact(ARTIFACT)
    assert (model.weights == random_model(1).weights).all()
    assert (model.kind, dict(model.metrics), dict(model.normaliser)) == ("logit", {"auc": 0.9}, {"one*price": 1.0})
    assert model.to_artifact() == ARTIFACT
    assert len(model.digest) == 64


def test_an_artifact_of_the_first_features_serves_as_it_did() -> None:
    """The current features include all terms of version 1, with the same meaning."""
    names = [*(f"{one}*{other}" for one, other in BASE_TERMS), *BUDGET_TERMS, *(f"outside:{o}" for o in OUTSIDE_TERMS)]
    weights = np.arange(1.0, 1.0 + len(names))
    manifest = {
        "format": manifests.FORMAT,
        "features": 1,
        "kind": "logit",
        "weights": names,
        "metrics": {},
        "normaliser": {},
        "code": "0",
        "sha256": hashlib.sha256(weights.tobytes()).hexdigest(),
    }
    manifest["seal"] = manifests.seal(manifest)
    old = Model.from_artifact(save({"weights": weights}, {"manifest": json.dumps(manifest)}))
    assert {n: w for n, w in zip(WEIGHT_NAMES, old.weights.tolist(), strict=True) if w} == dict(
        zip(names, weights.tolist(), strict=True)
    )
    assert old.mixture == Mixture()


def test_terms_without_weight_cost_nothing() -> None:
    rich = random_model(1)
    base = np.where([name in prior().normaliser or not name.startswith("part:") for name in WEIGHT_NAMES], 1.0, 0.0)
    assert prior().cost < Model("logit", base).cost < rich.cost + 1


def test_artifacts_are_the_same_bytes_in_another_process() -> None:
    code = "from placerank.ranking.prior import prior; print(prior().digest)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == prior().digest


@given(st.integers(0, len(ARTIFACT) - 1), st.integers(1, 255))
def test_one_changed_byte_anywhere_is_noticed(position: int, change: int) -> None:
    damaged = bytearray(ARTIFACT)
    damaged[position] ^= change
    try:
        model = Model.from_artifact(bytes(damaged))
    except ModelError:
        return
    # A change may only affect blanks around the JSON of the header. Then the model is the one that was written.
    assert model.determined() == Model.from_artifact(ARTIFACT).determined()
    assert model.to_artifact() == bytes(damaged)


@given(st.integers(0, len(ARTIFACT) - 1))
def test_a_cut_artifact_is_refused(length: int) -> None:
    with pytest.raises(ModelError):
        Model.from_artifact(ARTIFACT[:length])


def test_bytes_after_the_end_are_refused() -> None:
    with pytest.raises(ModelError):
        Model.from_artifact(ARTIFACT + b"\0" * 8)


@pytest.mark.parametrize("data", [b"", b"\x80\x04N.", b"not a model", b"\xff" * 64])
def test_what_is_no_artifact_is_refused(data: bytes) -> None:
    with pytest.raises(ModelError):
        Model.from_artifact(data)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("format", "other/1", "format"),
        ("features", 99, "features of version 99"),
        ("weights", ["one"], "features"),
        ("mixture", {"lapse": 1.5}, "mixture"),
        ("kind", "forest", "forest"),
        ("sha256", "0" * 64, "damaged"),
    ],
)
def test_an_artifact_of_another_version_says_so(
    name: str, value: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    header, tensor = header_and_tensor(ARTIFACT)
    metadata = header["__metadata__"]
    assert isinstance(metadata, dict)
    manifest = json.loads(metadata["manifest"]) | {name: value}
    manifest["seal"] = manifests.seal(manifest)
    metadata["manifest"] = json.dumps(manifest)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with pytest.raises(ModelError, match=message):
        Model.from_artifact(len(text).to_bytes(8, "little") + text + tensor)


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=5), st.floats(-1e300, 1e300))
def test_probabilities_are_of_one_choice(utilities: list[float], outside: float) -> None:
    places, nothing = probabilities(np.array([utilities]), np.array([outside]))
    assert places.sum() + nothing.sum() == pytest.approx(1.0)
    assert (places >= 0).all()


def test_without_places_nothing_is_chosen() -> None:
    places, nothing = probabilities(np.zeros((2, 0)), np.zeros(2))
    assert places.shape == (2, 0)
    assert nothing.tolist() == [1.0, 1.0]
