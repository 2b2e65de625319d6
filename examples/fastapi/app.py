"""Users over HTTP, with FastAPI. Run it with `python app.py`, or `uvicorn app:app`."""

from typing import Annotated, Any

from fastapi import Depends, FastAPI
from pydantic import BaseModel

from virke.runtime import VirkeDB, virke

fire, middleware, Bindings = virke(db="my-app-db")

app = FastAPI()
app.add_middleware(middleware)

DB = Annotated[VirkeDB, Depends(lambda: Bindings.db)]


class User(BaseModel):
    """What a new user says."""

    name: str
    email: str


@app.get("/users")
async def list_users(db: DB) -> list[Any]:
    result = await db.query("SELECT * FROM users")
    return result.rows


@app.post("/users")
async def create_user(user: User, db: DB) -> dict[str, int]:
    created = await db.execute("INSERT INTO users (name, email) VALUES (?, ?)", [user.name, user.email])
    return {"created": created}


@app.get("/users/{user_id}")
def one_user(user_id: int, db: DB) -> list[Any]:  # not async: FastAPI runs it in a thread, where nothing is awaited
    return db.query("SELECT * FROM users WHERE id = ?", [user_id]).rows


fire(app)
