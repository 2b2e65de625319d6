"""What `virke.toml`, the environment and the options say together."""

from __future__ import annotations

from pathlib import Path

import pytest

from virke.config import Config, database_name, find_config, load_config, local_path, parse_config, store_choice
from virke.errors import UsageError
from virke.keys import TABLES
from virke.opening import open_store
from virke.stores.by_url import _OPENERS

SEED = '[project]\nname = "my-app"\n\n[database]\nname = "my-app-db"\n'


def test_the_two_tables_of_the_seed_are_read(tmp_path: Path) -> None:
    (tmp_path / "virke.toml").write_text(SEED)
    config = load_config(tmp_path)
    assert (config.project, config.database, config.store) == ("my-app", "my-app-db", None)


def test_the_file_is_found_in_a_parent_and_the_nearest_one_wins(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "virke.toml").write_text(SEED)
    assert find_config(inner) == tmp_path / "virke.toml"
    (tmp_path / "a" / "virke.toml").write_text("")
    assert find_config(inner) == tmp_path / "a" / "virke.toml"


def test_without_a_file_the_current_folder_holds(tmp_path: Path) -> None:
    config = load_config(tmp_path)
    assert config == Config(tmp_path)
    assert store_choice(config, None, {}).url == f"file://{tmp_path}/.virke"


def test_what_the_app_and_the_deployment_are_is_read(tmp_path: Path) -> None:
    """A local store in `[deploy]` is relative to the file."""
    text = SEED + '[app]\nentry = "src/index.ts"\n[deploy]\ntarget = "store"\nurl = "local:there"\n[edge]\napi = true\n'
    config = parse_config(text, tmp_path / "virke.toml")
    assert (config.entry, config.deploy) == ("src/index.ts", {"target": "store", "url": f"file://{tmp_path}/there"})
    assert "vk_" not in repr(parse_config('[deploy]\nurl = "https://x"\ntoken = "vk_1"\n', tmp_path / "virke.toml"))


