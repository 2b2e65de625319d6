"""The limits that docs/edge.md names are those that hold."""

from __future__ import annotations

from pathlib import Path

from virke.edge.limits import LIMITS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "edge.md").read_text()


def test_the_page_names_the_limits_that_hold() -> None:
    mib = 1 << 20
    rows = {
        "read of the KV store": f"{LIMITS.lookups} lookups",
        "ask of object storage": f"{LIMITS.requests} requests",
        "read in all": f"{LIMITS.read_bytes // mib} MiB",
        "use of the processor": f"{LIMITS.cpu_ms:g} ms; {LIMITS.commit_cpu_ms:g} ms before a commit begins",
        "answer": f"{LIMITS.result_bytes // mib} MiB",
        "change": f"{LIMITS.written_bytes // mib} MiB of pages",
        "wait for others": f"{LIMITS.wait_s:g} s, then 503 with `Retry-After`",
    }
    assert [f"| {what} | {most} |" for what, most in rows.items() if f"| {what} | {most} |\n" not in PAGE] == []
