"""`virke deploy --target fastly` against a model of Fastly that takes no request which the vendor's own client would not know."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Virke
from tests.project.fastly_project import POSTS, TOML, app_token_is_good, as_text, kv_url, package, there, write_project
from tests.servers.fastly_account import Version
from tests.servers.fastly_api import READER_TOKEN, TOKEN, FastlyApi, Planned, account_of_the_environment
from tests.servers.s3 import CREDENTIALS, S3Server
from virke import tokens
from virke.opening import open_store

DEPLOY = ("deploy", "--target", "fastly")


@pytest.fixture
def api(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FastlyApi]:
    """An empty account, and the variables that lead to it."""
    with account_of_the_environment(monkeypatch) as running:
        yield running


@pytest.fixture
def app(folder: Path) -> Path:
    """A project whose component is the HTTP API itself."""
    write_project(folder)
    return folder


def said(virke: Virke, *args: str) -> str:
    """What a deployment that succeeds prints."""
    found = virke(*DEPLOY, *args)
    assert found.exit_code == 0, found.output
    return found.stdout


def service_id(api: FastlyApi, name: str = "my-app") -> str:
    """The id of a service."""
    return next(one.id for one in api.account.services.values() if one.name == name)


def test_the_first_deployment_makes_everything(app: Path, api: FastlyApi, virke: Virke) -> None:
    """Stores, items, links, a backend, a domain, the package, the database with its migration, a token; and says so."""
    printed = said(virke)
    found = there(api)
    mark = service_id(api).lower()
    assert found["services"]["my-app"]["domains"] == ["my-app-(my-app).edgecompute.app"]
    assert found["services"]["my-app"]["links"] == [
        ("config", "virke", "virke-my-app"),
        ("kv-store", "virke", "virke-my-app"),
        ("secret-store", "virke", "virke-my-app"),
    ]
    assert list(found["services"]["my-app"]["backends"]) == ["originless"]
    config = found["config"]["virke-my-app"]
    assert {key: value for key, value in config.items() if key != "deployed"} == {
        "kv": "virke",
        "db": "my-app-db",
        "api": "true",
    }
    assert found["databases"]["virke-my-app"] == {"tables": ["users"], "tokens": ["the first, by virke deploy"]}
    assert f"my-app is at https://my-app-{mark}.edgecompute.app, version 1" in printed
    (kv,) = api.account.kv
    assert f"virke db upkeep --all --db my-app-db --store '{kv_url(api, kv)}'" in printed
    token = next(line for line in printed.splitlines() if "shown only now" in line).split()[-1]
    assert [one.scope.word for one in tokens.listing(open_store(kv_url(api, kv)))] == ["write"]
    assert token.startswith("vk_")


def test_the_second_deployment_changes_nothing(app: Path, api: FastlyApi, virke: Virke) -> None:
    """It only reads, makes no version, shows no token and says that there is nothing to do."""
    said(virke)
    before, reads = as_text(there(api)), len(api.account.changes)
    printed = said(virke)
    assert api.account.changes[reads:] == []
    assert as_text(there(api)) == before
    assert printed.startswith("nothing to do: everything is as it should be")
    assert "shown only now" not in printed
    assert len(api.account.services[service_id(api)].versions) == 1


def test_another_package_makes_another_version(app: Path, api: FastlyApi, virke: Virke) -> None:
    """The active version is not touched: a copy of it gets the package, and is activated."""
    said(virke)
    (app / "pkg" / "my-app.tar.gz").write_bytes(package("my-app", b"\0asm\x0d\0\x01\0other"))
    (app / "migrations" / "002_posts.sql").write_text(POSTS)
    found = json.loads(said(virke, "--json"))
    assert [call["does"] for call in found["calls"]][-2:] == ["uploaded my-app.tar.gz", "activated version 2 of my-app"]
    assert (found["applied"], found["services"][0]["version"]) == (["002_posts.sql"], 2)
    first, second = api.account.services[service_id(api)].versions
    assert (first.is_active, second.is_active, first.package == second.package) == (False, True, False)
    assert said(virke).startswith("nothing to do")


def test_the_same_files_packed_again_are_the_same_package(app: Path, api: FastlyApi, virke: Virke) -> None:
    """What counts is what is in it, not when it was packed."""
    said(virke)
    path = app / "pkg" / "my-app.tar.gz"
    path.write_bytes(path.read_bytes() + b"\0" * 512)
    assert said(virke).startswith("nothing to do")


def test_an_app_of_its_own_gets_a_service_of_its_own(folder: Path, api: FastlyApi, virke: Virke) -> None:
    """Two services: the app reaches the database through backend `virke`, with a token in its Secret Store, and no other secret."""
    write_project(folder, is_two=True)
    printed = said(virke)
    found = there(api)
    assert set(found["services"]) == {"my-app", "my-app-db"}
    domain = found["services"]["my-app-db"]["domains"][0]
    backend = found["services"]["my-app"]["backends"]["virke"]
    assert {backend[key] for key in ("address", "override_host", "ssl_cert_hostname", "ssl_sni_hostname")} == {domain}
    assert (backend["port"], backend["use_ssl"]) == ("443", "True")
    assert found["services"]["my-app"]["links"] == [
        ("config", "virke", "virke-my-app"),
        ("secret-store", "virke", "virke-my-app-app"),
    ]
    assert found["secrets"] == {"virke-my-app": {}, "virke-my-app-app": {"token": ""}}
    assert found["databases"]["virke-my-app"]["tokens"] == ["the app, by virke deploy", "the first, by virke deploy"]
    assert app_token_is_good(api)
    secret = next(one for one in api.account.secret.values() if one.name == "virke-my-app-app").content["token"]
    assert secret not in printed
    changed = len(api.account.changes)
    assert said(virke, "--dry-run") == "nothing to do: my-app-db and its service are up to date\n"
    assert said(virke).startswith("nothing to do")
    assert api.account.changes[changed:] == []


def test_a_token_that_was_revoked_is_made_again(folder: Path, api: FastlyApi, virke: Virke) -> None:
    """The app gets a new one, and nothing else is done."""
    write_project(folder, is_two=True)
    said(virke)
    (kv,) = api.account.kv
    store = open_store(kv_url(api, kv))
    tokens.revoke(store, next(one.id for one in tokens.listing(store) if one.name.startswith("the app")))
    assert len(said(virke, "--dry-run").splitlines()) == 2  # the secret, and what is noted of it
    found = json.loads(said(virke, "--json"))
    assert [call["does"] for call in found["calls"]] == [
        "set the secret token",
        "set deployed in the config store",
    ]
    assert app_token_is_good(api)


STORED = (
    TOML
    + """
