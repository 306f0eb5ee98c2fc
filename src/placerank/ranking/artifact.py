"""A model as one blob: safetensors, with a JSON manifest in its metadata. Nothing in it is ever executed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from placerank import __version__
from placerank.ranking.choice import PLAIN, Mixture
from placerank.ranking.errors import ModelError
from placerank.ranking.features import FEATURE_VERSION, WEIGHT_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

FORMAT: Final = "placerank-model/1"
KINDS: Final = ("prior", "logit", "lapse", "rich")
_READABLE: Final = (1, FEATURE_VERSION)
_TENSOR: Final = "weights"
_LENGTH_BYTES: Final = 8


@dataclass(frozen=True, eq=False)
class Contents:
    """What an artifact holds: float64 weights [len(WEIGHT_NAMES)] and facts about them."""

    kind: Literal["prior", "logit", "lapse", "rich"]
    weights: NDArray[np.float64]
    metrics: Mapping[str, float]
    normaliser: Mapping[str, float]
    mixture: Mixture = PLAIN
    data: Mapping[str, str] = field(default_factory=dict)


def pack(contents: Contents) -> bytes:
    """The blob of ``contents``; equal contents give equal bytes."""
    tensor = np.ascontiguousarray(contents.weights, dtype="<f8")
    manifest = {
        "format": FORMAT,
        "features": FEATURE_VERSION,
        "kind": contents.kind,
        "weights": list(WEIGHT_NAMES),
        "metrics": dict(contents.metrics),
        "normaliser": dict(contents.normaliser),
        "mixture": asdict(contents.mixture),
        "data": dict(contents.data),
        "code": __version__,
        "sha256": hashlib.sha256(tensor.tobytes()).hexdigest(),
    }
    manifest["seal"] = seal(manifest)
    # Only one key: safetensors keeps metadata in a hash map, whose order differs between runs.
    return save({_TENSOR: tensor}, {"manifest": _canonical(manifest)})


def unpack(data: bytes) -> Contents:
    """The contents of a blob made by :func:`pack`.

    Raises ModelError when it is truncated, damaged, of another format or feature version, or of unknown kind.
    """
    weights = _read_weights(data)
    manifest = _read_manifest(data)
    _check_version(manifest)
    if weights.shape != (len(manifest["weights"]),):
        raise ModelError(f"The model does not hold one tensor of {len(manifest['weights'])} weights.")
    if manifest.get("sha256") != hashlib.sha256(weights.tobytes()).hexdigest():
        raise ModelError("The model is damaged: its weights do not match the checksum in its manifest.")
    return Contents(
        manifest["kind"],
        _by_name(manifest["weights"], weights),
        manifest["metrics"],
        manifest["normaliser"],
        Mixture(**manifest.get("mixture", {})),
        manifest.get("data", {}),
    )


def _by_name(names: list[str], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights in the current order; terms that the model does not have get the weight 0."""
    found = dict(zip(names, weights.tolist(), strict=True))
    return np.array([found.get(name, 0.0) for name in WEIGHT_NAMES])


def _read_weights(data: bytes) -> NDArray[np.float64]:
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"The model cannot be read as safetensors: {error}") from error
    weights = tensors.get(_TENSOR)
    if len(tensors) != 1 or weights is None or weights.dtype != np.float64:
        raise ModelError("The model does not hold one tensor of float64 weights.")
    return weights


def _read_manifest(data: bytes) -> dict[str, Any]:
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    try:
        header = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + length])
        manifest = json.loads(header["__metadata__"]["manifest"])
        found = manifest.pop("seal")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ModelError("The model's manifest is missing or cannot be read.") from error
    if found != seal(manifest):
        raise ModelError("The model is damaged: its manifest does not match its own checksum.")
    return cast("dict[str, Any]", manifest)


def _check_version(manifest: Mapping[str, Any]) -> None:
    if manifest.get("format") != FORMAT:
        raise ModelError(f"The model has the format {manifest.get('format')!r}; this version reads {FORMAT!r}.")
    weights = manifest.get("weights")
    known = isinstance(weights, list) and len(set(weights)) == len(weights) and set(weights) <= set(WEIGHT_NAMES)
    # Version 2 has all terms of version 1, unchanged, and more. So both can be read.
    if manifest.get("features") not in _READABLE or not known:
        raise ModelError(
            f"The model is for features of version {manifest.get('features')!r}; this version has {FEATURE_VERSION}."
        )
    if manifest.get("kind") not in KINDS:
        raise ModelError(f"The model is of kind {manifest.get('kind')!r}; this version knows {', '.join(KINDS)}.")


def seal(manifest: Mapping[str, Any]) -> str:
    """The sha256 of a manifest without its seal, in hexadecimal."""
    body = {name: value for name, value in manifest.items() if name != "seal"}
    return hashlib.sha256(_canonical(body).encode()).hexdigest()


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
