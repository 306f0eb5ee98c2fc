"""Travellers, places and small tables for the tests of ranking."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np

from placerank.demo import synthetic
from placerank.domain import Place, Traveller
from placerank.ranking.catalogue import PlaceTable, place_values
from placerank.ranking.features import WEIGHT_NAMES
from placerank.ranking.lists import ShownLists
from placerank.ranking.model import Model

TRAVELLER = Traveller("t", 2, (35, 40), 0, 300.0, 3, date(2026, 5, 1), *([False] * 6))
PLACE = Place(1, False, True, False, True, 200.0, *([False] * 6), *([2.5] * 6))


def random_model(seed: int) -> Model:
    return Model("logit", np.random.default_rng(seed).normal(0.0, 1.0, len(WEIGHT_NAMES)))


def place_with(**values: Any) -> Place:
    """``PLACE`` with other values."""
    return replace(PLACE, **values)


def traveller_with(**values: Any) -> Traveller:
    """``TRAVELLER`` with other values."""
    return replace(TRAVELLER, **values)


def table(places: list[Place]) -> PlaceTable:
    return PlaceTable.from_places(1, places)


def renumbered(places: list[Place], ids: list[int]) -> list[Place]:
    return [replace(place, location_id=one) for place, one in zip(places, ids, strict=True)]


def synthetic_lists(n_lists: int, seed: int, n_places: int = 200) -> ShownLists:
    lists = list(synthetic.shown_lists(n_lists, n_places, seed))
    return ShownLists(
        travellers=[traveller for traveller, _, _, _ in lists],
        identities=[identity for _, identity, _, _ in lists],
        places=place_values([place for _, _, shown, _ in lists for place in shown]),
        offsets=np.cumsum([0, *(len(shown) for _, _, shown, _ in lists)], dtype=np.int64),
        chosen=np.array([chosen for _, _, _, chosen in lists], dtype=np.int64),
    )
