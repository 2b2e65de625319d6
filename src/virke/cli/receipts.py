"""What a command cost, from opening the database to its result: `--meta`.

The engine is imported here, when a command runs, and not before. What a node does is counted by the node, for the statement.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from virke.cli.state import State, counted_noun, size_text
from virke.cli.target import store_of
from virke.config import is_node

if TYPE_CHECKING:
    from virke.engine.results import Meta, QueryResult

Charge = Callable[[Callable[[bool], "QueryResult"]], "QueryResult"]
"""Makes a call, which learns whether its receipt is counted where it is carried out; its result has the receipt."""


@contextmanager
def counting_costs(state: State, wanted: bool) -> Iterator[Charge]:
    """Count what the block costs if it is wanted; after the block, note it (in JSON it is in the result)."""
    if not wanted:
        yield lambda call: call(False)
        return
    import virke.opening  # noqa: F401  # what it takes to load is not what the command costs
    from virke.stores.receipt import Receipt, writing_receipt

    receipt, began = Receipt(), time.perf_counter()
    charged: list[Meta] = []
    is_far = is_node(store_of(state).url)

    def charge(call: Callable[[bool], QueryResult]) -> QueryResult:
        result = call(is_far)
        meta = result.meta if is_far else result.with_receipt(receipt, time.perf_counter() - began).meta
        assert meta is not None, "it was charged"
        charged.append(meta)
        return result

    with writing_receipt(receipt):
        yield charge
    if not state.json:
        for meta in charged:
            state.note(receipt_line(meta))


def receipt_line(meta: Meta) -> str:
    """A receipt on one line."""
    parts = [
        counted_noun(meta.round_trips, "round trip"),
        counted_noun(meta.requests, "request"),
        f"{size_text(meta.bytes_down)} down",
        f"{size_text(meta.bytes_up)} up",
        counted_noun(meta.cache_hits, "cache hit"),
        counted_noun(meta.pages_read, "page"),
    ]
    phases = [f"{name} {ms:.1f}" for name, ms in (("root", meta.root_ms), ("fetch", meta.fetch_ms)) if ms]
    phases += [f"commit {meta.commit_ms:.1f}"] if meta.commit_ms else []
    return f"{', '.join(parts)}; {meta.total_ms:.1f} ms ({', '.join([*phases, f'sql {meta.sql_ms:.1f}'])})"


def meta_json(result: QueryResult) -> dict[str, object]:
    """The receipt of a result as JSON shows it; nothing if there is none."""
    if result.meta is None:
        return {}
    fields = {key: round(value, 3) if isinstance(value, float) else value for key, value in asdict(result.meta).items()}
    return {"meta": fields}
