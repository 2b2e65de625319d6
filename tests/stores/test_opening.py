"""Which store a URL means, what it may say, and what happens without the library it needs."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest

from tests.servers.fastly_kv import TOKEN, KvServer
from tests.servers.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.servers.valkey import ValkeyServer
from virke.config import StoreChoice
from virke.core.effects import Tier
from virke.errors import Invalid, UsageError
from virke.opening import connect, open_store
from virke.stores.base import Range
from virke.stores.by_url import CACHE_VARIABLE, _cache_folder, open_url
from virke.stores.cached.blobs import CachedBlobs
from virke.stores.composite import composite_store
from virke.stores.memory import memory_store
from virke.stores.object.url import object_place
from virke.stores.receipt import Receipt, metered_store, writing_receipt

SECRETS = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY}
_numbers = itertools.count()


@pytest.fixture(autouse=True)
def no_secrets_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither credentials nor a cache of the machine."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "FASTLY_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://host/x", "unknown store"),
        ("s3:bucket", "needs a bucket"),
        ("s3:///prefix", "needs a bucket"),
        ("local:", "names no folder"),
        ("my-app:data", "unknown store my-app:"),
        ("local:~nobody-here/x", "no such home folder"),
        ("memory:", "not a memory store"),
        ("memory://a b", "name"),
        ("s3://bucket/pre fix", "prefix"),
        ("s3://bucket/" + "x" * 512, "at most"),
        ("s3://key:secret@bucket/x", "no credentials"),
        ("s3://bucket?secret_access_key=x", "does not belong in a store URL"),
        ("s3://bucket?colour=red", "known: cdn_url, create_only"),
        ("s3://bucket?region=a&region=b", "given twice"),
        ("s3://bucket?region=", "empty"),
        ("s3://bucket?timeout_s=never", "timeout_s"),
        ("s3://bucket?create_only=perhaps", "on or off"),
        ("az://container?region=x", "account_name"),
        ("memory://a,memory://b,memory://c", "3 store URLs"),
        ("memory://a,valkey://h", "not object storage"),
        ("valkey://host?colour=red", "colour"),
        ("fastly-kv://", "Fastly KV URL"),
    ],
)
def test_a_url_that_is_not_understood_is_a_usage_error(url: str, words: str) -> None:
    """The message says what is wrong, and nothing is opened."""
    with pytest.raises(UsageError) as caught:
        open_store(url)
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("library", "url", "extra"),
    [
        ("obstore", "s3://bucket", "virke[s3]"),
        ("valkey", "valkey://host", "virke[valkey]"),
        ("urllib3", "fastly-kv://id", "virke[fastly]"),
    ],
)
def test_a_missing_library_is_named(library: str, url: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has not installed an extra is told which."""
    for name in [name for name in sys.modules if name.split(".")[0] == library or name.startswith("virke.stores.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    from virke.stores.by_url import open_url as freshly_imported

    with pytest.raises(UsageError, match=f"pip install '{extra[:5]}"):
        freshly_imported(StoreChoice(url, {"fastly_api_token": "x"}), create=False)


def test_what_a_url_says_is_what_is_opened() -> None:
    """Bucket, prefix and the options of each kind; the vendor of immutable objects gets no conditions."""
    place = object_place("s3://b/p/q/?endpoint=http://h:1&region=r&timeout_s=2.5&cdn_url=https://c", SECRETS)
    assert (place.bucket, place.prefix, place.timeout_s, place.cdn_url) == ("b", "p/q", 2.5, "https://c")
    assert place.client == {"endpoint": "http://h:1", "region": "r", **SECRETS}
    assert place.create_only
    assert not object_place("s3://b?endpoint=https://eu-central.object.fastlystorage.app").create_only
    assert SECRET_KEY not in open_url(StoreChoice(place.url, SECRETS), create=False).url


def test_the_name_of_a_place_has_what_changes_it_and_no_more() -> None:
    """A timeout or a mirror may change without a journal being looked for elsewhere; `S3` is `s3`."""
    plain = open_url(StoreChoice("s3://b/p?endpoint=http://h", SECRETS), create=False).url
    assert plain == "s3://b/p?endpoint=http://h"
    other = "S3://b/p?timeout_s=5&endpoint=http://h&cdn_url=https://c"
    assert open_url(StoreChoice(other, SECRETS), create=False).url == plain
    assert object_place("s3://b", SECRETS, {"cdn_url": "https://file"}).cdn_url == "https://file"


@pytest.mark.parametrize(
    "url",
    ["s3://b?create_only=off", "s3://b?endpoint=https://eu-central.object.fastlystorage.app", "S3://b?create_only=off"],
)
def test_a_store_without_conditions_holds_no_roots(url: str) -> None:
    """Alone or first it is refused; behind a KV store it may hold segments."""
    with pytest.raises(UsageError, match="can't hold roots"):
        open_store(url)
    with pytest.raises(UsageError, match="can't hold roots"):
        open_store(f"{url},s3://other")
    assert open_store(f"valkey://host,{url}").blobs.keys() == {Tier.KV, Tier.OBJECT}


@pytest.mark.parametrize(
    "url",
    [
        "valky://user:SECRET@host",
        "s3://key:SECRET@bucket",
        "s3://?x=SECRET",
        "s3://b?endpoint=https://k:SECRET@h",
        "valkey://u:12/SECRET@h",
        "memory://a,memory://b,valkey://u:SECRET@c",
    ],
)
def test_no_error_shows_what_may_be_a_secret(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_store(url)
    assert "SECRET" not in caught.value.message


def test_every_vendor_is_opened_without_a_request() -> None:
    """Google's and Azure's options are known to their client."""
    key = {"account_key": "a2V5"}
    assert open_url(StoreChoice("az://container/x?account_name=me", key), create=False).blobs.keys() == {Tier.OBJECT}
    assert open_url(StoreChoice("gs://bucket/x?skip_signature=true"), create=False).blobs.keys() == {Tier.OBJECT}


def test_credentials_of_the_file_open_a_store(seaweedfs: S3Server) -> None:
    """Without any in the environment."""
    url = seaweedfs.url(f"opening/{next(_numbers)}")
    with connect("db", StoreChoice(url, SECRETS), create=True) as database:
        database.execute("CREATE TABLE t (v)")
    with connect("db", StoreChoice(url, SECRETS)) as database:
        assert database.query("SELECT count(*) FROM t").rows == [(0,)]
    assert str(database.status().store) == url


def test_a_far_store_is_cached_on_disk_and_metered_once(seaweedfs: S3Server, tmp_path: Path) -> None:
    """A second process asks the store for the root only; a deleted cache is no loss; `off` leaves no trace."""
    choice = StoreChoice(seaweedfs.url(f"opening/{next(_numbers)}"), SECRETS)
    with connect("db", choice, create=True) as database:
        database.execute("CREATE TABLE t (v)")
        database.execute("INSERT INTO t VALUES (randomblob(200000))")

    def cost() -> Receipt:
        receipt = Receipt()
        with writing_receipt(receipt), connect("db", choice, background=False) as again:
            assert again.query("SELECT length(v) FROM t").rows == [(200000,)]
        return receipt

    first, second = cost(), cost()
    assert first.total.requests > second.total.requests == 1
    assert second.cache_hits > 0
    assert first.total.items == sum(tally.items for tally in first.calls.values())
    folder = tmp_path / "cache"
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert cost().total.requests > 1
    for path in folder.rglob("*-*"):
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert cost().total.requests > 1, "a damaged file is a miss"


def test_the_cache_can_be_switched_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By the variable and by a size of nothing; then only memory is used."""
    monkeypatch.setenv(CACHE_VARIABLE, "off")
    blobs = open_url(StoreChoice("s3://bucket", SECRETS), create=False).blobs[Tier.OBJECT]
    assert isinstance(blobs, CachedBlobs)
    plain = open_url(StoreChoice("s3://bucket", SECRETS), create=False, cached=False)
    assert not isinstance(plain.blobs[Tier.OBJECT], CachedBlobs)
    monkeypatch.delenv(CACHE_VARIABLE)
    open_url(StoreChoice("s3://bucket", SECRETS | {"cache_dir": str(tmp_path / "c"), "cache_mb": "0"}), create=False)
    assert list(tmp_path.iterdir()) == []


def test_off_in_any_case_is_no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not a folder of that name; `~` is the home folder here, too."""
    monkeypatch.chdir(tmp_path)
    choice = StoreChoice("s3://bucket", SECRETS)
    monkeypatch.setenv(CACHE_VARIABLE, "OFF")
    assert _cache_folder({}) is None
    monkeypatch.delenv(CACHE_VARIABLE)
    assert _cache_folder({"cache_dir": "Off"}) is None
    assert _cache_folder({"cache_dir": "~/c"}) == tmp_path / "c"
    open_url(StoreChoice(choice.url, SECRETS | {"cache_dir": "Off"}), create=False)
    assert list(tmp_path.iterdir()) == []


def test_without_a_home_there_is_no_cache_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may have a user that nobody knows; memory is used then, and `~` is an error."""
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv(CACHE_VARIABLE)
    monkeypatch.setattr("os.getuid", lambda: 4_000_000_000)
    assert _cache_folder({}) is None
    assert isinstance(open_url(StoreChoice("s3://bucket", SECRETS), create=False).blobs[Tier.OBJECT], CachedBlobs)
    with pytest.raises(UsageError, match="no such home folder"):
        open_store("local:~/x")


@pytest.mark.parametrize("url", ["local:a b", "local:~/x", "a%20b", "file:a%20b", "local:é", "local:a#b?c"])
def test_the_url_that_a_local_store_tells_opens_it_again(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever is in the name of its folder; `~` is the home folder."""
    monkeypatch.chdir(tmp_path)
    store = open_store(url, create=True)
    store.register.swap("k", b"", None)
    assert list(open_store(store.url).register.keys("")) == ["k"]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_store_is_metered_once() -> None:
    """However often it is opened; a call counts as one."""
    store = metered_store(metered_store(open_store(memory_store())))
    receipt = Receipt()
    with writing_receipt(receipt):
        store.register.read("k")
    assert receipt.total.requests == 1
    store.register.read("k")
    assert receipt.total.requests == 1, "nobody asked"


def test_two_stores_are_one(
    valkey_server: ValkeyServer, fastly_kv_server: KvServer, seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Roots and the kv tier in the first, the object tier in the second; a URL each, a comma between."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("FASTLY_API_TOKEN", TOKEN)
    store_id, _ = fastly_kv_server.create()
    for number, kv in enumerate((valkey_server.url(), fastly_kv_server.url(store_id))):
        objects = seaweedfs.url(f"opening/{next(_numbers)}")
        with connect(f"db{number}", f"{kv},{objects}", create=True, background=False) as database:
            database.execute("CREATE TABLE t (v)")
            database.execute("INSERT INTO t VALUES (randomblob(300000))")
            assert database.status().tier == "kv"
            assert list(open_store(objects).blobs[Tier.OBJECT].list("")) == []
            assert database.promote().tier == "object"
        assert [item.key for item in open_store(objects).blobs[Tier.OBJECT].list("")] != []
        assert list(open_store(objects).register.keys("root/")) == []
        with connect(f"db{number}", f"{kv},{objects}") as database:
            assert database.query("SELECT length(v) FROM t").rows == [(300000,)]


def test_a_composite_reads_each_tier_where_it_is() -> None:
    """The register and the kv tier of one, the object tier of the other; no kv tier where the first has none."""
    one, other = memory_store(), memory_store()
    both = composite_store(one, other)
    both.blobs[Tier.KV].put_new("k", b"kv")
    both.blobs[Tier.OBJECT].put_new("k", b"object")
    assert one.blobs[Tier.KV].get([Range("k")]) == [b"kv"]
    assert other.blobs[Tier.OBJECT].get([Range("k")]) == [b"object"]
    assert both.register is one.register
    del one.blobs[Tier.KV]
    assert composite_store(one, other).blobs.keys() == {Tier.OBJECT}
    with pytest.raises(Invalid):
        both.register.read("")


def test_a_bucket_has_one_line_for_all_who_open_it_in_this_process() -> None:
    """Where a store has none of its own, its writers here would find out about each other at the commit only."""
    one, same, other = (
        open_url(StoreChoice(f"s3://{place}?endpoint=http://h", SECRETS), create=False)
        for place in ("b/p", "b/p", "b/q")
    )
    assert one.line is not None
    assert one.line is same.line
    assert one.line is not other.line
