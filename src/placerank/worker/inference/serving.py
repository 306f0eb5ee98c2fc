"""The models and the catalogue that a worker serves; both are replaced together and without a pause."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from placerank.cache import answers
from placerank.db.pool import run
from placerank.ranking.scoring.scorer import Scorer
from placerank.supervision.threads import SupervisedThread
from placerank.telemetry.metrics import CATALOGUE_PLACES, CATALOGUE_VERSION, MODEL_SHARE, MODELS_VERSION
from placerank.worker.deliveries import Stopping
from placerank.worker.first_model import ensure_first_model
from placerank.worker.inference.catalogue_rows import read_table
from placerank.worker.inference.stored_models import StoredModels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placerank.db.pool import Database
    from placerank.ranking.catalogue import PlaceTable
    from placerank.worker.inference.stored_models import UsableModel

log = logging.getLogger(__name__)

_SALT = b"placerank share"
_BUCKETS = 10_000
#: A batch that finds a newer catalogue or model waits at most this long for it, then it uses the old one.
_PATIENCE_S = 2.0

Versions = tuple[int, int]


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A model version in use."""

    version: str
    scorer: Scorer


class Snapshot:
    """One catalogue and the models in use on it; nothing in it ever changes."""

    def __init__(self, versions: Versions, table: PlaceTable, models: Sequence[tuple[ServedModel, int]]) -> None:
        """``models`` come with their shares in per cent."""
        self.versions = versions
        self.table = table
        self._models = [model for model, _ in models]
        whole = sum(share for _, share in models)
        self._bounds = list(accumulate(share * _BUCKETS // whole for _, share in models))
        self._rendered: dict[int, bytes] = {}
        #: From 0 to 1, by version.
        self.shares = {model.version: share / whole for model, share in models}

    def model_for(self, identity: str) -> ServedModel:
        """The version that serves this traveller: always the same one while the shares do not change."""
        digest = hashlib.blake2b(_SALT + identity.encode(), digest_size=8).digest()
        bucket = int.from_bytes(digest) % _BUCKETS
        return self._models[min(bisect_right(self._bounds, bucket), len(self._models) - 1)]

    def rendered(self, row: int) -> bytes:
        """The JSON of a place, rendered when it is first shown."""
        found = self._rendered.get(row)
        if found is None:
            values = self.table.values[row].tolist()
            found = self._rendered[row] = answers.render_place(int(self.table.location_ids[row]), values)
        return found


class Serving:
    """Keeps the current snapshot, and looks for newer versions on its own thread."""

    def __init__(self, database: Database, *, device: str, refresh_s: float) -> None:
        self._database = database
        self._device = device
        self._refresh_s = refresh_s
        self._snapshot: Snapshot | None = None
        self._stored = StoredModels()
        self._problem: str | None = None
        self._waited_for: Versions | None = None
        self._known_current_at = float("-inf")
        self._load_took_s = 0.0
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._wanted = threading.Event()
        self._thread = SupervisedThread("serving", self._watch, end=self._interrupt)

    def start(self) -> None:
        """Start loading."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking for newer versions and waiting for the first one."""
        # Not waited for: a load may take long.
        self._thread.stop(0)

    def _interrupt(self) -> None:
        self._stopping.set()
        self._wanted.set()
        with self._changed:
            self._changed.notify_all()

    def current(self, wanted: Versions | None = None) -> Snapshot:
        """The snapshot to serve; waits for the first one, and at most two seconds for the ``wanted`` versions.

        Raises ``Stopping`` when the worker stops before there is a first one.
        """
        with self._changed:
            if self._snapshot is None:
                self._changed.wait_for(lambda: self._snapshot is not None or self._stopping.is_set())
            if wanted is not None and self._is_behind(wanted) and not self._stopping.is_set():
                self._wanted.set()
                # Wait only once for each version, and not at all if the last load took longer: a version that loads
                # slowly or cannot be loaded must not delay every batch.
                hopeless = self._waited_for == wanted or self._load_took_s > _PATIENCE_S
                patience, self._waited_for = (0.0 if hopeless else _PATIENCE_S), wanted
                self._changed.wait_for(lambda: not self._is_behind(wanted) or self._stopping.is_set(), patience)
            if self._snapshot is None:
                raise Stopping("there is no model to serve yet")
            if wanted == self._snapshot.versions:
                self._known_current_at = time.monotonic()
            return self._snapshot

    def _is_behind(self, wanted: Versions) -> bool:
        have = self._snapshot
        return have is None or have.versions[0] < wanted[0] or have.versions[1] < wanted[1]

    def _watch(self) -> None:
        asked = True
        while not self._stopping.is_set():
            # Every batch reads the newest versions, so polling is only needed while there are no batches.
            if asked or time.monotonic() - self._known_current_at > self._refresh_s:
                self._try_to_refresh()
            asked = self._wanted.wait(self._refresh_s)
            self._wanted.clear()

    def _try_to_refresh(self) -> None:
        try:
            self._refresh()
        except Exception as error:  # noqa: BLE001 - after any error the old snapshot is served
            if str(error) != self._problem:
                log.warning("serving: models and catalogue could not be loaded, retrying: %s", error)
            self._problem = str(error)
        else:
            self._problem = None

    def _refresh(self) -> None:
        row = self._database.fetch("versions")[0]
        versions = (row["catalogue"], row["models"])
        if self._snapshot is not None and self._snapshot.versions == versions:
            return
        began = time.monotonic()
        loaded = self._load()
        self._load_took_s = time.monotonic() - began
        with self._changed:
            self._snapshot = loaded
            self._changed.notify_all()
        self._show(loaded)
        log.info("serving: catalogue %d with %d places, models %d", *_summary(loaded))

    @staticmethod
    def _show(snapshot: Snapshot) -> None:
        CATALOGUE_VERSION.set(snapshot.versions[0])
        MODELS_VERSION.set(snapshot.versions[1])
        CATALOGUE_PLACES.set(len(snapshot.table))
        MODEL_SHARE.clear()
        for version, share in snapshot.shares.items():
            MODEL_SHARE.labels(version).set(share)

    def _load(self) -> Snapshot:
        ensure_first_model(self._database)
        with self._database.transaction() as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            versions = run(connection, "versions")[0]
            # First, because without a model nothing else is worth reading.
            usable = self._stored.usable(run(connection, "models_in_use"))
            old = self._snapshot
            if old is not None and old.versions[0] == versions["catalogue"]:
                table = old.table
            else:
                table = read_table(versions["catalogue"], connection)
        # Computed here, so that no request has to wait for it.
        table.digest  # noqa: B018
        models = [(self._served(one, table), one.share) for one in usable]
        return Snapshot((versions["catalogue"], versions["models"]), table, models)

    def _served(self, one: UsableModel, table: PlaceTable) -> ServedModel:
        scorer = Scorer(one.model, table, device=self._device)
        scorer.warm_up()
        return ServedModel(one.version, scorer)


def _summary(snapshot: Snapshot) -> tuple[int, int, int]:
    return snapshot.versions[0], len(snapshot.table), snapshot.versions[1]
