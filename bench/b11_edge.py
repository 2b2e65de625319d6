"""B11 at the edge: Virke and the model that it replaces, both as components of the same host, on the same 20 MB.

A latency is what the request waits for, and its instructions at three million a millisecond, about what a processor does. Nothing
sleeps and nothing is timed, so the figures are the same on any machine. Copying bytes into and out of the sandbox is charged to neither, which
helps the model: it moves 20 MB. Two lines: 9 ms a lookup and 430 ms a write, whatever their size (the lower ends of the model's own
table, as if its 20 MB weighed nothing), and what that table implies for the sizes that it gives (`b11_whole_image`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.b11_whole_image import OPERATIONS, Operation
from bench.data import load_image, shop_image
from bench.report import Figure
from tests.edge.component import component, why_not
from tests.edge.serving import NAME, Edge, edge, kv_like
from virke.edge.building.component import ENTRY
from virke.edge.host.exchange import Response
from virke.edge.host.faults import Faults
from virke.edge.host.host import Host
from virke.edge.host.items import MemoryItems, Write
from virke.edge.host.sandbox import INSTRUCTIONS_A_MS
from virke.engine.catalog import make_database
from virke.engine.database import Database
from virke.engine.environment import Environment

LINES: Final = (
    ("9/430 ms", Faults(lookup_s=0.009, write_s=0.430, sleeps=False)),
    ("9/421 ms, 180/13 MB/s", Faults(0.009, 0.421, 180e6, 13e6, sleeps=False)),
)
LIMITED: Final = ("too_large", "timed_out")
"""What a request ends as that wants more than the platform lets it have; Virke alone has these limits here."""
BYTES_FACTOR: Final = 50
OVER_WRITE_MS: Final = 20
TABLE_MS: Final = {
    "SELECT of one row": 9,
    "SELECT with JOIN, 100 rows": 25,
    "aggregation of 400 rows": 50,
    "INSERT": 430,
    "INSERT of 100 rows": 800,
}
"""The lower ends of the model's own table."""
_GUEST: Final = Path(__file__).with_name("whole_image_guest.py")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one request takes, and moves; `refused` is why it was not carried out, and "" if it was."""

    ms: float
    moved_bytes: int
    instructions: int
    refused: str = ""


Ask = Callable[[Operation, int, bool], Response]


def cost(ask: Ask, operation: Operation, number: int, *, fresh: bool) -> Cost:
    """One request."""
    response = ask(operation, number, fresh)
    refused = "" if response.status == 200 else json.loads(response.body)["error"]["code"]
    assert refused in ("", *LIMITED), response.body
    counts = response.counts
    ms = counts.waited_s * 1000 + counts.fuel / INSTRUCTIONS_A_MS
    return Cost(ms, counts.bytes + counts.write_bytes, counts.fuel, refused)


def image_host(faults: Faults) -> tuple[Host, Ask]:
    """The model, with the shop as its image."""
    items = MemoryItems()
    items.insert(Write("image", shop_image()))
    host = Host(component({f"{ENTRY}.py": _GUEST.read_bytes()}), kv=items, faults=faults, fuel=True)

    def ask(operation: Operation, number: int, _fresh: bool) -> Response:
        asked = {"sql": operation.sql, "params": operation.parameters(number), "writes": operation.writes}
        return host.request("POST", "/", body=json.dumps(asked).encode())

    return host, ask


def of_virke(app: Edge) -> Ask:
    """Virke, by its API and with its token."""

    def ask(operation: Operation, number: int, fresh: bool) -> Response:
        given = [list(one) for one in operation.parameters(number)]
        if len(given) > 1:
            steps = [{"sql": operation.sql, "params": one} for one in given]
            said = app.ask("POST", f"/db/{NAME}/batch", {"statements": steps}, fresh=fresh)
        else:
            path = "execute" if operation.writes else "query"
            said = app.ask("POST", f"/db/{NAME}/{path}", {"sql": operation.sql, "params": given[0]}, fresh=fresh)
        app.host.settle()
        return said.response

    return ask


def compare(faults: Faults) -> dict[str, dict[str, Cost]]:
    """Each row of the table: the model, Virke in a new sandbox, and in one that is used again."""
    store = kv_like()
    make_database(store, NAME, Environment(), if_not_exists=False, page_size=4096)
    with Database(store, NAME) as database:
        database.change_settings({"tier": "kv"})
        load_image(database, shop_image())
    host, image = image_host(faults)
    found: dict[str, dict[str, Cost]] = {}
    try:
        with edge(component(), store, faults=faults, with_token=True, reuse=1000, fuel=True) as app:
            virke = of_virke(app)
            for operation in OPERATIONS:
                cold = cost(virke, operation, 3, fresh=True)
                cost(virke, operation, 4, fresh=False)
                warm = cost(virke, operation, 4, fresh=False)
                found[operation.name] = {"image": cost(image, operation, 3, fresh=True), "cold": cold, "warm": warm}
    finally:
        host.close()
    return found


def run() -> list[Figure]:
    """The table, then bytes of an INSERT."""
    if reason := why_not():
        return [Figure("B11", f"at the edge, not measured: {reason}", 0, "")]
    return [figure for name, faults in LINES for figure in table(name, faults)]


def table(line: str, faults: Faults) -> list[Figure]:
    """Each row on one line, then bytes of an INSERT."""
    figures = []
    for name, ways in compare(faults).items():
        image = ways["image"]
        is_write = name.startswith("INSERT")
        for way in ("cold", "warm"):
            virke = ways[way]
            if virke.refused:
                ended = f"{virke.refused} after {virke.ms:,.3g} ms, {virke.moved_bytes:,} bytes"
                what = f"{name}, at the edge, {line}, {way}: {image.ms:,.0f} ms → {ended} (seed's table: ≥ {TABLE_MS[name]} ms)"
                figures.append(Figure("B11", what, 0, "× less latency", at_least=1))
                continue
            what = f"{name}, at the edge, {line}, {way}: {image.ms:,.0f} ms → {virke.ms:,.3g} ms (seed's table: ≥ {TABLE_MS[name]} ms)"
            figures.append(Figure("B11", what, image.ms / virke.ms, "× less latency", at_least=1))
            if is_write:
                over = virke.ms - faults.write_takes_s(0) * 1000
                figures.append(
                    Figure("B11", f"{name}, {line}, {way}: beyond its one write", over, "ms", at_most=OVER_WRITE_MS)
                )
            if name == "INSERT":
                times = image.moved_bytes / virke.moved_bytes
                moved = f"{name}, at the edge, {way}: {image.moved_bytes:,} → {virke.moved_bytes:,} bytes"
                figures.append(Figure("B11", moved, times, "× fewer bytes", at_least=BYTES_FACTOR))
    return figures
