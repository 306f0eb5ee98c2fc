"""The plain service's only task. Started as ``celery -A bench.plain.tasks worker``."""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any

from bench.plain.tables import Result, engine, places, traveller_of
from celery import Celery
from sqlalchemy.orm import Session

if TYPE_CHECKING:
    from placerank.ranking.scoring.scorer import Scorer

app = Celery("plain", broker=os.environ["CELERY_BROKER_URL"], backend=os.environ["CELERY_BACKEND_URL"])
app.conf.task_default_queue = "plain"
app.conf.task_acks_late = True


@cache
def scorer() -> Scorer:
    """The model of this process, loaded at the first call. The API imports this module too, but never calls this."""
    import torch

    from placerank.ranking.catalogue import PlaceTable
    from placerank.ranking.prior import prior
    from placerank.ranking.scoring.scorer import Scorer

    torch.set_num_threads(1)
    return Scorer(prior(), PlaceTable.from_places(1, places()))


@app.task(bind=True)  # type: ignore[untyped-decorator]
def rank(self: Any, traveller: dict[str, Any]) -> list[dict[str, Any]]:
    """Score every place, store every score, and return the best ten."""
    found = scorer()
    (ranking,) = found.rank([traveller_of(traveller)], len(found.table))
    ranked = list(zip(ranking.scores, (found.table.place(row) for row in ranking.rows), strict=True))
    with Session(engine()) as session:
        session.add_all(
            Result(inference_id=self.request.id, location_id=place.location_id, position=position, score=score)
            for position, (score, place) in enumerate(ranked)
        )
        session.commit()
    return [{"score": score, **asdict(place)} for score, place in ranked[:10]]
