"""Canaries in PostgreSQL: the running one, the results of its traffic, its steps and its end."""

from __future__ import annotations

import json
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from placerank.db.shares import WHOLE, present_shares, set_share, write_shares
from placerank.domain import first_task_id
from placerank.rollout.canary import Expected, Traffic, Verdict
from placerank.telemetry.metrics import RECORDS_REFUSED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from placerank.db.pool import AsyncDatabase, AsyncTransaction

log = logging.getLogger(__name__)

#: Only so many of the newest starts are read: enough for any judgement, and it bounds the cost of the query.
_MOST_STARTS = 20_000


@dataclass(frozen=True, slots=True)
class RunningCanary:
    """A version that has served ``share`` per cent for ``seconds``; ``present`` is its share in the registry."""

    id: int
    model_id: int
    champion_id: int
    version: str
    champion_version: str
    share: int
    present: int
    seconds: float
    expected: tuple[Expected, Expected]
    traffic: tuple[Traffic, Traffic]


class CanaryRepository:
    """What the watch over canaries reads and writes."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database
        self._refused: int | None = None

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[CanaryDesk | None]:
        """The running canary, locked until the context ends; none if no canary runs or another process holds it."""
        async with self._database.transaction() as transaction:
            if not (await transaction.fetch("watch_alone"))[0]["alone"]:
                yield None
                return
            # Locks before anything is read: a training or a person may be about to change the shares.
            await transaction.fetch("lock_models")
            rows = await transaction.fetch("running_canary")
            if not rows:
                yield None
                return
            yield CanaryDesk(transaction, await _canary(transaction, rows[0], self._expectations(rows[0])))

    def _expectations(self, row: dict[str, Any]) -> tuple[Expected, Expected]:
        """The expected scores that are stored with a canary; if they are odd, it is judged without its scores."""
        try:
            return _expected(row["expected"])
        except ValueError as error:
            # A canary is judged every few seconds; one line is enough.
            if row["id"] != self._refused:
                RECORDS_REFUSED.labels("canary").inc()
                log.error("canary: %s is judged without its scores: %s", row["version"], error)  # noqa: TRY400
            self._refused = row["id"]
            return Expected(), Expected()


class CanaryDesk:
    """A running canary and the actions on it, all in one transaction."""

    def __init__(self, transaction: AsyncTransaction, canary: RunningCanary) -> None:
        self._transaction = transaction
        self.canary = canary

    async def step_up(self, share: int, verdict: Verdict) -> None:
        """Give the canary a greater share; at 100 per cent it is promoted."""
        await self._transaction.follow(set_share(self.canary.model_id, share))
        params = {"id": self.canary.id, "share": share, "figures": json.dumps(verdict.figures)}
        await self._transaction.fetch("step_canary", params)
        if share == WHOLE:
            await self.end("promoted", verdict)

    async def roll_back(self, verdict: Verdict) -> None:
        """Give its travellers back to the champion."""
        canary = self.canary
        present = await self._transaction.follow(present_shares())
        changes = {canary.champion_id: present[canary.champion_id] + canary.present, canary.model_id: 0}
        await self._transaction.follow(write_shares(changes))
        await self.end("rolled_back", verdict)

    async def note(self, verdict: Verdict) -> None:
        """Store the reason and the figures, for operators."""
        params = {"id": self.canary.id, "reason": verdict.reason, "figures": json.dumps(verdict.figures)}
        await self._transaction.fetch("note_canary", params)

    async def end(self, status: str, verdict: Verdict) -> None:
        """End the canary without a change of shares."""
        params = {"status": status, "reason": verdict.reason, "figures": json.dumps(verdict.figures)}
        await self._transaction.fetch("end_canary", params)


def _expected(stored: object) -> tuple[Expected, Expected]:
    """The canary's expected scores and the champion's; raises ValueError."""
    if not isinstance(stored, dict):
        raise ValueError("expected scores are not a JSON object")  # noqa: TRY004 - odd data, not a wrong call
    return Expected.from_dict(stored.get("canary")), Expected.from_dict(stored.get("champion"))


async def _canary(
    transaction: AsyncTransaction, row: dict[str, Any], expected: tuple[Expected, Expected]
) -> RunningCanary:
    versions = [row["version"], row["champion_version"]]
    params = {"since": first_task_id(row["stepped_at"]), "most": _MOST_STARTS, "versions": versions}
    traffic = {one["version"]: _traffic(one) for one in await transaction.fetch("canary_traffic", params)}
    return RunningCanary(
        id=row["id"],
        model_id=row["model_id"],
        champion_id=row["champion_id"],
        version=row["version"],
        champion_version=row["champion_version"],
        share=row["share"],
        present=row["use_percentage"],
        seconds=row["seconds"],
        expected=expected,
        traffic=(traffic.get(versions[0], Traffic()), traffic.get(versions[1], Traffic())),
    )


def _traffic(row: dict[str, Any]) -> Traffic:
    return Traffic(row["answers"], row["failures"], row["selections"], row["choices"], row["tops"])