def test_the_page_has_the_table_of_all_keys() -> None:
    """One row for each key, with its kind, its default and its meaning; and none for another."""
    page = (Path(__file__).parent.parent / "docs" / "configuration.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `[")]
    assert rows == [
        f"| `[{table}]` | `{name}` | {key.kind} | {key.default} | {key.meaning} |"
        for table, keys in TABLES.items()
        for name, key in keys.items()
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[database]\nnme = "x"\n', ["unknown key 'nme' in [database]", "known: name"]),
        ('[store]\nbucket = "x"\n', ["unknown key 'bucket' in [store]", "known: ", " url"]),
        ("[database]\nname = 3\n", ["'name' in [database] must be a text"]),
        ('[database]\nname = ""\n', ["'name' in [database] must be a text"]),
        ('database = "x"\n', ["[database] must be a table"]),
        ("deploy = 1\n", ["[deploy] must be a table"]),
        ('[databse]\nname = "x"\n', ["unknown table [databse]; known: app, database, "]),
        ('name = "x"\n', ["unknown key 'name' outside of a table"]),
        ("[edge]\napi = 1\n", ["'api' in [edge] must be true or false"]),
        ('[deploy]\ntarget = "cloud"\n', ["'target' in [deploy] must be one of fastly, node, store, not 'cloud'"]),
        ('[deploy]\nurl = "s3://b"\ntoken = "vk_1"\n', ["[deploy] 'token' is for a node"]),
        ('[deploy]\nurl = "local:"\n', ["[deploy] store 'local:' names no folder"]),
        ("[project]\nname = \n", ["virke.toml:2: "]),
        ("\n\n[project\n", ["virke.toml:3: "]),
        ('[project]\nname = "a', ["virke.toml:2: "]),
        ('[store]\nurl = "local:"\n', ["[store] store 'local:' names no folder"]),
        ('[store]\nurl = "file:///a%00b"\n', ["names no folder"]),
        ('[store]\nurl = "local:~nobody-here/x"\n', ["no such home folder"]),
        ("[store]\ncache_mb = 1.5\n", ["'cache_mb' in [store] must be a whole number from 0"]),
        ("[store]\ncache_mb = true\n", ["must be a whole number"]),
        ("[store]\nmemory_mb = 7\n", ["virke.toml: 'memory_mb' in [store] must be a whole number from 8 to 1048576"]),
        ('[store]\nmemory_mb = "half"\n', ["not 'half'"]),
        ("[store]\ncache_mb = -1\n", ["must be a whole number"]),
        ('[store]\ncache_mb = ""\n', ["must be a whole number"]),
    ],
)
def test_a_wrong_file_is_an_error_that_names_file_and_place(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "virke.toml"
    with pytest.raises(UsageError) as caught:
        parse_config(text, path)
    assert str(path) in caught.value.message
    for word in words:
        assert word in caught.value.message


@pytest.mark.parametrize(
    ("text", "meant"), [('[databse]\nname = "x"\n', "database"), ('[app]\nentri = "x"\n', "entry"), ("[x]\n", None)]
)
def test_a_word_that_is_not_known_comes_with_the_one_that_was_meant(
    tmp_path: Path, text: str, meant: str | None
) -> None:
    with pytest.raises(UsageError) as caught:
        parse_config(text, tmp_path / "virke.toml")
    assert caught.value.context == ({"hint": f"did you mean {meant!r}?"} if meant else {})


def test_a_file_that_is_not_utf8_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "virke.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        load_config(tmp_path)


def test_the_option_beats_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    config = Config(tmp_path, database="file", store="memory://file")
    assert database_name(config, "option", {"VIRKE_DB": "env"}) == "option"
    assert database_name(config, None, {"VIRKE_DB": "env"}) == "env"
    assert database_name(config, None, {"VIRKE_DB": ""}) == "file"
    assert store_choice(config, "memory://option", {"VIRKE_STORE": "memory://env"}).url == "memory://option"
    assert store_choice(config, None, {"VIRKE_STORE": "memory://env"}).url == "memory://env"
    assert store_choice(config, None, {}).url == "memory://file"


def test_no_name_at_all_is_a_usage_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--db NAME, set VIRKE_DB, or run 'virke init'"):
        database_name(Config(tmp_path), None, {})


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("data", "file://{folder}/data"),
        ("local:data", "file://{folder}/data"),
        ("LOCAL:data", "file://{folder}/data"),
        ("file:data", "file://{folder}/data"),
        ("file://data", "file://{folder}/data"),
        ("file://a%20b", "file://{folder}/a%20b"),
        ("local:a%20b", "file://{folder}/a%2520b"),
        ("./data/x", "file://{folder}/data/x"),
        ("~/data", "file:///home-of-somebody/data"),
        ("local:~/data", "file:///home-of-somebody/data"),
        ("/data", "file:///data"),
        ("local:/data", "file:///data"),
        ("local:///data", "file:///data"),
        ("local:kv,local:objs", "file://{folder}/kv,file://{folder}/objs"),
        ("kv,objs", "file://{folder}/kv%2Cobjs"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("memory://x", "memory://x"),
        ("my-app:data", "my-app:data"),
        ("localhost:6379", "localhost:6379"),
        ("example.com:6379", "example.com:6379"),
    ],
)
def test_a_local_path_in_the_file_is_relative_to_the_file(
    tmp_path: Path, url: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has another scheme stays what it is, and is never taken for a folder."""
    monkeypatch.setenv("HOME", "/home-of-somebody")
    config = parse_config(f'[store]\nurl = "{url}"\n', tmp_path / "virke.toml")
    assert store_choice(config, None, {}).url == expected.format(folder=tmp_path)


@pytest.mark.parametrize("scheme", [*_OPENERS, *(scheme.upper() for scheme in _OPENERS)])
def test_a_store_that_is_no_folder_is_never_taken_for_one(tmp_path: Path, scheme: str) -> None:
    """Whatever its scheme is called: the file's URL leaves unchanged."""
    url = f"{scheme}://abcDEF123/pre"
    assert store_choice(parse_config(f'[store]\nurl = "{url}"\n', tmp_path / "virke.toml"), None, {}).url == url
    assert local_path(url) is None


def test_a_project_may_lie_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What looks like two URLs in the name of the folder is one store; the URL that the store tells opens it again."""
    folder = tmp_path / "a,s3:b c%20"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for text in ("", '[store]\nurl = "local:.virke"\n'):
        (folder / "virke.toml").write_text(text)
        store = open_store(create=True)
        assert open_store(store.url).url == store.url == (folder / ".virke").as_uri()
    assert [path.name for path in folder.iterdir() if path.is_dir()] == [".virke"]


def test_paths_beside_the_urls_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache and the file of credentials; `~` is the home folder, `off` in any case is no folder."""
    monkeypatch.setenv("HOME", "/home-of-somebody")

    def options(text: str) -> dict[str, str]:
        return dict(parse_config(f"[store]\n{text}\n", tmp_path / "virke.toml").store_options)

    assert options('service_account = "key.json"') == {"service_account": f"{tmp_path}/key.json"}
    assert options('cache_dir = "c"') == {"cache_dir": f"{tmp_path}/c"}
    assert options('cache_dir = "~/c"') == {"cache_dir": "/home-of-somebody/c"}
    assert options('cache_dir = "OFF"') == {"cache_dir": "OFF"}


def test_two_stores_become_one_choice(tmp_path: Path) -> None:
    """The KV store's URL comes first; each is relative to the file if it is local; options stay with the file."""
    text = '[store]\nkv = "valkey://host"\nobject = "objects"\ncache_mb = 64\nsecret_access_key = "s"\n'
    config = parse_config(text, tmp_path / "virke.toml")
    chosen = store_choice(config, None, {})
    assert chosen.url == f"valkey://host,file://{tmp_path}/objects"
    assert chosen.options == {"cache_mb": "64", "secret_access_key": "s"}
    assert "'s'" not in repr(config) + repr(chosen)
    assert store_choice(config, "memory://other", {}).options == {}


@pytest.mark.parametrize(
    "text", ['kv = "valkey://host"', 'object = "s3://b"', 'url = "s3://b"\nkv = "valkey://host"', 'cache_mb = "much"']
)
def test_half_a_choice_is_a_usage_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"\[store\]"):
        parse_config(f"[store]\n{text}\n", tmp_path / "virke.toml")


