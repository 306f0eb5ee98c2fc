"""A model in a folder: its artifact, and a card for people."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from placerank.errors import PlacerankError
from placerank.ranking.errors import ModelError
from placerank.ranking.judging.card import model_card
from placerank.ranking.model import Model

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ARTIFACT: Final = "model.safetensors"
CARD: Final = "model-card.md"


def write_model(folder: Path, model: Model, intervals: Mapping[str, tuple[float, float]], name: str = "") -> None:
    """Write artifact and card, each whole or not at all; raises ``PlacerankError`` where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / CARD, model_card(model, intervals, name).encode())
        _replace(folder / ARTIFACT, model.to_artifact())
    except OSError as error:
        raise PlacerankError(f"{folder} cannot be written: {error}") from None


def read_model(place: Path) -> Model:
    """The model in a folder, or in an artifact of any name; raises ``PlacerankError`` where it cannot be used."""
    path = place / ARTIFACT if place.is_dir() else place
    try:
        return Model.from_artifact(path.read_bytes())
    except OSError as error:
        raise PlacerankError(f"{path} cannot be read: {error.strerror or error}") from None
    except ModelError as error:
        raise PlacerankError(f"{path} cannot be used: {error}") from None


def _replace(path: Path, data: bytes) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
