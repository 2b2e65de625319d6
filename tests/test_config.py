"""What `virke.toml`, the environment and the options say together."""

from __future__ import annotations

from pathlib import Path

import pytest

from virke.config import Config, database_name, find, load, parse, store_choice, write_new
from virke.errors import Exists, UsageError

SEED = '[project]\nname = "my-app"\n\n[database]\nname = "my-app-db"\n'


def test_the_two_tables_of_the_seed_are_read(tmp_path: Path) -> None:
    (tmp_path / "virke.toml").write_text(SEED)
    config = load(tmp_path)
    assert (config.project, config.database, config.store) == ("my-app", "my-app-db", None)


def test_the_file_is_found_in_a_parent_and_the_nearest_one_wins(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "virke.toml").write_text(SEED)
    assert find(inner) == tmp_path / "virke.toml"
    (tmp_path / "a" / "virke.toml").write_text("")
    assert find(inner) == tmp_path / "a" / "virke.toml"


def test_without_a_file_the_current_folder_holds(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert config == Config(tmp_path)
    assert store_choice(config, None, {}).url == f"local:{tmp_path / '.virke'}"


def test_deploy_and_tables_of_others_are_left_alone(tmp_path: Path) -> None:
    config = parse(SEED + '[deploy]\nservice = "x"\n[run]\nentry = 1\n', tmp_path / "virke.toml")
    assert config.deploy == {"service": "x"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[database]\nnme = "x"\n', ["unknown key 'nme' in [database]", "known: name"]),
        ('[store]\nbucket = "x"\n', ["unknown key 'bucket' in [store]", "known: ", " url"]),
        ("[database]\nname = 3\n", ["'name' in [database] must be a text"]),
        ('[database]\nname = ""\n', ["'name' in [database] must be a text"]),
        ('database = "x"\n', ["[database] must be a table"]),
        ("deploy = 1\n", ["[deploy] must be a table"]),
        ("[project]\nname = \n", ["virke.toml:2: "]),
        ("\n\n[project\n", ["virke.toml:3: "]),
        ('[project]\nname = "a', ["virke.toml:2: "]),
    ],
)
def test_a_wrong_file_is_an_error_that_names_file_and_place(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "virke.toml"
    with pytest.raises(UsageError) as caught:
        parse(text, path)
    assert str(path) in caught.value.message
    for word in words:
        assert word in caught.value.message


def test_a_file_that_is_not_utf8_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "virke.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        load(tmp_path)


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
        ("data", "local:{folder}/data"),
        ("local:data", "local:{folder}/data"),
        ("file:data", "local:{folder}/data"),
        ("./data/x", "local:{folder}/data/x"),
        ("/data", "/data"),
        ("local:/data", "local:/data"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("memory://x", "memory://x"),
    ],
)
def test_a_local_path_in_the_file_is_relative_to_the_file(tmp_path: Path, url: str, expected: str) -> None:
    config = parse(f'[store]\nurl = "{url}"\n', tmp_path / "virke.toml")
    assert store_choice(config, None, {}).url == expected.format(folder=tmp_path)


def test_two_stores_become_one_choice(tmp_path: Path) -> None:
    """The KV store's URL comes first; each is relative to the file if it is local; options stay with the file."""
    text = '[store]\nkv = "valkey://host"\nobject = "objects"\ncache_mb = 64\nsecret_access_key = "s"\n'
    config = parse(text, tmp_path / "virke.toml")
    chosen = store_choice(config, None, {})
    assert chosen.url == f"valkey://host,local:{tmp_path}/objects"
    assert chosen.options == {"cache_mb": "64", "secret_access_key": "s"}
    assert "'s'" not in repr(config) + repr(chosen)
    assert store_choice(config, "memory://other", {}).options == {}


@pytest.mark.parametrize(
    "text", ['kv = "valkey://host"', 'object = "s3://b"', 'url = "s3://b"\nkv = "valkey://host"', 'cache_mb = "much"']
)
def test_half_a_choice_is_a_usage_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"\[store\]"):
        parse(f"[store]\n{text}\n", tmp_path / "virke.toml")


def test_a_new_file_reads_back_and_is_never_overwritten(tmp_path: Path) -> None:
    path = write_new(tmp_path, "my-app")
    assert path.read_text() == SEED
    with pytest.raises(Exists, match="left as it is"):
        write_new(tmp_path, "other")
    assert path.read_text() == SEED
