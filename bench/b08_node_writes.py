"""B8: INSERTs of many clients over HTTP, in turns with a real sqld; also with readers beside them, and with a store 25 ms away.

Clients' batches and interactive transactions too.

Ours are durable when they are answered, sqld's are not: it syncs a commit now and then. Rows are counted afterwards.
"""

from __future__ import annotations

from statistics import median
from typing import Final

from bench.beside import Measured, Served, a_node, a_sqld, in_turns, measure, typical
from bench.far import distant, prefix, s3
from bench.load import Load, Running
from bench.report import Figure

WRITERS: Final = ((16, 5.0, 12.0), (64, 10.0, 45.0))
"""Clients, what they are to be beside sqld, and beside one writer with a store far away."""
SECONDS: Final = 3.0
FAR_SECONDS: Final = 5.0
ROUNDS: Final = 3
DELAY_MS: Final = 25
MIXED_READERS: Final = 16
MIXED_WRITERS: Final = 8


def run() -> list[Figure]:
    """Near, mixed, and far."""
    figures = _near("write", 1, "1 writer")
    for clients, least, _ in WRITERS:
        figures += _near("write", clients, f"{clients} writers", least)
    with a_node() as node, a_sqld() as sqld:
        figures += _mixed(node, sqld)
    for kind in ("batch", "transaction"):
        figures += _near(kind, MIXED_WRITERS, f"{kind}, {MIXED_WRITERS} clients")
    return figures + _far()


def _near(kind: str, clients: int, who: str, least: float | None = None) -> list[Figure]:
    """Both servers new for each load: how one of them ends must not be the next one's beginning."""
    with a_node() as node, a_sqld() as sqld:
        return _compared(who, in_turns((node, sqld), kind, clients, seconds=SECONDS, rounds=ROUNDS), least)


def _compared(who: str, found: dict[str, Measured], least: float | None) -> list[Figure]:
    node, sqld = found["node"], found["sqld"]
    return [
        Figure("B8", f"{who}: rate against sqld's", node.load.rate / sqld.load.rate, "×", at_least=least),
        Figure("B8", f"{who}: rate", node.load.rate, "/s"),
        Figure("B8", f"{who}: CPU against sqld's", node.cpu_us / sqld.cpu_us, "×"),
        Figure("B8", f"{who}: CPU", node.cpu_us, "µs"),
        Figure("B8", f"{who}: errors", node.load.wrong, "", at_most=0),
    ]


def _mixed(node: Served, sqld: Served) -> list[Figure]:
    """16 readers and 8 writers at the same time."""
    reads: dict[str, list[Measured]] = {"node": [], "sqld": []}
    writes: dict[str, list[Load]] = {"node": [], "sqld": []}
    for _ in range(ROUNDS):
        for server in (node, sqld):
            writers = Running(server.url, "write", MIXED_WRITERS, SECONDS)
            reads[server.name].append(measure(server, "read", MIXED_READERS, SECONDS))
            writes[server.name].append(writers.result())
    read = {name: typical(found).load.rate for name, found in reads.items()}
    write = {name: median(_answered(found)) for name, found in writes.items()}
    return [
        Figure("B8", "mixed: reads against sqld's", read["node"] / read["sqld"], "×", at_least=4),
        Figure("B8", "mixed: writes against sqld's", write["node"] / write["sqld"], "×", at_least=1.2),
        Figure("B8", "mixed: reads", read["node"], "/s"),
        Figure("B8", "mixed: writes", write["node"], "/s"),
    ]


def _answered(found: list[Load]) -> list[float]:
    """The rates of the rounds in which anything was answered: next to readers sqld sometimes takes no write at all."""
    return [one.rate for one in found if one.rate] or [float("nan")]


def _far() -> list[Figure]:
    """Writers on a node whose store is 25 ms away, against one writer on the same."""
    with s3() as server, distant(server, DELAY_MS) as far, a_node(far.url(prefix())) as node:
        rate = {clients: measure(node, "write", clients, FAR_SECONDS).load.rate for clients in (1, 16, 64)}
    serial = rate[1]
    figures = [Figure("B8", f"store at {DELAY_MS} ms, 1 writer", serial, "rows/s")]
    for clients, _, least in WRITERS:
        what = f"store at {DELAY_MS} ms, {clients} writers against one"
        figures.append(Figure("B8", what, rate[clients] / serial, "×", at_least=least))
    return figures
