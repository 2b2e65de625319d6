"""The limits that docs/edge.md names are those that hold."""

from __future__ import annotations

from pathlib import Path

from virke.api.codec import PlainCodec
from virke.api.messages import Request, Response
from virke.api.operations import Run
from virke.api.routes import parse_request
from virke.edge.limits import LIMITS
from virke.engine.bookmarks import WAIT_MOST_S

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


def test_a_bookmark_is_sent_back_as_the_page_says_and_waited_for_as_long() -> None:
    """As a header; a field of the body is an error, and not passed over."""
    bookmark = "main.00000001.0000000000000003.b5e60a97"
    asked = Request("POST", "/db/app/query", "", {"virke-bookmark": bookmark}, b'{"sql": "SELECT 1"}')
    parsed = parse_request(asked, PlainCodec())
    assert isinstance(parsed, Run)
    assert parsed.bookmark == bookmark
    body = b'{"sql": "SELECT 1", "bookmark": "%s"}' % bookmark.encode()
    refused = parse_request(Request("POST", "/db/app/query", "", {}, body), PlainCodec())
    assert isinstance(refused, Response)
    assert refused.status == 400
    assert "Sent back as that header" in PAGE
    assert min(WAIT_MOST_S, LIMITS.wait_s) == 1
    assert "the request waits for it, up to a second, then 503" in PAGE
