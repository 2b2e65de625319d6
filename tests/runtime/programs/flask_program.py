"""Flask: views in threads and processes, async views, streams, the app's own handlers of errors."""

# mypy: disable-error-code="str-bytes-safe"
from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, jsonify, request, stream_with_context

from virke import errors
from virke.engine.transaction import Transaction
from virke.runtime import virke

fire, middleware, Bindings = virke(db=os.environ["APP_DB"])

app = Flask(__name__)
middleware(app)


@app.post("/write")
def write() -> Response:
    wrote = Bindings.db.execute("INSERT INTO item (name) VALUES (?)", [request.get_json()["name"]])
    same = request.environ["virke.db"] is Bindings.db
    return jsonify(wrote=wrote, bookmark=Bindings.db.bookmark, same=same)


@app.post("/write-async")
async def write_async() -> Response:
    wrote = await Bindings.db.execute("INSERT INTO item (name) VALUES ('awaited')")
    return jsonify(wrote=wrote, bookmark=Bindings.db.bookmark)


@app.get("/read")
def read() -> Response:
    return jsonify(Bindings.db.query("SELECT name FROM item ORDER BY id").rows)


@app.get("/read-async")
async def read_async() -> Response:
    return jsonify((await Bindings.db.query("SELECT name FROM item ORDER BY id")).rows)


@app.get("/stream")
def stream() -> Response:
    def lines() -> Iterator[str]:
        with Bindings.db.query_rows("SELECT name FROM item ORDER BY id") as rows:
            for (name,) in rows:
                yield f"{name}\n"
        yield f"{Bindings.db.query('SELECT count(*) FROM item').rows[0][0]} in all\n"

    return Response(stream_with_context(lines()))


@app.post("/everything")
def everything() -> Response:
    db = Bindings.db
    said: dict[str, Any] = {}
    with db.transaction() as transaction:
        transaction.execute("INSERT INTO item (name) VALUES ('in a transaction')")
    said["transaction"] = db.bookmark
    try:
        with db.transaction() as transaction:
            transaction.execute("INSERT INTO item (name) VALUES ('taken back')")
            raise KeyError("changed its mind")
    except KeyError:
        said["rolled back"] = db.bookmark

    def again(transaction: Transaction) -> int:
        return transaction.execute("INSERT INTO item (name) VALUES ('again')")

    said["run_transaction"] = db.run_transaction(again)
    said["batch"] = [one.rows_affected for one in db.batch(["INSERT INTO item (name) VALUES ('b')", "SELECT 1"])]
    said["executemany"] = db.executemany("INSERT INTO item (name) VALUES (?)", [["m"], ["n"]])
    said["run_script"] = db.run_script("SELECT 1; SELECT count(*) FROM item").rows
    said["run"] = db.run("INSERT INTO item (name) VALUES ('r') RETURNING name").rows
    said["schema"] = [entry.name for entry in db.schema("item")]
    said["bookmark"] = db.bookmark
    return jsonify(said)


@app.get("/own-thread")
def own_thread() -> Response:
    said: list[str] = []

    def work() -> None:
        try:
            said.append(repr(Bindings.db))
        except errors.UsageError as error:
            said.append(error.message)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return jsonify(said)


@app.get("/fail")
def fail() -> Response:
    raise getattr(errors, request.args["kind"])("said on purpose")


@app.get("/broken")
def broken() -> Response:
    return jsonify(Bindings.db.query("SELECT * FROM no_such_table").rows)


@app.get("/refused")
def refused() -> Response:
    return jsonify(Bindings.db.execute("INSERT INTO item (name) VALUES (NULL)"))


@app.errorhandler(errors.TooLarge)
def shown(error: errors.TooLarge) -> tuple[str, int]:
    return f"the app's own: {error}", 418


fire(app)