[store]
access_key_id = "key-id"
secret_access_key = "very-secret"

[edge]
writes = "https://node.example.org"
writes_token = "vk_of_the_node"
"""
)


def test_a_node_for_writes_is_written_down(app: Path, api: FastlyApi, virke: Virke) -> None:
    """The item, the secret and the backend; what is taken out of virke.toml is taken out of the Config Store."""
    (app / "virke.toml").write_text(STORED)
    printed = said(virke)
    found = there(api)
    assert found["config"]["virke-my-app"]["writes"] == "https://node.example.org"
    assert found["secrets"]["virke-my-app"] == {"writes_token": "vk_of_the_node"}
    assert found["services"]["my-app"]["backends"]["writes"]["address"] == "node.example.org"
    assert "vk_of_the_node" not in printed
    assert said(virke).startswith("nothing to do")

    (app / "virke.toml").write_text(STORED.replace("vk_of_the_node", "vk_another"))
    calls = [call["does"] for call in json.loads(said(virke, "--json"))["calls"]]
    assert calls == ["set the secret writes_token", "set deployed in the config store"]

    (app / "virke.toml").write_text(TOML)
    assert "removed writes from the config store" in said(virke)
    assert "writes" not in there(api)["config"]["virke-my-app"]


def test_open_is_never_left(app: Path, api: FastlyApi, virke: Virke) -> None:
    """Somebody opened the service by hand: the next deployment closes it."""
    said(virke)
    (config,) = api.account.config.values()
    config.content["open"] = "yes"
    assert "removed open from the config store" in said(virke)
    assert "open" not in config.content


def test_what_others_made_stays(app: Path, api: FastlyApi, virke: Virke) -> None:
    """A domain, a backend and a link of the user's stay; a draft of theirs is neither used nor activated."""
    said(virke)
    service = api.account.services[service_id(api)]
    active = service.versions[0]
    active.domains.insert(0, "www.example.org")
    active.backends["other"] = {"name": "other", "address": "example.org", "port": 443}
    draft = Version(2, domains=["draft.example.org"])
    service.versions.append(draft)
    (app / "pkg" / "my-app.tar.gz").write_bytes(package("my-app", b"\0asm\x0d\0\x01\0other"))
    printed = said(virke)
    assert "my-app is at https://www.example.org, version 3" in printed
    assert (draft.is_active, draft.package) == (False, b"")
    assert service.active is not None
    assert (service.active.domains[0], set(service.active.backends)) == ("www.example.org", {"originless", "other"})


