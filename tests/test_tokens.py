"""Tokens: kept as hashes in one record, changed by compare-and-swap, and held against requests by a table that rarely asks."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.world import Clock
from tests.servers.valkey import ValkeyServer
from tests.stores.conformance import at_once
from tests.stores.valkey_calls import new_prefix
from virke import tokens
from virke.core.backoff import BACKOFF
from virke.core.effects import Generation, ReadOutcome, Record, Swapped
from virke.errors import Corrupt, Invalid, NotFound, OutcomeUnknown, TooLarge, Unavailable, VirkeError
from virke.opening import create, list_databases
from virke.scopes import Scope
from virke.stores.base import Call, Store
from virke.stores.counted import CountingStore
from virke.stores.faulty import At, Chances, DeliverLate, FaultyStore, LoseAnswer, LoseRequest, Refuse
from virke.stores.local.store import local_store
from virke.stores.memory import memory_store
from virke.stores.valkey.store import valkey_store
from virke.tokens import Forbidden, Granted, TokenTable, Unauthorized
from virke.tokens.keeping import ATTEMPTS
from virke.tokens.record import CHANGES_KEPT, KEY, TOKENS_MAX, Token, Tokens, decode_record, encode_record, hash_of

GOLDEN: Final = Path(__file__).parent / "data" / "tokens-1.bin"
PAGE: Final = Path(__file__).parent.parent / "docs" / "tokens.md"
GOLDEN_TEXT: Final = "vk_" + "A" * 43
NAMES: Final = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,12}", fullmatch=True)
PATTERNS: Final = st.text("ab.*?-_A", min_size=1, max_size=12)


@pytest.fixture(params=["memory", "local", "valkey"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    match request.param:
        case "memory":
            yield memory_store()
        case "local":
            yield local_store(tmp_path)
        case _:
            server = request.getfixturevalue("valkey_server")
            assert isinstance(server, ValkeyServer)
            yield valkey_store(server.url(new_prefix()))


def table_of(store: Store, clock: Clock | None = None) -> TokenTable:
    table = TokenTable(store, environment=clock.environment if clock else None)
    table.refresh()
    return table


class SlowReads:
    """A store whose reads wait until they may answer."""

    def __init__(self, inner: Store) -> None:
        self.store = replace(inner, register=self)  # type: ignore[arg-type]
        self._inner = inner.register
        self.asked, self.may_answer, self.reads = threading.Event(), threading.Event(), 0
        self.may_answer.set()

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        self.reads += 1
        self.asked.set()
        assert self.may_answer.wait(30)
        return self._inner.read(key, known)


def granted(found: object) -> Scope:
    assert isinstance(found, Granted)
    return found.scope


# In a store


def test_a_token_is_created_listed_and_revoked(store: Store) -> None:
    """Its text is told once; what the store holds is no secret."""
    text, token = tokens.create(store, ["app-*", "shop"], Scope.WRITE, lifetime_s=60, name="ci")
    other, _ = tokens.create(store, ["*"], Scope.ADMIN)
    assert re.fullmatch(r"vk_[A-Za-z0-9_-]{43}", text)
    assert text != other
    assert (token.databases, token.scope, token.name) == (("app-*", "shop"), Scope.WRITE, "ci")
    assert token.expires_ms == token.created_ms + 60_000
    assert tokens.listing(store)[0] == token
    record = store.register.read(KEY)
    assert isinstance(record, Record)
    assert text.encode() not in record.data
    assert text[3:].encode() not in record.data
    assert tokens.revoke(store, token.id) == (token, 1)
    assert [one.scope for one in tokens.listing(store)] == [Scope.ADMIN]
    with pytest.raises(NotFound):
        tokens.revoke(store, token.id)
    assert len(tokens.listing(store)) == 1


def test_tokens_are_no_database(store: Store) -> None:
    """Nor in the way of one of that name."""
    create("tokens", store).close()
    tokens.create(store, ["*"], Scope.ADMIN)
    assert list_databases(store) == ["tokens"]
    with create("main", store) as database:
        database.collect(grace_ms=0)
    assert len(tokens.listing(store)) == 1


def test_tokens_that_are_created_at_once_are_all_there(store: Store) -> None:
    """Races are run again; a revocation among them too."""
    _, gone = tokens.create(store, ["*"], Scope.READ)

    def work(number: int) -> str:
        if not number:
            return tokens.revoke(store, gone.id)[0].id
        return tokens.create(store, ["*"], Scope.READ, name=str(number))[1].id

    made = at_once(work, 6)
    assert {token.id for token in tokens.listing(store)} == set(made[1:])


def test_a_server_knows_tokens_of_another_process(store: Store) -> None:
    """By a conditional read."""
    table = table_of(store)
    assert not table.needs_token
    assert granted(table.check(None, "shop", Scope.ADMIN)) is Scope.ADMIN
    text, token = tokens.create(store, ["shop"], Scope.WRITE)
    table = table_of(store)
    assert table.needs_token
    assert granted(table.check(text, "shop", Scope.READ)) is Scope.WRITE
    assert isinstance(table.check(None, "shop", Scope.READ), Unauthorized)
    tokens.revoke(store, token.id)
    assert not table_of(store).needs_token


# Lost answers


@pytest.mark.parametrize("fault", [LoseAnswer(), LoseRequest(), Refuse(), DeliverLate(1)])
@pytest.mark.parametrize("n", [1, 2])
def test_a_lost_answer_is_found_out(fault: LoseAnswer | LoseRequest | Refuse | DeliverLate, n: int) -> None:
    """The token is there once, whatever became of the request."""
    inner = memory_store()
    faulty = FaultyStore(inner, [At(n, fault, Call.SWAP)])
    _, first = tokens.create(faulty.store, ["*"], Scope.READ, environment=Clock().environment)
    _, second = tokens.create(faulty.store, ["*"], Scope.READ, environment=Clock().environment)
    faulty.deliver_late()
    assert [token.id for token in tokens.listing(inner)] == [first.id, second.id]


@given(seed=st.integers(0, 2**32))
def test_what_is_answered_is_true(seed: int) -> None:
    """On a store that loses, repeats and delays requests and shows old states: done is done, refused never comes."""
    inner = memory_store()
    chances = Chances(
        refuse=0.1, lose_answer=0.1, lose_request=0.1, deliver_late=0.1, deliver_twice=0.1, read_stale=0.1
    )
    faulty = FaultyStore(inner, seed=seed, chances=chances, eventual=True)
    done, refused, revoked, unsure = set(), set(), set(), set()
    for number in range(12):
        name, clock = str(number), Clock()
        try:
            _, token = tokens.create(faulty.store, ["*"], Scope.READ, name=name, environment=clock.environment)
            done.add(name)
            if number % 3 == 0:
                unsure.add(name)
                tokens.revoke(faulty.store, token.id, clock.environment)
                revoked.add(name)
        except OutcomeUnknown:
            unsure.add(name)
        except VirkeError:
            if name not in done:
                refused.add(name)
    faulty.deliver_late()
    there = [token.name for token in tokens.listing(inner)]
    assert len(there) == len(set(there))
    assert done - unsure <= set(there)
    assert not (refused | revoked) & set(there)


def test_an_answer_that_can_t_be_found_out_is_unknown() -> None:
    """The store went away with it."""
    inner = memory_store()
    plan = [At(1, LoseAnswer(), Call.SWAP), *(At(n, Refuse(), Call.READ) for n in range(2, 40))]
    plan += [At(n, Refuse(), Call.SWAP) for n in range(2, 40)]
    with pytest.raises(OutcomeUnknown, match="virke token list"):
        tokens.create(FaultyStore(inner, plan).store, ["*"], Scope.READ, environment=Clock().environment)
    down = FaultyStore(inner, [At(n, Refuse(), Call.SWAP) for n in range(1, 400)])
    with pytest.raises(Unavailable, match="nothing was changed"):
        tokens.create(down.store, ["*"], Scope.READ, environment=Clock().environment)
    assert len(tokens.listing(inner)) == 1
    assert ATTEMPTS < CHANGES_KEPT


def test_a_store_holds_so_many_tokens_and_no_more() -> None:
    """The record stays small enough for every register."""
    store = memory_store()
    full = Tokens(1, tuple(Token(str(n), hash_of(str(n)), ("*",), Scope.READ, 0) for n in range(TOKENS_MAX)))
    assert isinstance(store.register.swap(KEY, encode_record(full), None), Swapped)
    with pytest.raises(TooLarge, match="revoke"):
        tokens.create(store, ["*"], Scope.READ)
    tokens.revoke(store, "7")
    tokens.create(store, ["*"], Scope.READ)


# The record


def test_a_record_comes_back_as_it_was() -> None:
    """And one of format 1 does for ever."""
    token = Token("abcdefgh", hash_of(GOLDEN_TEXT), ("app-*", "x?"), Scope.SCHEMA, 1_700_000_000_000, None, "näme")
    other = Token("ijklmnop", hash_of("b"), ("*",), Scope.READ, 1_700_000_000_001, 1_800_000_000_000)
    record = Tokens(7, (token, other), ("00" * 16, "ff" * 16))
    assert decode_record(encode_record(record)) == record
    assert decode_record(GOLDEN.read_bytes()) == record
    assert encode_record(record) == GOLDEN.read_bytes()


@given(at=st.integers(0), flip=st.integers(1, 255))
def test_damage_is_corrupt_and_opens_no_door(at: int, flip: int) -> None:
    """Every byte is covered; a later format is not guessed at."""
    data = bytearray(GOLDEN.read_bytes())
    data[at % len(data)] ^= flip
    with pytest.raises(Corrupt):
        decode_record(bytes(data))
    with pytest.raises(Corrupt):
        decode_record(bytes(data[: at % len(data)]))


def test_a_damaged_record_grants_nothing() -> None:
    """Not even on this machine, and not what was known before."""
    store, clock = memory_store(), Clock()
    text, _ = tokens.create(store, ["*"], Scope.ADMIN)
    table = table_of(store, clock)
    seen = store.register.read(KEY)
    assert isinstance(seen, Record)
    store.register.swap(KEY, b"nonsense", seen.generation)
    clock.pass_s(5)
    with pytest.raises(Corrupt):
        table.refresh()
    for ask in (lambda: table.check(text, "a", Scope.READ), lambda: table.needs_token):
        with pytest.raises(Unavailable, match="no tokens of Virke"):
            ask()


# Patterns


@given(pattern=PATTERNS, name=NAMES)
def test_a_pattern_fits_as_a_regular_expression_says(pattern: str, name: str) -> None:
    """`*` is any characters, `?` is one, all else itself."""
    expression = "".join({"*": ".*", "?": "."}.get(sign, re.escape(sign)) for sign in pattern)
    assert tokens.matches(pattern, name) == bool(re.fullmatch(expression, name))


@given(name=NAMES, data=st.data())
def test_a_pattern_made_of_a_name_fits_it(name: str, data: st.DataObject) -> None:
    """With any part replaced by `*`, or any character by `?`."""
    start = data.draw(st.integers(0, len(name)))
    end = data.draw(st.integers(start, len(name)))
    at = data.draw(st.integers(0, len(name) - 1))
    assert tokens.matches(name[:start] + "*" + name[end:], name)
    assert tokens.matches(name[:at] + "?" + name[at + 1 :], name)
    assert tokens.matches(name, name)
    assert not tokens.matches(name, name + "x")


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("app-*", "app-1", True),
        ("app-*", "app-", True),
        ("app-*", "app", False),
        ("app-*", "App-1", False),
        ("app-*", "my-app-1", False),
        ("*", "anything", True),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("a.c", "abc", False),
        ("*-prod", "x-prod-y", False),
        ("*a*b*", "xxaxxbxx", True),
        ("*a" * 40, "a" * 128 + "b", False),
    ],
)
def test_what_patterns_fit(pattern: str, name: str, fits: bool) -> None:
    """The last one would take for ever with backtracking."""
    assert tokens.matches(pattern, name) is fits


@pytest.mark.parametrize("pattern", ["", "a/b", "[ab]", "a b", "ä", "x" * 129, "a\n", "{a}"])
def test_a_pattern_that_fits_no_name_is_invalid(pattern: str) -> None:
    """So is a token without any, or with more than it may have."""
    for patterns in ([pattern], [], ["a"] * 17):
        with pytest.raises(Invalid):
            tokens.create(memory_store(), patterns, Scope.READ)


# The table


def test_a_token_is_for_its_scope_and_its_databases() -> None:
    """401 without a good one, 403 with one that is not for this."""
    store = memory_store()
    made = {
        (pattern, scope): tokens.create(store, [pattern], scope)[0] for pattern in ("app-*", "*") for scope in Scope
    }
    table = table_of(store)
    for (pattern, scope), text in made.items():
        for needed in Scope:
            for database in ("app-1", "other"):
                found = table.check(text, database, needed)
                may = needed <= scope and tokens.matches(pattern, database)
                assert isinstance(found, Granted if may else Forbidden)
            found = table.check(text, None, needed)
            may = needed <= scope and (pattern == "*" or needed is Scope.READ)
            assert isinstance(found, Granted if may else Forbidden)
    seen = table.check(made["app-*", Scope.READ], None, Scope.READ)
    assert isinstance(seen, Granted)
    assert [seen.may_see(name) for name in ("app-1", "other")] == [True, False]


def test_what_is_no_token_is_unauthorized() -> None:
    """Whatever a header may hold."""
    store = memory_store()
    text, _ = tokens.create(store, ["*"], Scope.ADMIN)
    table = table_of(store)
    hashed = hash_of(text).hex()
    for wrong in (
        None,
        "",
        "vk_",
        text[:-1],
        text + "x",
        text.upper(),
        text[3:],
        hashed,
        "ÿ" * 46,
        "vk_" + "\udc80" * 43,
    ):
        assert isinstance(table.check(wrong, "a", Scope.READ), Unauthorized)
    swapped = text[:-2] + text[-1] + text[-2]
    assert isinstance(table.check(swapped, "a", Scope.READ), Granted if swapped == text else Unauthorized)


@given(lifetime_s=st.integers(1, 10**9), off_ms=st.integers(-(10**6), 10**6))
def test_a_token_is_good_until_its_millisecond(lifetime_s: int, off_ms: int) -> None:
    """It is good one before, and never again from then on, without any read of the store."""
    store, clock = memory_store(), Clock()
    text, token = tokens.create(store, ["*"], Scope.READ, lifetime_s=lifetime_s, environment=clock.environment)
    table = table_of(store, clock)
    assert token.expires_ms is not None
    found = table.check(text, "a", Scope.READ, now_ms=token.expires_ms + off_ms)
    assert isinstance(found, Granted if off_ms < 0 else Unauthorized)
    assert table.needs_token


def test_the_store_is_asked_once_in_five_seconds_of_traffic_and_never_without() -> None:
    """However many requests come; what did not change costs no bytes."""
    clock = Clock()
    counted = CountingStore(memory_store())
    text, token = tokens.create(counted.store, ["*"], Scope.READ)
    table = TokenTable(counted.store, environment=clock.environment)
    with pytest.raises(Unavailable, match="not asked yet"):
        table.check(text, "a", Scope.READ)
    counted.reset()
    for step in range(101):  # 10 seconds
        if table.is_due:
            table.refresh()
        for _ in range(3):
            table.refresh()
            assert isinstance(table.check(text, "a", Scope.READ), Granted)
        if step < 100:
            clock.pass_s(0.125)
    assert counted.total.requests == 3
    one_record = counted.total.bytes_down
    clock.pass_s(50)
    table.check(text, "a", Scope.READ)
    assert counted.total.requests == 3
    table.refresh()
    assert (counted.total.requests, counted.total.bytes_down) == (4, one_record)
    tokens.revoke(counted.store, token.id)
    clock.pass_s(5)
    table.refresh()
    assert not table.needs_token


@pytest.mark.parametrize("idle_s", [None, 30, 120], ids=["never", "30 s", "2 min"])
def test_requests_that_come_while_the_store_is_asked_wait_if_what_is_held_is_old(idle_s: int | None) -> None:
    """At the beginning, and after a pause: none is refused for nothing, and none gets in with what was revoked."""
    inner, clock = memory_store(), Clock()
    text, token = tokens.create(inner, ["*"], Scope.READ)
    slow = SlowReads(inner)
    table = TokenTable(slow.store, environment=clock.environment)
    if idle_s is not None:
        table.refresh()
        tokens.create(inner, ["*"], Scope.ADMIN)
        tokens.revoke(inner, token.id)
        clock.pass_s(idle_s)

    def ask() -> Granted | Unauthorized | Forbidden:
        if table.is_due:
            table.refresh()
        return table.check(text, "a", Scope.READ)

    slow.asked.clear()
    slow.may_answer.clear()
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(ask)
        assert slow.asked.wait(30)
        others = [pool.submit(ask) for _ in range(3)]
        assert table.is_due
        slow.may_answer.set()
        found = {type(one.result(30)) for one in (first, *others)}
    assert found == {Granted if idle_s is None else Unauthorized}
    assert slow.reads == (1 if idle_s is None else 2)


def test_a_store_that_is_down_keeps_the_known_tokens_for_a_minute() -> None:
    """From the last time that it answered; then nothing is granted until it answers again."""
    inner, clock = memory_store(), Clock()
    text, token = tokens.create(inner, ["*"], Scope.READ)
    down = FaultyStore(inner, [At(n, Refuse(), Call.READ) for n in range(2, 2 + 12 * BACKOFF.tries)])
    table = table_of(down.store, clock)
    tokens.revoke(inner, token.id)
    tokens.create(inner, ["*"], Scope.ADMIN)
    began_s = clock.monotonic_s
    for turn in range(1, 12):
        clock.pass_s(began_s + 5 * turn - clock.monotonic_s)  # the back-off took some of it
        table.refresh()
        assert isinstance(table.check(text, "a", Scope.READ), Granted)
    clock.pass_s(5)
    table.refresh()
    with pytest.raises(Unavailable, match="can't be confirmed"):
        table.check(text, "a", Scope.READ)
    with pytest.raises(Unavailable):
        table.check(None, "a", Scope.READ)
    clock.pass_s(5)
    table.refresh()
    assert isinstance(table.check(text, "a", Scope.READ), Unauthorized)


def test_a_store_that_is_down_at_the_beginning_opens_no_door() -> None:
    """A server that knows nothing of tokens can't say that there are none."""
    clock = Clock()
    table = table_of(FaultyStore(memory_store(), [At(n, Refuse()) for n in range(1, 1 + BACKOFF.tries)]).store, clock)
    with pytest.raises(Unavailable):
        table.check(None, "a", Scope.READ)
    clock.pass_s(5)
    table.refresh()
    assert granted(table.check(None, "a", Scope.READ)) is Scope.ADMIN


