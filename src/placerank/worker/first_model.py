"""Registers the first model of a system: the prior, which needs no data."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from placerank.db.learning import NewVersion, register
from placerank.db.pool import run
from placerank.ranking.judging.card import model_card
from placerank.ranking.prior import prior

if TYPE_CHECKING:
    from placerank.db.pool import Database

log = logging.getLogger(__name__)


def ensure_first_model(database: Database) -> None:
    """Register the prior if there is no model yet; safe for several workers at once."""
    if database.fetch("shares"):
        return
    first = prior()
    version = NewVersion(first.kind, first.digest, first.to_artifact(), {}, model_card(first, {}))
    with database.transaction() as connection:
        run(connection, "lock_models")
        if run(connection, "shares"):
            return
        register(connection, version)
    log.info("serving: registered the prior as the first model")
