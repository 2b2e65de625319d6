"""Users over HTTP, with Starlette. Run it with `python app.py`, or `uvicorn app:app`."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from virke.runtime import virke

fire, middleware, Bindings = virke(db="my-app-db")


async def list_users(request: Request) -> JSONResponse:
    result = await request.state.db.query("SELECT * FROM users")
    return JSONResponse(result.rows)


async def create_user(request: Request) -> JSONResponse:
    user = await request.json()
    created = await request.state.db.execute(
        "INSERT INTO users (name, email) VALUES (?, ?)", [user["name"], user["email"]]
    )
    return JSONResponse({"created": created})


app = Starlette(
    routes=[Route("/users", list_users, methods=["GET"]), Route("/users", create_user, methods=["POST"])],
)
app.add_middleware(middleware)

fire(app)