def test_a_left_behind_draft_is_gone_on_with_only_while_its_base_is_active(
    app: Path, api: FastlyApi, virke: Virke
) -> None:
    """Else what was activated meanwhile would be undone by activating it."""
    said(virke)
    service = api.account.services[service_id(api)]
    other = package("my-app", b"\0asm\x0d\0\x01\0other")
    (app / "pkg" / "my-app.tar.gz").write_bytes(other)
    api.troubles.append(Planned("PUT", r"/service/[^/]+/version/2/package", 500, times=99))
    assert virke(*DEPLOY).exit_code != 0
    api.troubles.clear()
    service.versions[0].is_active = False
    service.versions.append(Version(3, is_active=True, is_locked=True, domains=["new.example.org"]))
    printed = said(virke)
    assert "my-app is at https://new.example.org, version 4" in printed

    (app / "pkg" / "my-app.tar.gz").write_bytes(package("my-app"))
    api.troubles.append(Planned("PUT", r"/service/[^/]+/version/5/package", 500, times=99))
    assert virke(*DEPLOY).exit_code != 0
    api.troubles.clear()
    assert "version 5" in said(virke)


def test_a_service_that_is_named_by_id(app: Path, api: FastlyApi, virke: Virke) -> None:
    """`[deploy] service` comes before the name; one that is not there is an error, and nothing was made."""
    (app / "virke.toml").write_text(TOML + '\n[deploy]\ntarget = "fastly"\nservice = "nowhere"\n')
    found = virke("deploy")
    assert (found.exit_code, "there is no service nowhere" in found.stderr) == (1, True)
    assert api.account.services == {}


def test_a_dry_run_prints_each_call_and_makes_none(app: Path, api: FastlyApi, virke: Virke) -> None:
    """What it prints is what the real one then calls; after that there is nothing to print."""
    rehearsed = json.loads(said(virke, "--dry-run", "--json"))
    assert api.account.changes == []
    printed = said(virke, "--dry-run").splitlines()
    assert any(line.startswith('would call POST /resources/stores/kv {"name": "virke-my-app"}') for line in printed)
    assert any(line == "would apply 001_users.sql" for line in printed)
    assert api.account.changes == []
    real = json.loads(said(virke, "--json"))
    assert [call["does"] for call in rehearsed["would_call"] if "domain" not in call["does"]] == [
        call["does"] for call in real["calls"] if "domain" not in call["does"]
    ]
    made = len(api.account.changes)
    assert said(virke, "--dry-run") == "nothing to do: my-app-db and its service are up to date\n"
    assert api.account.changes[made:] == []


