"""The plain service's routes. Started as ``uvicorn bench.plain.app:app``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from bench.plain import tasks
from bench.plain.tables import Base, Inference, User, engine
from celery.result import AsyncResult
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy.orm import Session

from placerank.schema.traveller import TravellerBody


class Selection(BaseModel):
    task_id: str
    location_id: int


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    Base.metadata.create_all(engine())
    yield


app = FastAPI(lifespan=lifespan)


@app.post("/inference/start")
def start(body: TravellerBody) -> dict[str, str]:
    task_id, traveller = str(uuid4()), body.model_dump(mode="json")
    with Session(engine()) as session:
        user = User(traveller=traveller)
        session.add(user)
        session.flush()
        session.add(Inference(id=task_id, user_id=user.id))
        session.commit()
    tasks.rank.apply_async((traveller,), task_id=task_id)
    return {"task_id": task_id, "status": "PENDING", "type": "inference"}


@app.get("/inference/status/{task_id}")
def status(task_id: str) -> dict[str, str]:
    return {"task_id": task_id, "status": AsyncResult(task_id, app=tasks.app).status}


@app.get("/inference/results/{task_id}")
def results(task_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = AsyncResult(task_id, app=tasks.app).get(timeout=1)
    return found


@app.put("/inference/select/")
def select(selection: Selection) -> dict[str, Any]:
    with Session(engine()) as session:
        inference = session.get(Inference, selection.task_id)
        if inference is None:
            raise HTTPException(404)
        inference.choice = selection.location_id
        session.commit()
    return selection.model_dump()