def test_a_record_that_is_gone_or_older_opens_no_door() -> None:
    """An old copy, or a store that forgot: what was revoked stays revoked, and nobody gets in without a token."""
    inner, clock = memory_store(), Clock()
    text, token = tokens.create(inner, ["*"], Scope.READ)
    tokens.create(inner, ["*"], Scope.ADMIN)
    tokens.revoke(inner, token.id)
    table = TokenTable(inner, environment=clock.environment)
    table.refresh()
    seen = inner.register.read(KEY)
    assert isinstance(seen, Record)
    first = decode_record(seen.data)
    older = Tokens(first.version - 1, (*first.tokens, token), first.changes)
    replaced = inner.register.swap(KEY, encode_record(older), seen.generation)
    clock.pass_s(5)
    table.refresh()
    assert isinstance(table.check(text, "a", Scope.READ), Unauthorized)
    assert isinstance(replaced, Swapped)
    assert replaced.generation is not None
    inner.register.remove(KEY, replaced.generation)
    clock.pass_s(5)
    table.refresh()
    assert isinstance(table.check(None, "a", Scope.READ), Unauthorized)
    clock.pass_s(60)
    table.refresh()
    with pytest.raises(Unavailable, match="does not show its tokens"):
        table.check(None, "a", Scope.READ)


def test_the_page_s_example_runs() -> None:
    """What docs/tokens.md shows of Python is true."""
    [example] = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    exec(compile(example, "docs/tokens.md", "exec"), {})
