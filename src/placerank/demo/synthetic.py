"""Made-up places, travellers and choices, for demonstrations, tests and benchmarks. The same seed gives the same data.

The true utility behind the choices is nonlinear and has thresholds, so no model here has the same formula. What a model
learns can be compared with the known true utility.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from placerank.domain import NOTHING_CHOSEN, PLACE_FIELDS, PLACE_FLAGS, WISHES, Place, Traveller

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Columns = dict[str, NDArray[Any]]

_PRICES: Final = (40.0, 2700.0)
#: Share of places whose flag is set.
_SHARES: Final = {
    "children": 0.4,
    "breakfast": 0.6,
    "lunch": 0.5,
    "dinner": 0.7,
    "has_pool": 0.6,
    "has_spa": 0.6,
    "animals": 0.4,
    "near_lake": 0.35,
    "near_mountains": 0.5,
    "has_sport": 0.55,
}
#: Mean of each rating; ratings lie in 0..6.
_RATINGS: Final = {
    "family_rating": 2.2,
    "outdoor_rating": 2.0,
    "food_rating": 3.0,
    "leisure_rating": 2.3,
    "service_rating": 2.2,
    "user_score": 2.8,
}
_FIRST_ARRIVAL: Final = date(2026, 1, 1)
#: Average number of requests of a traveller.
_RETURNS: Final = 6


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of traveller: ranges (inclusive) and the chance of each wish, in the order of ``WISHES``."""

    name: str
    adults: tuple[int, int]
    ages: tuple[int, int]
    children: tuple[int, int]
    budget: tuple[float, float]
    nights: tuple[int, int]
    wishes: tuple[float, float, float, float, float, float]


_KINDS: Final = (
    _Kind("family", (1, 2), (25, 45), (1, 3), (250, 700), (3, 14), (0.7, 0.2, 0.3, 0.5, 0.2, 0.3)),
    _Kind("couple", (2, 2), (20, 45), (0, 0), (250, 800), (2, 7), (0.5, 0.5, 0.1, 0.4, 0.4, 0.2)),
    _Kind("sporty", (1, 4), (18, 40), (0, 0), (150, 600), (2, 10), (0.3, 0.1, 0.1, 0.4, 0.7, 1.0)),
    _Kind("old", (1, 2), (62, 85), (0, 0), (200, 600), (5, 21), (0.2, 0.6, 0.4, 0.5, 0.4, 0.1)),
    _Kind("cheap", (1, 5), (18, 26), (0, 0), (70, 180), (1, 5), (0.2, 0.1, 0.1, 0.3, 0.4, 0.3)),
    _Kind("luxury", (1, 2), (35, 70), (0, 0), (900, 2600), (2, 10), (0.8, 0.9, 0.1, 0.4, 0.4, 0.3)),
    _Kind("group", (4, 8), (20, 40), (0, 2), (200, 500), (2, 7), (0.5, 0.2, 0.2, 0.5, 0.5, 0.6)),
)


def place_columns(n: int, seed: int) -> Columns:
    """``n`` places as columns by name, ``location_id`` 1..n first: flags bool, the rest float64, each [n]."""
    rng = np.random.default_rng([seed, 1])
    quality = rng.standard_normal(n)
    columns: Columns = {"location_id": np.arange(1, n + 1, dtype=np.int64)}
    for name in PLACE_FIELDS:
        if name in PLACE_FLAGS:
            columns[name] = rng.random(n) < _SHARES[name]
        elif name == "price":
            columns[name] = np.clip(np.exp(6.1 + 0.75 * rng.standard_normal(n) + 0.35 * quality), *_PRICES)
        else:
            columns[name] = np.clip(_RATINGS[name] + 0.5 * quality + 1.1 * rng.standard_normal(n), 0.0, 6.0)
    return columns


def places(n: int, seed: int) -> list[Place]:
    """``n`` places with location ids 1..n."""
    columns = place_columns(n, seed)
    return [Place(*row) for row in zip(*(column.tolist() for column in columns.values()), strict=True)]


