"""Users over HTTP from any number of processes on one bucket. README.md says how to set it up.

PORT=3001 python app.py & PORT=3002 python app.py
"""

from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel

from virke.runtime import AsyncVirkeDB, virke

fire, middleware, Bindings = virke(db="my-app-db")

app = FastAPI()
app.add_middleware(middleware)

DB = Annotated[AsyncVirkeDB, Depends(lambda: Bindings.db)]


class User(BaseModel):
    """What a new user says."""

    name: str
    email: str


@app.get("/users")
async def list_users(db: DB) -> list[Any]:
    return list((await db.query("SELECT id, name, email FROM users ORDER BY id")).rows)


@app.post("/users")
async def create_user(user: User, db: DB) -> dict[str, int]:
    created = await db.execute("INSERT INTO users (name, email) VALUES (?, ?)", [user.name, user.email])
    return {"created": created}


@app.post("/users/{user_id}/rename")
async def rename_user(user_id: int, name: str, db: DB) -> dict[str, str]:
    async with db.transaction() as transaction:  # what it reads is what it changes, whoever else writes meanwhile
        found = (await transaction.query("SELECT name FROM users WHERE id = ?", [user_id])).rows
        if not found:
            raise HTTPException(404, "no such user")
        await transaction.execute("UPDATE users SET name = ? WHERE id = ?", [name, user_id])
    return {"was": str(found[0][0]), "is": name}


fire(app)
