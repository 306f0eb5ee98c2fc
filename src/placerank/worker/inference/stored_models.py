"""Which of the models in use can serve: those that cannot be read are left out, named once, and counted."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from placerank.ranking.errors import ModelError
from placerank.ranking.model import Model
from placerank.telemetry.metrics import MODEL_REFUSED, RECORDS_REFUSED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UsableModel:
    """A version that can serve, and its share of the travellers as it is set."""

    version: str
    model: Model
    share: int


class StoredModels:
    """Reads the models in use, and remembers the last ones that could be read."""

    def __init__(self) -> None:
        self._last: Sequence[UsableModel] = ()
        self._refused: Mapping[str, str] = {}

    def usable(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[UsableModel]:
        """The versions in these rows that can be read; the others' travellers are theirs too, in proportion.

        If none can be read, those that served before go on. Raises ModelError if there are none: then requests wait
        for a model, rather than being answered by one that nobody gave them to.
        """
        found: list[UsableModel] = []
        refused: dict[str, str] = {}
        for row in rows:
            try:
                model = Model.from_registry(bytes(row["artifact"]), row["digest"])
            except ModelError as error:
                refused[row["version"]] = str(error)
                continue
            found.append(UsableModel(row["version"], model, row["use_percentage"]))
        self._tell(refused)
        if not found:
            self._tell_of_none(refused)
        self._refused = refused
        self._last = found or self._last
        if not self._last:
            raise ModelError("no model in use can be read: run placerank doctor")
        return self._last

    def _tell(self, refused: Mapping[str, str]) -> None:
        """Name what is refused in the metrics, and in the log if it was not refused for the same reason before."""
        MODEL_REFUSED.clear()
        for version, reason in refused.items():
            MODEL_REFUSED.labels(version).set(1)
            if self._refused.get(version) != reason:
                RECORDS_REFUSED.labels("model").inc()
                log.error("serving: model %s is not served: %s", version, reason)
        for version in self._refused.keys() - refused.keys():
            log.info("serving: model %s is no longer refused", version)

    def _tell_of_none(self, refused: Mapping[str, str]) -> None:
        if refused != self._refused and self._last:
            names = ", ".join(one.version for one in self._last)
            log.error("serving: no model in use can be read, %s serves as before: run placerank doctor", names)