def travellers(n: int, seed: int) -> list[Traveller]:
    """``n`` requests by travellers of several kinds; one traveller makes several requests."""
    rng = np.random.default_rng([seed, 2])
    known = [_traveller(one, rng) for one in range(-(-n // _RETURNS))]
    return known[:n] + [known[one] for one in rng.integers(0, len(known), max(0, n - len(known)))] if n else []


def _traveller(number: int, rng: np.random.Generator) -> Traveller:
    kind = _KINDS[number % len(_KINDS)]
    adults, children = rng.integers(*kind.adults, endpoint=True), int(rng.integers(*kind.children, endpoint=True))
    ages = [*rng.integers(*kind.ages, adults, endpoint=True).tolist(), *rng.integers(0, 17, children).tolist()]
    pool, spa, pet_friendly, lake, mountain, sport = (rng.random(len(WISHES)) < kind.wishes).tolist()
    return Traveller(
        name=f"{kind.name}-{number}",
        people_num=len(ages),
        people_age=tuple(ages),
        children_num=children,
        budget=float(rng.uniform(*kind.budget)),
        nights=int(rng.integers(*kind.nights, endpoint=True)),
        time_arrival=_FIRST_ARRIVAL + timedelta(days=int(rng.integers(0, 365))),
        pool=pool,
        spa=spa,
        pet_friendly=pet_friendly,
        lake=lake,
        mountain=mountain,
        sport=sport,
    )


def true_utility(traveller: Traveller, places: Sequence[Place]) -> NDArray[np.float64]:
    """The true utility of each place for the traveller, [N]; choosing nothing has the utility 0.

    The utility drops sharply where the price passes the budget. Ratings count by their square root, wishes by the
    square of the share that is met.
    """
    columns = _columns(places)
    spent = np.clip(np.minimum(columns["price"], 1e9) / max(traveller.budget, 1e-2), 1e-3, 1e3)
    worth = -5.0 + 0.15 * np.minimum(spent, 1.0) * (columns["user_score"] - 3.0)
    worth -= 9.0 / (1.0 + spent**-25.0)
    for name, weight in _weights(traveller).items():
        worth += weight * np.sqrt(np.maximum(columns[name], 0.0))
    wished = [has for wish, has in WISHES if getattr(traveller, wish)]
    if wished:
        worth += 2.5 * np.mean([columns[has] for has in wished], axis=0) ** 2
    if traveller.children_num:
        worth += 0.6 * columns["children"] - 3.0 * (columns["family_rating"] < 1.0)
    return worth


def choose(traveller: Traveller, places: Sequence[Place], rng: np.random.Generator) -> int:
    """The position of the place that the traveller takes this time, or -1: the greatest utility plus Gumbel noise."""
    noisy = np.append(true_utility(traveller, places), 0.0) + rng.gumbel(size=len(places) + 1)
    taken = int(noisy.argmax())
    return taken if taken < len(places) else NOTHING_CHOSEN


def best(traveller: Traveller, places: Sequence[Place]) -> Place:
    """The place with the greatest true utility, the first of equal ones. Raises ValueError without places."""
    return places[int(true_utility(traveller, places).argmax())]


def shown_lists(n_lists: int, n_places: int, seed: int) -> Iterator[tuple[Traveller, str, list[Place], int]]:
    """Lists of ten places (fewer if there are fewer) out of ``n_places``: traveller, identity, places, choice."""
    rng = np.random.default_rng([seed, 3])
    catalogue = places(n_places, seed)
    for traveller in travellers(n_lists, seed):
        shown = [catalogue[one] for one in rng.choice(n_places, min(10, n_places), replace=False)]
        yield traveller, f"id:{traveller.name}", shown, choose(traveller, shown, rng)


def _columns(places: Sequence[Place]) -> dict[str, NDArray[np.float64]]:
    rows = np.array([[float(getattr(place, name)) for name in PLACE_FIELDS] for place in places])
    return dict(zip(PLACE_FIELDS, rows.reshape(-1, len(PLACE_FIELDS)).T, strict=True))


def _weights(traveller: Traveller) -> dict[str, float]:
    """The traveller's weight of each rating: a base weight for everyone, and more for some ratings."""
    ages = np.array(traveller.people_age or (40,))
    weights = dict.fromkeys(_RATINGS, 0.8)
    weights["family_rating"] += 0.6 * (traveller.children_num > 0)
    weights["service_rating"] += 0.6 * float((ages >= 60).mean())
    weights["leisure_rating"] += 0.6 * float(((ages >= 18) & (ages < 30)).mean())
    weights["outdoor_rating"] += 0.6 * traveller.sport
    return weights
