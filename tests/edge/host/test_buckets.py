"""A store's object tier as a bucket: what S3 promises, and the same objects."""

from __future__ import annotations

from virke.core.effects import Tier
from virke.edge.host.buckets import Bucket
from virke.edge.host.exchange import Request
from virke.stores.base import Range
from virke.stores.memory import memory_store

NEW = (("if-none-match", "*"),)


def test_objects_are_those_of_the_store_and_are_never_replaced() -> None:
    blobs = memory_store().blobs[Tier.OBJECT]
    bucket = Bucket(blobs)
    url = "https://objects.test/store/d/a%3D1"
    assert bucket(Request("GET", url)).status == 404
    assert bucket(Request("PUT", url, (), b"0123456789")).status == 400
    assert bucket(Request("PUT", url, NEW, b"0123456789")).status == 200
    assert bucket(Request("PUT", url, NEW, b"0123456789")).status == 412
    assert blobs.get([Range("d/a=1")]) == [b"0123456789"]
    assert bucket(Request("GET", url)).body == b"0123456789"
    assert bucket(Request("DELETE", url)).status == 204
    assert bucket(Request("GET", url)).status == 404


def test_ranges_are_cut_at_the_end_and_refused_behind_it() -> None:
    blobs = memory_store().blobs[Tier.OBJECT]
    blobs.put_new("a", b"0123456789")
    bucket = Bucket(blobs)

    def asked(span: str) -> tuple[int, bytes]:
        answer = bucket(Request("GET", "https://objects.test/store/a", (("range", span),)))
        return answer.status, answer.body

    assert asked("bytes=2-4") == (206, b"234")
    assert asked("bytes=7-") == (206, b"789")
    assert asked("bytes=8-99") == (206, b"89")
    assert asked("bytes=10-12") == (416, b"")


def test_what_is_of_another_bucket_or_not_understood_is_refused() -> None:
    bucket = Bucket(memory_store().blobs[Tier.OBJECT])
    assert bucket(Request("GET", "https://objects.test/other/a")).status == 404
    assert bucket(Request("POST", "https://objects.test/store/a")).status == 405
    assert bucket(Request("GET", "https://objects.test/store/../a")).status == 400
