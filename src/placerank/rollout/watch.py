"""The watch over the running canary. It runs in the relay, because a relay always runs; several are harmless."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import psycopg

from placerank.db.shares import WHOLE
from placerank.errors import DatabaseUnavailable
from placerank.rollout.canary import Action, Rules, Verdict, judge
from placerank.telemetry.metrics import CANARIES

if TYPE_CHECKING:
    from placerank.rollout.desk import CanaryDesk, CanaryRepository

log = logging.getLogger(__name__)

_TAKEN_OVER = Verdict(Action.WAIT, "Its share was set by hand.")


class CanaryWatch:
    """Judges the canary every ``interval_s`` seconds and steps it up or rolls it back."""

    def __init__(self, canaries: CanaryRepository, rules: Rules, *, interval_s: float) -> None:
        self._canaries = canaries
        self._rules = rules
        self._interval_s = interval_s

    async def run(self) -> None:
        """Watch until cancelled; outages of the database do not end it."""
        while True:
            try:
                await self.look()
            except (DatabaseUnavailable, psycopg.Error) as error:
                log.warning("canary: %s", " ".join(str(error).split()))
            await asyncio.sleep(self._interval_s)

    async def look(self) -> Action | None:
        """Judge the running canary once and act; none if no canary runs, or another process holds it."""
        async with self._canaries.alone() as desk:
            if desk is None:
                return None
            action = await self._act(desk)
        # Counted here, because the transaction is committed only now.
        if action is Action.ROLL_BACK:
            CANARIES.labels("rolled_back").inc()
        elif action is Action.STEP_UP and self._rules.after(desk.canary.share) == WHOLE:
            CANARIES.labels("promoted").inc()
        return action

    async def _act(self, desk: CanaryDesk) -> Action:
        canary = desk.canary
        if canary.present != canary.share:
            await desk.end("overridden", _TAKEN_OVER)
            return Action.WAIT
        verdict = judge(self._rules, canary.seconds, *canary.traffic, canary.expected)
        if verdict.action is Action.ROLL_BACK:
            await desk.roll_back(verdict)
            log.warning("canary: %s rolled back to %s: %s", canary.version, canary.champion_version, verdict.reason)
        elif verdict.action is Action.STEP_UP:
            share = self._rules.after(canary.share)
            await desk.step_up(share, verdict)
            log.info("canary: %s serves %d per cent now", canary.version, share)
        else:
            await desk.note(verdict)
        return verdict.action
