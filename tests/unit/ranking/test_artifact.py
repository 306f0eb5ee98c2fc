"""Artifacts that a stranger may have written: refused with ModelError, or read to a model that can serve."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.numpy import load
from tests.unit.ranking.helpers import random_model

from placerank.demo import synthetic
from placerank.ranking import manifest as manifests
from placerank.ranking.catalogue import PlaceTable
from placerank.ranking.errors import ModelError
from placerank.ranking.features import WEIGHT_NAMES
from placerank.ranking.judging.card import model_card
from placerank.ranking.model import Mixture, Model
from placerank.ranking.scoring.scorer import Scorer

if TYPE_CHECKING:
    from collections.abc import Mapping

ARTIFACT = Model(
    "rich", random_model(1).weights, {"auc": 0.9}, {"one*log_price": 1.0}, Mixture(0.1, 0.9, 0.2), {"lists": "7"}
).to_artifact()
END = 8 + int.from_bytes(ARTIFACT[:8], "little")
HEADER: dict[str, Any] = json.loads(ARTIFACT[8:END])
MANIFEST: dict[str, Any] = json.loads(HEADER["__metadata__"]["manifest"])
TENSOR = ARTIFACT[END:]

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(10**400) | st.just("\ud800")
anything = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


def packed(manifest: str, tensor: bytes = TENSOR, **header: Any) -> bytes:
    """An artifact with this manifest, and with entries of the header replaced."""
    found = {**HEADER, "__metadata__": {"manifest": manifest}, **header}
    text = json.dumps(found).encode()
    return len(text).to_bytes(8, "little") + text + tensor


def sealed(changes: Mapping[str, object] = MappingProxyType({}), tensor: bytes = TENSOR) -> bytes:
    """An artifact whose manifest has these entries (``...``: lacks them), with checksums that match."""
    manifest = MANIFEST | {"sha256": hashlib.sha256(tensor).hexdigest()} | dict(changes)
    body = {name: value for name, value in manifest.items() if name != "seal" and value is not ...}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return packed(json.dumps(body | {"seal": hashlib.sha256(text.encode()).hexdigest()}), tensor)


def read(data: bytes) -> Model | None:
    """The model, which then serves, has a card and keeps its bytes; none where it is refused as it should be."""
    try:
        model = Model.from_artifact(data)
    except ModelError:
        return None
    assert model.to_artifact() == data
    assert model.digest == hashlib.sha256(data).hexdigest()
    model_card(model, {}).encode()
    json.dumps(dict(model.metrics), allow_nan=False)
    Scorer(model, PlaceTable.from_places(1, synthetic.places(3, seed=1))).warm_up()
    return model


def test_what_is_sealed_here_is_what_the_package_seals() -> None:
    assert read(sealed()) is not None
    assert read(packed(json.dumps(MANIFEST))) is not None


@given(st.lists(st.tuples(st.integers(0, len(ARTIFACT)), st.binary(max_size=9), st.integers(0, 40)), max_size=4))
def test_bytes_that_are_changed_put_in_or_taken_out(changes: list[tuple[int, bytes, int]]) -> None:
    data = ARTIFACT
    for position, inserted, removed in changes:
        data = data[:position] + inserted + data[position + removed :]
    read(data)


@given(st.binary(max_size=300))
def test_bytes_of_any_kind(data: bytes) -> None:
    assert read(data) is None
    assert read(len(data).to_bytes(8, "little") + data) is None


@given(st.sampled_from([*MANIFEST, "more"]), anything)
@example("metrics", {"auc": True})
@example("metrics", {"auc": 10**400})
@example("metrics", {"a\nb": 1.0})
@example("data", {"lists": 7})
@example("data", {"from": "\ud800"})
@example("mixture", {"lapse": "0.1"})
@example("mixture", {"temperature": 1.0})
@example("features", True)
@example("features", 2.0)
@example("kind", ["rich"])
@example("weights", dict.fromkeys(WEIGHT_NAMES, 1))
@example("weights", [[name] for name in WEIGHT_NAMES])
@example("sha256", None)
def test_a_sealed_manifest_with_an_odd_entry(name: str, value: object) -> None:
    try:
        data = sealed({name: value})
    except UnicodeEncodeError:
        return
    model = read(data)
    if model is not None and name in ("weights", "sha256", "format", "kind", "features"):
        assert value == MANIFEST[name]


@given(st.text() | anything.map(json.dumps))
@example("[" * 100_000)
@example('{"a":' * 50_000)
@example(json.dumps(MANIFEST)[:-1] + ',"kind":"rich"}')
@example(json.dumps(MANIFEST).replace("0.9", "NaN"))
@example(json.dumps(MANIFEST).replace("0.9", "1e999"))
@example(json.dumps(MANIFEST).replace("0.9", "9" * 5_000))
def test_a_manifest_that_is_something_else(text: str) -> None:
    assert read(packed(text)) is None


@pytest.mark.parametrize("name", ["format", "features", "kind", "weights", "metrics", "normaliser", "sha256", "seal"])
def test_a_manifest_that_lacks_a_key_says_so(name: str) -> None:
    lacking = sealed({name: ...}) if name != "seal" else packed(json.dumps({**MANIFEST, "seal": None}))
    with pytest.raises(ModelError):
        Model.from_artifact(lacking)


@pytest.mark.parametrize("name", ["metrics", "normaliser", "weights", "kind"])
@pytest.mark.parametrize("value", [None, True, 1, 1.5, "text", [], [None], {"a": None}, {"a": []}])
def test_a_wrong_type_is_refused(name: str, value: object) -> None:
    with pytest.raises(ModelError):
        Model.from_artifact(sealed({name: value}))


@given(anything)
@example({"dtype": "F32", "shape": [len(WEIGHT_NAMES)], "data_offsets": [0, len(TENSOR)]})
@example({"dtype": "F64", "shape": [len(WEIGHT_NAMES), 1], "data_offsets": [0, len(TENSOR)]})
@example({"dtype": "F64", "shape": [2**62], "data_offsets": [0, len(TENSOR)]})
@example({"dtype": "F64", "shape": [-1], "data_offsets": [0, len(TENSOR)]})
@example({"dtype": "F64", "shape": [len(WEIGHT_NAMES)], "data_offsets": [8, len(TENSOR)]})
def test_a_tensor_of_another_kind(entry: object) -> None:
    assert read(packed(json.dumps(MANIFEST), weights=entry)) is None
    assert read(packed(json.dumps(MANIFEST), more=entry)) is None
    assert read(packed(json.dumps(MANIFEST), __metadata__=entry)) is None


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e7, 1e300])
def test_a_weight_that_cannot_be_used_is_refused(wrong: float) -> None:
    weights = np.frombuffer(TENSOR, dtype="<f8").copy()
    weights[-1] = wrong
    with pytest.raises(ModelError, match="weight"):
        Model.from_artifact(sealed(tensor=weights.tobytes()))


@given(st.lists(st.sampled_from(WEIGHT_NAMES), max_size=60), st.integers(0, 60))
def test_other_numbers_of_weights_and_names(names: list[str], count: int) -> None:
    tensor = np.ones(count).tobytes()
    shape = {"dtype": "F64", "shape": [count], "data_offsets": [0, len(tensor)]}
    body = {**MANIFEST, "weights": names, "sha256": hashlib.sha256(tensor).hexdigest()}
    body["seal"] = manifests.seal(body)
    model = read(packed(json.dumps(body), tensor, weights=shape))
    assert (model is not None) is (len(names) == count == len(set(names)) > 0)


def test_a_great_file_is_refused_before_it_is_read() -> None:
    with pytest.raises(ModelError, match="bytes"):
        Model.from_artifact(ARTIFACT + bytes(manifests.MOST_BYTES))


def test_what_is_read_is_safetensors_as_others_read_it() -> None:
    model = Model.from_artifact(ARTIFACT)
    assert load(ARTIFACT)["weights"].tolist() == model.weights.tolist()


def test_a_model_keeps_the_bytes_that_it_was_read_from() -> None:
    """A manifest of another version of placerank, and spelled in another way than this version does."""
    other = sealed({"code": "0.0.1 of another time"})
    model = Model.from_artifact(other)
    assert other != ARTIFACT
    assert model.to_artifact() == other
    assert model.digest == hashlib.sha256(other).hexdigest()
    assert model.determined() == Model.from_artifact(ARTIFACT).determined()


def test_a_model_that_is_changed_is_packed_anew() -> None:
    model = Model.from_artifact(ARTIFACT)
    changed = replace(model, metrics={"auc": 0.5})
    assert dict(Model.from_artifact(changed.to_artifact()).metrics) == {"auc": 0.5}
    assert changed.determined() != model.determined()


def test_a_model_listed_under_the_digest_of_another_is_refused() -> None:
    assert Model.from_registry(ARTIFACT, hashlib.sha256(ARTIFACT).hexdigest()).kind == "rich"
    with pytest.raises(ModelError, match="the registry says"):
        Model.from_registry(ARTIFACT, "0" * 64)
