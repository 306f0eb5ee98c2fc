"""The catalogue as columns: an immutable snapshot with a version."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from placerank.domain import PLACE_FIELDS, PLACE_FLAGS, Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_IS_FLAG: Final = tuple(name in PLACE_FLAGS for name in PLACE_FIELDS)


@dataclass(frozen=True, eq=False)
class PlaceTable:
    """All places of one catalogue version; row ``i`` of every column is the same place.

    ``location_ids`` and ``revisions`` are int64 [N]; ``values`` is float64 [N, 17], columns as in
    ``domain.PLACE_FIELDS`` with flags as 0 and 1. Never write into the arrays of a table.
    """

    version: int
    location_ids: NDArray[np.int64]
    revisions: NDArray[np.int64]
    values: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Raises ValueError when the columns are not equally long."""
        rows = len(self.location_ids)
        if self.revisions.shape != (rows,) or self.values.shape != (rows, len(PLACE_FIELDS)):
            raise ValueError(f"A table of {rows} ids needs as many revisions and rows of {len(PLACE_FIELDS)} values.")

    def __len__(self) -> int:
        return len(self.location_ids)

    def place(self, row: int) -> Place:
        """The place in ``row``, with its original values."""
        values: list[float] = self.values[row].tolist()
        fields: list[Any] = [bool(value) if flag else value for value, flag in zip(values, _IS_FLAG, strict=True)]
        return Place(int(self.location_ids[row]), *fields)

    @cached_property
    def digest(self) -> str:
        """A digest of the candidates that does not depend on their order: 32 hexadecimal digits."""
        # A revision never changes, so its number and the place's id identify its content.
        by_revision = np.lexsort((self.location_ids, self.revisions))
        parts = (self.revisions[by_revision].tobytes(), self.location_ids[by_revision].tobytes())
        return hashlib.blake2b(b"".join(parts), digest_size=16).hexdigest()

    @classmethod
    def from_places(cls, version: int, places: Sequence[Place], revisions: Sequence[int] | None = None) -> PlaceTable:
        """A table of ``places`` in their order; without ``revisions`` each is at revision 1."""
        return cls(
            version=version,
            location_ids=np.array([place.location_id for place in places], dtype=np.int64),
            revisions=np.array([1] * len(places) if revisions is None else revisions, dtype=np.int64),
            values=place_values(places),
        )


def place_values(places: Sequence[Place]) -> NDArray[np.float64]:
    """The 17 columns of ``places``, float64 [N, 17]."""
    rows = [[float(getattr(place, name)) for name in PLACE_FIELDS] for place in places]
    return np.array(rows, dtype=np.float64).reshape(len(places), len(PLACE_FIELDS))
