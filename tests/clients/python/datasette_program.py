"""Datasette with the plugin of Virke: what it shows, what it costs, what it refuses, as JSON.

`python datasette_program.py STORE NODE TOKEN`: the database `shop` of a store, and of the node that serves it.
"""

import asyncio
import json
import random
import sys
from urllib.parse import urlencode

from datasette.app import Datasette
from datasette.utils import StartupError

import virke
from virke.datasette import VirkeDatabase
from virke.stores.counted import CountingStore
from virke.stores.memory import memory_store

STORE, NODE, TOKEN = sys.argv[1:]
ROWS = 40_000
ENDLESS = "with recursive r(n) as (select 1 union all select n + 1 from r) select count(*) from r"


def filled(store):
    """A database of some 30 MB in one table, and small tables."""
    texts = random.Random(7)
    with virke.create("shop", store) as database:
        database.run_script(
            "CREATE TABLE small (id INTEGER PRIMARY KEY, name TEXT, kind TEXT, data BLOB);"
            "CREATE TABLE big (id INTEGER PRIMARY KEY, small_id INTEGER REFERENCES small(id), body TEXT);"
            "CREATE TABLE ticks (n INTEGER PRIMARY KEY);"
            "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT 12000) INSERT INTO ticks SELECT n FROM r;"
            "CREATE VIRTUAL TABLE notes USING fts5(body); INSERT INTO notes VALUES ('first light'), ('last call');"
        )
        kinds = [(f"n{n} ☃", "even" if n % 2 == 0 else "odd", bytes([n])) for n in range(50)]
        database.executemany("INSERT INTO small (name, kind, data) VALUES (?, ?, ?)", kinds)
        for _ in range(8):
            rows = ((1 + n % 50, texts.randbytes(350).hex()) for n in range(ROWS // 8))
            database.executemany("INSERT INTO big (small_id, body) VALUES (?, ?)", rows)
        while database.upkeep_due:
            database.upkeep()


async def cold(store, path):
    """What one page costs a Datasette that has just begun: its status, requests, bytes, and the page."""
    counted = CountingStore(store)
    datasette = Datasette(memory=False)
    shop = datasette.add_database(VirkeDatabase(datasette, "shop", counted.store), name="shop")
    answer = await datasette.client.get(path)
    shop.close()
    return answer, counted.total


async def costs():
    """Cold pages of a database in memory, and how large it is."""
    store = memory_store()
    filled(store)
    stored = sum(one.size_bytes for blobs in store.blobs.values() for one in blobs.list(""))
    found = {"stored": stored}
    pages = (
        "/",
        "/shop",
        "/shop/small",
        "/shop/big",
        "/shop/big.json?_size=5",
        "/shop/big/20000",
        "/shop/small?_facet=kind",
    )
    for path in pages:
        answer, total = await cold(store, path)
        found[path] = [answer.status_code, total.requests, total.bytes_down, total.bytes_up]
    answer, _ = await cold(store, "/shop/small.json?_shape=array&_facet=kind")
    found["rows"] = len(answer.json())
    answer, _ = await cold(store, "/shop/small.json?_facet=kind")
    found["facet"] = answer.json()["facet_results"]["kind"]["results"][0]["count"]
    answer, _ = await cold(store, "/shop/small.json?_facet=kind&kind=odd")
    found["count"] = answer.json()["filtered_table_rows_count"]
    answer, _ = await cold(store, "/shop/big.json")
    found["count of a big table"] = answer.json()["filtered_table_rows_count"]
    found["suggested"] = answer.json()["suggested_facets"]
    return found


async def answers(shop):
    """What a Datasette with one database says to what visitors ask."""

    async def get(path, **how):
        answer = await datasette.client.get(path, **how)
        return answer.status_code, answer.json()

    datasette = Datasette(
        memory=False,
        metadata={"plugins": {"virke": {"databases": {"shop": shop}}}},
        settings={"sql_time_limit_ms": 30_000},
    )
    await datasette.invoke_startup()
    found = {}
    status, body = await get("/shop/small.json?_shape=objects&_size=1")
    found["row"] = [status, body["rows"]]
    status, body = await get("/shop/big/7.json?_shape=objects")
    found["row of a key"] = [status, body["rows"][0]["small_id"]]
    for name, mode in (("search", ""), ("raw search", "&_searchmode=raw")):
        status, body = await get(f"/shop/notes.json?_search=light&_shape=objects{mode}")
        found[name] = [row["body"] for row in body["rows"]] if status == 200 else [status, body["error"]]
    status, body = await get("/shop.json?sql=select+count(*)+from+ticks")
    found["a count of one's own"] = [status, body["rows"]]
    for _ in range(3):
        status, body = await get(f"/shop.json?{urlencode({'sql': ENDLESS, '_timelimit': 50})}")
        found["endless"] = [status, body["title"]]
    status, body = await get("/shop.json?sql=select+nothing")
    found["bad SQL"] = [status, body["error"]]
    try:
        await datasette.get_database("shop").execute_write("DELETE FROM small")
    except Exception as error:
        found["write"] = [type(error).__name__, str(error)]
    try:
        await datasette.get_database("shop").execute("DELETE FROM small")
    except Exception as error:
        found["write in place of a read"] = type(error).__name__
    status, body = await get("/-/databases.json")
    found["databases"] = [[one["name"], one["size"] > 1_000_000] for one in body]
    datasette.get_database("shop").close()
    return found


async def refusals():
    """What the plugin says to configurations that are none."""
    found = []
    for config in (
        {"database": "shop"},
        {"databases": ["shop"]},
        {"databases": {"shop": {"stoer": STORE}}},
        {"databases": {"gone": {"store": STORE}}},
    ):
        try:
            await Datasette(metadata={"plugins": {"virke": config}}).invoke_startup()
        except StartupError as error:
            found.append(str(error))
    return found


async def main():
    filled(STORE)
    print(
        json.dumps(
            {
                "costs": await costs(),
                "store": await answers({"store": STORE}),
                "node": await answers({"store": NODE, "token": TOKEN or None}),
                "refused": await refusals(),
            }
        )
    )


asyncio.run(main())
