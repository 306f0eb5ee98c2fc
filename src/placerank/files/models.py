"""A model in a folder: its artifact, and a card for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from placerank.errors import PlacerankError
from placerank.files.writing import replacing
from placerank.ranking.errors import ModelError
from placerank.ranking.judging.card import model_card
from placerank.ranking.manifest import MOST_BYTES
from placerank.ranking.model import Model

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ARTIFACT: Final = "model.safetensors"
CARD: Final = "model-card.md"


def write_model(folder: Path, model: Model, intervals: Mapping[str, tuple[float, float]], name: str = "") -> None:
    """Write artifact and card, each atomically; raises ``PlacerankError`` where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        contents = {CARD: model_card(model, intervals, name).encode(), ARTIFACT: model.to_artifact()}
        for file, data in contents.items():
            with replacing(folder / file) as written:
                written.write(data)
    except OSError as error:
        raise PlacerankError(f"{folder} cannot be written: {error}") from None


def files_of(place: Path) -> list[Path]:
    """The files of a model: those in its folder, or its artifact file."""
    return [place] if place.is_file() else [place / ARTIFACT, place / CARD]


def read_model(place: Path) -> Model:
    """Read the model from its folder or its artifact file; raises ``PlacerankError`` where it cannot be used."""
    path = place / ARTIFACT if place.is_dir() else place
    try:
        with path.open("rb") as file:
            # One byte more than a model has, so that a file that is too long is noticed.
            return Model.from_artifact(file.read(MOST_BYTES + 1))
    except OSError as error:
        raise PlacerankError(f"{path} cannot be read: {error.strerror or error}") from None
    except ModelError as error:
        raise PlacerankError(f"{path} cannot be used: {error}") from None
