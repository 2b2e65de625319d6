"""What the URL of a Valkey store says, what it must not say, and that no password gets out of it."""

from __future__ import annotations

import pytest

from virke.errors import UsageError
from virke.stores.valkey.store import valkey_store
from virke.stores.valkey.url import Address, parse_address

OPTIONS = "prefix, timeout_s, wait_aof, wait_ms, wait_replicas"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("valkey://db", Address("db")),
        ("valkey://DB:7000/", Address("db", port=7000)),
        ("redis://127.0.0.1/12", Address("127.0.0.1", db=12)),
        ("rediss://[::1]:1/0", Address("::1", port=1, tls=True)),
        ("valkeys://u%40:p%2F%23@h", Address("h", username="u@", password="p/#", tls=True)),
        ("valkey://:p@h", Address("h", password="p")),
        ("valkey://u@h", Address("h", username="u")),
        ("valkey://h/?prefix=a/b%2Fc", Address("h", prefix="a/b/c")),
        (
            "valkey://h/1?timeout_s=2.5&wait_replicas=2&wait_aof=1&wait_ms=50",
            Address("h", 6379, 1, None, None, False, "virke", 2.5, 2, 1, 50),
        ),
        ("valkey://h?wait_aof=0&timeout_s=0.01", Address("h", timeout_s=0.01)),
    ],
)
def test_a_url_says_who_asks_where_and_how(url: str, address: Address) -> None:
    assert parse_address(url) == address


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://H?timeout_s=3&wait_replicas=1", "valkey://h:6379/0"),
        ("rediss://[::1]:7/3?prefix=virke", "valkeys://[::1]:7/3"),
        ("valkey://user:s3cret@h?prefix=a/b", "valkey://user:***@h:6379/0?prefix=a/b"),
        ("valkey://:s3cret@h/", "valkey://:***@h:6379/0"),
        ("valkey://us%40er@h", "valkey://us%40er@h:6379/0"),
    ],
)
def test_a_store_tells_its_place_without_password_and_options(url: str, place: str) -> None:
    """Equal for equal places, however they are written, so that what is kept under it is found again."""
    store = valkey_store(url)
    assert store.url == place
    assert "s3cret" not in repr(store) + repr(parse_address(url))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://h", "begins with valkey://, valkeys://, redis://, rediss://"),
        ("valkey:h", "names a host"),
        ("valkey:///0", "names a host"),
        ("valkey://h:0", "no port 0"),
        ("valkey://u:s3cret@h:x", "port of a store URL can't be read"),
        ("valkey://u:s3cret@h:70000", "port of a store URL can't be read"),
        ("valkey://u:s3cret@[h", "host or the port of a store URL can't be read"),
        ("valkey://u:s3cret#1@h", "no port 0|can't be read|%23"),
        ("valkey://h/#x", "%23"),
        ("valkey://h/x", "the number of a database"),
        ("valkey://h/1/2", "the number of a database"),
        ("valkey://h/1/", "the number of a database"),
        ("valkey://h//1", "the number of a database"),
        ("valkey://h/-1", "the number of a database"),
        ("valkey://h?password=s3cret", f"unknown option 'password' .* known: {OPTIONS}"),
        ("valkey://h?Prefix=a", f"known: {OPTIONS}"),
        ("valkey://h?prefix", "name=value"),
        ("valkey://h?prefix=", "option prefix"),
        ("valkey://h?prefix=/a", "of a store is like a key"),
        ("valkey://h?prefix=a/", "of a store is like a key"),
        ("valkey://h?prefix=a/../b", "of a store is like a key"),
        ("valkey://h?prefix=a:b", "of a store is like a key"),
        ("valkey://h?prefix=a*", "of a store is like a key"),
        ("valkey://h?prefix=a&prefix=b", "given twice"),
        ("valkey://h?timeout_s=0", "seconds above 0"),
        ("valkey://h?timeout_s=0.0", "seconds above 0"),
        ("valkey://h?timeout_s=-1", "seconds above 0"),
        ("valkey://h?timeout_s=inf", "seconds above 0"),
        ("valkey://h?wait_replicas=one", "a whole number"),
        ("valkey://h?wait_replicas=-1", "a whole number"),
        ("valkey://h?wait_replicas=٣", "a whole number"),
        ("valkey://h?wait_aof=2", "0 or 1"),
        ("valkey://h?wait_aof=yes", "0 or 1"),
        ("valkey://h?wait_ms=0", "milliseconds above 0"),
        ("valkey://h?wait_replicas=1&wait_ms=10000", "not below timeout_s=10"),
        ("valkey://h?wait_replicas=1&wait_aof=1&wait_ms=500&timeout_s=1", "raise timeout_s"),
    ],
)
def test_what_is_not_understood_is_wrong_usage(url: str, says: str) -> None:
    """The message tells what is known, and never a password."""
    with pytest.raises(UsageError, match=says) as caught:
        valkey_store(url)
    assert "s3cret" not in str(caught.value)
