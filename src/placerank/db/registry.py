"""The registry of models for commands, without an event loop; it can do more than the API's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from placerank.db.learning import NewVersion, register
from placerank.db.pool import follow, run
from placerank.db.shares import present_shares, set_share, write_shares
from placerank.errors import NotFound, PlacerankError

if TYPE_CHECKING:
    from placerank.db.pool import Database

_EVERY = {"limit": 100_000, "after": -1}


@dataclass(frozen=True, slots=True)
class Exchange:
    """The result of a rollback: the version that lost its travellers, and the one that got them."""

    given_up: str
    taken_over: str


class Registry:
    """Versions and shares in PostgreSQL. Raises psycopg's own errors."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def versions(self) -> list[dict[str, Any]]:
        """Every version, the oldest first, without the artifacts."""
        return self._database.fetch("list_models", _EVERY)

    def version(self, name: str) -> dict[str, Any]:
        """One version with its artifact; raises ``NotFound``."""
        rows = self._database.fetch("read_model", {"version": name})
        if not rows:
            raise NotFound(f"No model has the version {name}; `placerank models list` shows all versions.")
        return rows[0]

    def set_share(self, name: str, share: int) -> dict[str, int]:
        """Give a version ``share`` per cent of the travellers; returns all shares."""
        wanted = self.version(name)["id"]
        with self._database.transaction() as connection:
            follow(connection, set_share(wanted, share))
        return {row["version"]: row["use_percentage"] for row in self.versions()}

    def roll_back(self) -> Exchange:
        """Roll back the running canary, else the version promoted last; raises ``PlacerankError`` if there is none."""
        with self._database.transaction() as connection:
            present = follow(connection, present_shares())
            running = run(connection, "running_canary")
            change = running or run(connection, "last_canary")
            if not change or not present.get(change[0]["model_id"]):
                raise PlacerankError("No change of version can be rolled back: use `placerank models share`.")
            new, old = change[0]["model_id"], change[0]["champion_id"]
            follow(connection, write_shares({old: present[old] + present[new], new: 0}))
            if running:
                run(connection, "end_canary", {"status": "rolled_back", "reason": "By hand.", "figures": None})
        return Exchange(change[0]["version"], change[0]["champion_version"])

    def add(self, version: NewVersion, share: int | None) -> str:
        """Register an imported version; with a ``share`` it serves at once. Returns its name."""
        with self._database.transaction() as connection:
            name = register(connection, version)
        if share:
            self.set_share(name, share)
        return name
