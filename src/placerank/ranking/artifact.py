"""A model as one blob: safetensors, with a JSON manifest in its metadata. Nothing in it is ever executed."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
from safetensors.numpy import save

from placerank import __version__
from placerank.ranking import manifest as manifests
from placerank.ranking.choice import PLAIN, Mixture
from placerank.ranking.errors import ModelError
from placerank.ranking.features import FEATURE_VERSION, WEIGHT_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

Kind = Literal["prior", "logit", "lapse", "rich"]


@dataclass(frozen=True, eq=False)
class Contents:
    """What an artifact holds: float64 weights [len(WEIGHT_NAMES)] and facts about them."""

    kind: Kind
    weights: NDArray[np.float64]
    metrics: Mapping[str, float]
    normaliser: Mapping[str, float]
    mixture: Mixture = PLAIN
    data: Mapping[str, str] = field(default_factory=dict)


def pack(contents: Contents) -> bytes:
    """The blob of ``contents``; equal contents give equal bytes with the same version of placerank."""
    tensor = np.ascontiguousarray(contents.weights, dtype="<f8")
    manifest = {
        "format": manifests.FORMAT,
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
    manifest["seal"] = manifests.seal(manifest)
    # Only one key: safetensors keeps metadata in a hash map, whose order differs between runs.
    return save({manifests.TENSOR: tensor}, {"manifest": manifests.canonical(manifest)})


def unpack(data: bytes) -> Contents:
    """The contents of a blob made by :func:`pack`, of this version or an earlier one.

    Raises ModelError, and nothing else, when it is truncated, damaged, of another format or feature version, of unknown
    kind, or holds anything that a model does not have.
    """
    manifest, tensor = manifests.split(data)
    if manifest.sha256 != hashlib.sha256(tensor).hexdigest():
        raise ModelError("The model is damaged: its weights do not match the checksum in its manifest.")
    return Contents(
        cast("Kind", manifest.kind),
        _by_name(manifest.names, np.frombuffer(tensor, dtype="<f8")),
        manifest.metrics,
        manifest.normaliser,
        manifest.mixture,
        manifest.data,
    )


def _by_name(names: Sequence[str], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights in the current order; terms that the model does not have get the weight 0."""
    found = dict(zip(names, weights.tolist(), strict=True))
    return np.array([found.get(name, 0.0) for name in WEIGHT_NAMES])