def test_a_dry_run_without_a_token_asks_nothing(
    app: Path, api: FastlyApi, virke: Virke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what a first deployment does."""
    monkeypatch.delenv("FASTLY_API_TOKEN")
    assert "would call POST /service name=my-app type=wasm" in said(virke, "--dry-run")
    assert api.account.calls == []


@pytest.mark.parametrize(
    ("status", "words", "code"),
    [
        (401, "does not accept the token", 1),
        (409, "of this name", 1),
        (400, "does not take this", 1),
        (500, "may have been done", 3),
    ],
)
def test_a_refusal_says_what_to_do(app: Path, api: FastlyApi, virke: Virke, status: int, words: str, code: int) -> None:
    """And the same command goes on afterwards."""
    api.troubles.append(Planned("POST", "/service", status, times=99))
    found = virke(*DEPLOY)
    assert found.exit_code == code
    assert words in found.stderr
    assert TOKEN not in found.output
    api.troubles.clear()
    said(virke)


def test_after_429_it_waits_as_long_as_it_is_told(app: Path, api: FastlyApi, virke: Virke) -> None:
    """`Retry-After: 0` goes on at once; an hour is not waited for, and says so."""
    api.troubles.append(Planned("POST", "/service", 429, {"Retry-After": "0"}, times=2))
    said(virke)
    api.troubles.append(Planned("GET", "/service/search", 429, {"Retry-After": "3600"}, times=1))
    found = virke(*DEPLOY)
    assert found.exit_code != 0
    assert "takes no more for 3600 s" in found.stderr


@pytest.mark.parametrize(
    "path", ["/service", "/resources/stores/kv", "/resources/stores/config", "/resources/stores/secret"]
)
def test_what_was_made_without_an_answer_is_found_again(app: Path, api: FastlyApi, virke: Virke, path: str) -> None:
    """It is not made twice."""
    api.troubles.append(Planned("POST", path, None, is_applied=True))
    found = virke(*DEPLOY)
    assert found.exit_code != 0
    assert "may have been done" in found.stderr
    said(virke)
    assert [len(one) for one in (api.account.services, api.account.kv, api.account.config, api.account.secret)] == [
        1
    ] * 4


def test_without_a_token_nothing_is_asked(
    app: Path, api: FastlyApi, virke: Virke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the variable."""
    monkeypatch.delenv("FASTLY_API_TOKEN")
    found = virke(*DEPLOY)
    assert found.exit_code != 0
    assert "hint: set FASTLY_API_TOKEN" in found.stderr
    assert api.account.calls == []


def test_a_token_that_may_only_read(app: Path, api: FastlyApi, virke: Virke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTLY_API_TOKEN", READER_TOKEN)
    found = virke(*DEPLOY)
    assert found.exit_code != 0
    assert "the token may not do this" in found.stderr


def test_a_broken_migration_makes_nothing(app: Path, api: FastlyApi, virke: Virke) -> None:
    """It is rehearsed before the first call that changes something."""
    (app / "migrations" / "002_tags.sql").write_text("INSERT INTO nowhere VALUES (1);\n")
    found = virke(*DEPLOY)
    assert found.exit_code != 0
    assert api.account.changes == []


def test_what_is_no_package_is_not_sent(app: Path, api: FastlyApi, virke: Virke) -> None:
    (app / "pkg" / "my-app.tar.gz").write_bytes(b"no package")
    found = virke(*DEPLOY)
    assert found.exit_code != 0
    assert "is not a package" in found.stderr
    assert api.account.calls == []


@pytest.mark.parametrize("url", ["s3://bucket/app", "https://node.example.org", "local:x", "fastly-kv://id/prefix"])
def test_a_store_that_a_service_can_not_read(app: Path, api: FastlyApi, virke: Virke, url: str) -> None:
    found = virke(*DEPLOY, "--store", url)
    assert found.exit_code == 2
    assert api.account.calls == []


def test_object_storage_behind_the_kv_store(
    app: Path, api: FastlyApi, virke: Virke, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The item says where, the secrets sign, the backend leads there; a database that grew lies there, and the CLI reads it."""
    server: S3Server = request.getfixturevalue("seaweedfs")
    url = server.url(tmp_path.name)
    bucket = url.partition("://")[2].partition("?")[0].split("/")[0]
    key = {"access_key_id": CREDENTIALS["AWS_ACCESS_KEY_ID"], "secret_access_key": CREDENTIALS["AWS_SECRET_ACCESS_KEY"]}
    lines = "".join(f'{name} = "{value}"\n' for name, value in key.items())
    (app / "virke.toml").write_text(f'{TOML}\n[store]\n{lines}\n[edge]\nobjects = "{url}"\n')
    done = json.loads(said(virke, "--json"))
    config = there(api)["config"]["virke-my-app"]
    place = json.loads(config["objects"])
    backend = there(api)["services"]["my-app"]["backends"]["objects"]
    assert f"{backend['address']}:{backend['port']}" == place["host"]
    assert (place["bucket"], place["backend"], backend["use_ssl"]) == (bucket, "objects", "False")
    assert there(api)["secrets"]["virke-my-app"] == {
        "objects_key_id": key["access_key_id"],
        "objects_secret": key["secret_access_key"],
    }
    kv, objects = done["url"].split(",")
    assert (kv.partition("://")[0], objects.partition("?")[0]) == ("fastly-kv", url.partition("?")[0])
    assert said(virke).startswith("nothing to do")
    assert key["secret_access_key"] not in as_text({"output": said(virke, "--dry-run", "--json")})
