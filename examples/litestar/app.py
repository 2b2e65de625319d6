"""Users over HTTP, with Litestar. Run it with `python app.py`, or `uvicorn app:app`."""

from dataclasses import dataclass
from typing import Any

from litestar import Litestar, get, post
from litestar.di import Provide

from virke.runtime import VirkeDB, virke

fire, middleware, Bindings = virke(db="my-app-db")


@dataclass
class User:
    """What a new user says."""

    name: str
    email: str


@get("/users")
async def list_users(db: VirkeDB) -> list[Any]:
    result = await db.query("SELECT * FROM users")
    return result.rows


@post("/users", status_code=200)
async def create_user(data: User, db: VirkeDB) -> dict[str, int]:
    created = await db.execute("INSERT INTO users (name, email) VALUES (?, ?)", [data.name, data.email])
    return {"created": created}


app = Litestar(
    route_handlers=[list_users, create_user],
    middleware=[middleware],
    dependencies={"db": Provide(lambda: Bindings.db, sync_to_thread=False)},
)

fire(app)
