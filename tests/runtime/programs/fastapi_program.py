"""FastAPI: `Depends` in async and threaded endpoints, a dependency that yields, typed parameters."""

# mypy: disable-error-code="str-bytes-safe"
from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

from fastapi import BackgroundTasks, Depends, FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from virke import errors
from virke.runtime import AsyncVirkeDB, SyncVirkeDB, virke

fire, middleware, Bindings = virke(db=os.environ["APP_DB"])

app = FastAPI()
app.add_middleware(middleware)

AsyncDB = Annotated[AsyncVirkeDB, Depends(lambda: Bindings.db)]
SyncDB = Annotated[SyncVirkeDB, Depends(lambda: Bindings.db)]


class Item(BaseModel):
    """What is written."""

    name: str


def yielding() -> Iterator[SyncVirkeDB]:
    yield Bindings.db


@app.post("/write")
async def write(item: Item, db: AsyncDB) -> dict[str, Any]:
    wrote = await db.execute("INSERT INTO item (name) VALUES (?)", [item.name])
    return {"wrote": wrote, "bookmark": Bindings.db.bookmark}


@app.post("/write-in-a-thread")
def write_in_a_thread(db: SyncDB) -> dict[str, Any]:
    wrote = db.execute("INSERT INTO item (name) VALUES ('threaded')")
    return {"wrote": wrote, "bookmark": Bindings.db.bookmark}


@app.get("/read")
async def read(db: AsyncDB) -> list[Any]:
    return list((await db.query("SELECT name FROM item ORDER BY id")).rows)


@app.get("/read-in-a-thread")
def read_in_a_thread(db: Annotated[SyncVirkeDB, Depends(yielding)]) -> list[Any]:
    return list(db.query("SELECT name FROM item ORDER BY id").rows)


@app.get("/stream")
async def stream(db: AsyncDB) -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        for (name,) in (await db.query("SELECT name FROM item ORDER BY id")).rows:
            yield f"{name}\n"
        yield f"{(await Bindings.db.query('SELECT count(*) FROM item')).rows[0][0]} in all\n"

    return StreamingResponse(lines())


@app.post("/in-the-background")
def in_the_background(tasks: BackgroundTasks, db: SyncDB) -> dict[str, bool]:
    tasks.add_task(db.execute, "INSERT INTO item (name) VALUES ('later')")
    return {"queued": True}


@app.get("/fail")
async def fail(kind: str) -> None:
    raise getattr(errors, kind)("said on purpose")


@app.get("/broken")
async def broken(db: AsyncDB) -> list[Any]:
    return list((await db.query("SELECT * FROM no_such_table")).rows)


@app.get("/refused")
def refused(db: SyncDB) -> int:
    return db.execute("INSERT INTO item (name) VALUES (NULL)")


fire(app)