def test_a_node_is_named_where_a_store_is(tmp_path: Path) -> None:
    """`VIRKE_URL` before `VIRKE_STORE`, and it names nothing but a node."""
    config = parse_config('[store]\nurl = "https://file"\ntoken = "vk_file"\n', tmp_path / "virke.toml")
    both = {"VIRKE_URL": "https://env", "VIRKE_STORE": "memory://env"}
    assert store_choice(config, "memory://option", both).url == "memory://option"
    assert store_choice(config, None, both).url == "https://env"
    assert store_choice(config, None, {}).url == "https://file"
    with pytest.raises(UsageError, match="VIRKE_URL names a node"):
        store_choice(config, None, {"VIRKE_URL": "s3://bucket"})


def test_a_token_goes_to_a_node_alone_and_a_files_to_its_own(tmp_path: Path) -> None:
    config = parse_config('[store]\nurl = "https://file"\ntoken = "vk_file"\n', tmp_path / "virke.toml")
    env = {"VIRKE_TOKEN": "vk_env"}
    assert store_choice(config, None, {}).options == {"token": "vk_file"}
    assert store_choice(config, None, env).options == {"token": "vk_env"}
    assert store_choice(config, None, env, token="vk_option").options == {"token": "vk_option"}
    assert store_choice(config, "https://other", {}).options == {}
    assert store_choice(config, "s3://bucket", env).options == {}
    with pytest.raises(UsageError, match="leave --token out"):
        store_choice(config, "s3://bucket", {}, token="vk_option")
    assert "vk_" not in repr(config) + repr(store_choice(config, None, env))
    with pytest.raises(UsageError, match=r"'token' in \[store\] is for a node"):
        parse_config('[store]\nurl = "s3://bucket"\ntoken = "vk_file"\n', tmp_path / "virke.toml")
