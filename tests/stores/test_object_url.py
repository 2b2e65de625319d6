"""What the URL of an object store says: one place however it is written, and nothing that the client could not send."""

from __future__ import annotations

import pytest

from virke.errors import UsageError
from virke.stores.by_url import place_of
from virke.stores.object.url import object_place

ENDPOINT = "endpoint=http://h:1"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("s3://b/t1", "s3://b/t1"),
        ("s3://b/t1/", "s3://b/t1"),
        ("s3://b/", "s3://b"),
        ("S3://b//t1?endpoint=http://h:1", f"s3://b/t1?{ENDPOINT}"),
        ("s3://b/t1/?endpoint=http://h:1/", f"s3://b/t1?{ENDPOINT}"),
        ("s3://b/t1?endpoint=HTTP://H:1", f"s3://b/t1?{ENDPOINT}"),
        ("s3://b/t1?region=eu&endpoint=http://h:1", f"s3://b/t1?{ENDPOINT}&region=eu"),
        ("s3://b?endpoint=http://h:1&region=eu&timeout_s=5&cdn_url=https://c", f"s3://b?{ENDPOINT}&region=eu"),
        ("s3://b?create_only=off", "s3://b?create_only=off"),
        ("az://c/x/?account_name=me", "az://c/x?account_name=me"),
    ],
)
def test_a_place_has_one_url(url: str, told: str) -> None:
    """Prefix and endpoint without a slash at the end, options in one order; and that URL opens the place again."""
    assert object_place(url, environ={}).url == told
    assert object_place(told, environ={}).url == told


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("s3://b/t?region=eu&unsigned_payload=true&skip_signature=true&create_only=off", "s3://b/t"),
        ("s3://b/t?region=eu&endpoint=http://h:1/", f"s3://b/t?{ENDPOINT}"),
        ("az://c?account_name=me&skip_signature=true", "az://c?account_name=me"),
        ("valkey://user:***@h:6379/0,s3://b/t?region=eu", "valkey://h:6379/0,s3://b/t"),
        ("fastly-kv://id/a", "fastly-kv://id/a"),
        ("file:///a%2Cs3:b", "file:///a%2Cs3:b"),
        ("memory://x", "memory://x"),
    ],
)
def test_the_place_alone_has_a_name(url: str, name: str) -> None:
    """Without what says only how it is asked, or by whom: a journal is found again when that changes."""
    assert place_of(url) == name
    assert place_of(name) == name


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:8333",
        "localhost",
        "h",
        "ftp://h",
        "http:/h",
        "http://",
        "http:///x",
        "http://127.0.0.1:99999",
        "http://h:0",
        "http://h:abc",
        "http://h:",
        "http://h%20h:1",
        "http://h%2520h:1",
        "http://h h:1",
        "http://[::1",
        "http://[x]",
        "http://[fe80::1%25eth0]:1",
        "http://256.0.0.1",
        "http://1.2.3.4.5",
        "http://bücher.example",
        "http://h/a%20b",
        "http://h/x?y",
        "http://h/x%23y",
        "http://h%0A",
        "u:SECRET@h",
        "http://u:SECRET@h",
    ],
)
@pytest.mark.parametrize("option", ["endpoint", "cdn_url"])
def test_an_address_names_a_server_or_is_wrong_usage(option: str, address: str) -> None:
    """In the URL, and for a mirror in virke.toml; nothing is asked of the client, and a password is not shown."""
    with pytest.raises(UsageError, match=option) as caught:
        object_place(f"s3://b?{option}={address}")
    assert "SECRET" not in caught.value.message
    if option == "cdn_url" and "%" not in address:
        with pytest.raises(UsageError, match="cdn_url") as caught:
            object_place("s3://b", None, {"cdn_url": address})
        assert "SECRET" not in caught.value.message


@pytest.mark.parametrize("address", ["https://h", "http://[::1]:9000", "http://127.0.0.1:1/a/b", "https://my_s3.x-y"])
def test_an_address_that_can_be_is_taken(address: str) -> None:
    """With a port or a path, or without; by name or by number."""
    assert object_place(f"s3://b?endpoint={address}&cdn_url={address}/").client["endpoint"] == address
    assert object_place(f"s3://b?endpoint={address}&cdn_url={address}/").cdn_url == address


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3://b/x#y?endpoint=http://h", "%23"),
        ("s3://b?endpoint=http://h#x", "%23"),
        ("s3://b#", "%23"),
        ("s3://[bad/x", "can't be read"),
        ("s3://b:80/x", "no such name"),
        ("s3://b%20c", "no such name"),
        ("s3://b d/x", "no such name"),
        ("s3://b/x\n", "line end"),
        ("s3://b?region=eu%0A", "region has"),
        ("s3://b?region=%20eu", "region has"),
        ("s3://b?region=é", "region has"),
        ("az://c?account_name=me%0D", "account_name has"),
    ],
)
def test_what_can_not_be_sent_is_wrong_usage(url: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        object_place(url)


# The environment


@pytest.mark.parametrize(
    ("variables", "endpoint"),
    [
        ({}, None),
        ({"AWS_ENDPOINT": "http://a/"}, "http://a"),
        ({"AWS_ENDPOINT": "http://a", "AWS_ENDPOINT_URL": "http://b"}, "http://b"),
        ({"AWS_ENDPOINT_URL": "http://b", "AWS_ENDPOINT_URL_S3": "http://c"}, "http://c"),
    ],
)
def test_an_endpoint_of_the_environment_is_part_of_the_place(variables: dict[str, str], endpoint: str | None) -> None:
    """As if the URL named it; one that it does name beats all."""
    found = object_place("s3://b", environ=variables)
    assert found.client.get("endpoint") == endpoint
    assert found.url == object_place(f"s3://b?endpoint={endpoint}" if endpoint else "s3://b", environ={}).url
    assert object_place("s3://b?endpoint=http://z", environ=variables).client["endpoint"] == "http://z"


def test_other_variables_stand_in_for_options() -> None:
    """A region is no part of the place; an account is."""
    found = object_place("s3://b", environ={"AWS_DEFAULT_REGION": "eu", "AWS_ACCESS_KEY_ID": "x"})
    assert (found.client, found.url) == ({"region": "eu"}, "s3://b")
    assert object_place("az://c", environ={"AZURE_STORAGE_ACCOUNT_NAME": "me"}).url == "az://c?account_name=me"
    assert object_place("gs://b", environ={"GOOGLE_BASE_URL": "http://h:1"}).url == f"gs://b?{ENDPOINT}"
    assert object_place("gs://b", environ={"AWS_REGION": "\n"}).client == {}, "another vendor's"


@pytest.mark.parametrize(
    ("name", "value"),
    [("AWS_ENDPOINT_URL", ""), ("AWS_ENDPOINT_URL", "SECRET:1"), ("AWS_REGION", "SECRET\n"), ("AWS_REGION", "")],
)
def test_a_variable_that_can_not_be_is_named(name: str, value: str) -> None:
    """Not its value."""
    with pytest.raises(UsageError, match=f"^{name} ") as caught:
        object_place("s3://b", environ={name: value})
    assert "SECRET" not in caught.value.message
    option = "endpoint=http://h" if "ENDPOINT" in name else "region=eu"
    object_place(f"s3://b?{option}", environ={name: value})


def test_a_place_shows_no_secret() -> None:
    place = object_place("s3://b", {"secret_access_key": "SECRET"})
    assert place.client == {"secret_access_key": "SECRET"}
    assert "SECRET" not in repr(place)
