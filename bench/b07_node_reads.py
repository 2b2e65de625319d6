"""B7: point reads over HTTP (`/v2/pipeline`), in turns with a real sqld and with a server that answers a constant."""

from __future__ import annotations

from typing import Final

from bench.beside import Measured, Served, a_constant, a_node, a_sqld, in_turns, measure, typical
from bench.load import Running
from bench.report import Figure

CLIENTS: Final = (1, 16, 64)
SECONDS: Final = 3.0
ROUNDS: Final = 3
POINT_READERS: Final = 15


def run() -> list[Figure]:
    """At 1, 16 and 64 connections, and next to a query that takes long."""
    with a_node() as node, a_sqld() as sqld, a_constant() as constant:
        figures: list[Figure] = []
        for clients in CLIENTS:
            found = in_turns((node, sqld, constant), "read", clients, seconds=SECONDS, rounds=ROUNDS)
            figures += _compared(clients, found)
        return figures + _beside_a_long_query(node, sqld)


def _compared(clients: int, found: dict[str, Measured]) -> list[Figure]:
    node, sqld, constant = found["node"], found["sqld"], found["constant"]
    who = f"{clients} connections" if clients > 1 else "1 connection"
    return [
        Figure("B7", f"{who}: CPU against sqld's", node.cpu_us / sqld.cpu_us, "×", at_most=0.2),
        Figure("B7", f"{who}: CPU against a constant's", node.cpu_us / constant.cpu_us, "×", at_most=2),
        Figure("B7", f"{who}: rate against sqld's", node.load.rate / sqld.load.rate, "×"),
        Figure("B7", f"{who}: rate", node.load.rate, "reads/s"),
        Figure("B7", f"{who}: CPU of a read", node.cpu_us, "µs"),
        Figure("B7", f"{who}: 99th percentile", node.load.tail_ms, "ms"),
        Figure("B7", f"{who}: errors", node.load.wrong, "", at_most=0),
    ]


def _beside_a_long_query(*servers: Served) -> list[Figure]:
    """Point reads alone and with one client more, which asks something long again and again."""
    figures = []
    for server in servers:
        alone, together = [], []
        for _ in range(ROUNDS):
            alone.append(measure(server, "read", POINT_READERS, SECONDS))
            long = Running(server.url, "long", 1, SECONDS)
            together.append(measure(server, "read", POINT_READERS, SECONDS))
            long.result()
        share = typical(together).load.rate / typical(alone).load.rate
        least = 0.7 if server.name == "node" else None
        figures.append(Figure("B7", f"{server.name}: rate beside a long query, of itself", share, "×", at_least=least))
    return figures
