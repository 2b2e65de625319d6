"""Users over HTTP, with Flask. Run it with `python app.py`, or `gunicorn --workers 2 --threads 8 app:app`."""

from flask import Flask, Response, jsonify, request

from virke.runtime import virke

fire, middleware, Bindings = virke(db="my-app-db")

app = Flask(__name__)
middleware(app)


@app.get("/users")
def list_users() -> Response:
    result = Bindings.db.query("SELECT * FROM users")
    return jsonify(result.rows)


@app.post("/users")
def create_user() -> Response:
    user = request.get_json()
    created = Bindings.db.execute("INSERT INTO users (name, email) VALUES (?, ?)", [user["name"], user["email"]])
    return jsonify(created=created)


fire(app)
