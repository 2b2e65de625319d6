"""A request stays within its memory and its time, whatever it asks (P11); memory is measured in processes of their own."""

from __future__ import annotations

import subprocess
import sys
import threading
from itertools import count
from typing import Final

import pytest

from tests.engine.world import make, pages_of
from virke.engine import sqlite
from virke.engine.budget import ROW_BYTES, TEXT_BYTES, VALUE_BYTES, ResultBudget, collect_rows
from virke.engine.connection import Connection
from virke.engine.database import Database
from virke.engine.programs import run_script
from virke.errors import TimedOut, TooLarge

MIB: Final = 1 << 20
BEYOND_BYTES: Final = 64 * MIB
NUMBERS: Final = "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c"

MEASURED: Final = """
import resource, sys
import virke

def peak():
    try:
        lines = open("/proc/self/status").read().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

db = virke.connect("b", "memory://b", create=True)
db.change_settings({"max_result_mb": int(sys.argv[1])})
db.execute("CREATE TABLE t (v)")
db.query("SELECT v FROM t")
before = peak()
try:
    for _ in range(2):
        CALL
    print("answered")
except virke.VirkeError as error:
    print(error.kind)
print(peak() - before)
"""


def measured(call: str, *, limit_mb: int = 64) -> tuple[str, int]:
    """What became of `call` in a process of its own, and by how much the process grew."""
    command = [sys.executable, "-c", MEASURED.replace("CALL", call), str(limit_mb)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert run.returncode == 0, run.stderr
    kind, grown = run.stdout.split()
    return kind, int(grown)


@pytest.mark.native
@pytest.mark.parametrize(
    "call",
    [
        f'''db.query("""{NUMBERS} LIMIT 3000) SELECT count(*) FROM
            (SELECT i, group_concat(hex(zeroblob(1000000))) s FROM c GROUP BY i ORDER BY s)""")''',
        'db.query("SELECT " + ", ".join(["zeroblob(60000000)"] * 60))',
        'db.query("SELECT " + ", ".join(["zeroblob(120000)"] * 1900))',
        f'''db.query("{NUMBERS}) SELECT " + ", ".join(["''"] * 2000) + " FROM c")''',
        f'db.query("{NUMBERS}) SELECT i FROM c")',
        f'db.query("{NUMBERS}) SELECT i FROM c ORDER BY -i")',
        f'db.query("{NUMBERS}) SELECT count(DISTINCT i) FROM c")',
        'db.query("SELECT 1 IN (" + "1, " * 4000000 + "1)")',
        'db.batch([("SELECT zeroblob(60000000)", ())] * 60)',
        'db.run_script("SELECT zeroblob(60000000);" * 60 + "SELECT 1")',
        'db.query("WITH RECURSIVE c(i, b) AS (SELECT 1, zeroblob(60000000) UNION ALL SELECT i + 1, b FROM c LIMIT 100) "'
        ' "SELECT max(length(b)) FROM c")',
    ],
    ids="grouping wide-row wide-row-of-short empty-texts rows sorting distinct in-list batch script carried".split(),
)
def test_p11_a_request_that_needs_more_memory_than_its_limit_and_64_mib_is_too_large(call: str) -> None:
    """Sorts, groups, wide rows, many rows, many results, a long text: the process never grows further."""
    kind, grown = measured(call)
    assert kind in ("too_large", "sql")
    assert grown <= 64 * MIB + BEYOND_BYTES


@pytest.mark.native
@pytest.mark.parametrize("limit_mb", [1, 200])
def test_p11_the_memory_of_a_request_follows_its_setting(limit_mb: int) -> None:
    """A small limit stops small results; a large one lets a value through that a small one refuses."""
    kind, grown = measured('db.query("SELECT zeroblob(100000000)")', limit_mb=limit_mb)
    assert kind == ("answered" if limit_mb > 100 else "too_large")
    assert grown <= limit_mb * MIB + BEYOND_BYTES


@pytest.mark.native
@pytest.mark.parametrize("limit_mb", [64, 256])
@pytest.mark.parametrize(
    "call",
    [
        f'db.query("{NUMBERS}) SELECT zeroblob(LIMIT * 700000 + i) FROM c")',
        f'db.query("{NUMBERS}) SELECT zeroblob(LIMIT * 400000 + i) FROM c")',
        'db.query("SELECT zeroblob(LIMIT * 1000000)")',
        f'db.query("{NUMBERS} LIMIT LIMIT * 10000) SELECT i, zeroblob(100) FROM c ORDER BY -i")',
        'db.batch(["SELECT zeroblob(LIMIT * 500000 + 1)"] * 3)',
    ],
    ids="long-rows rows longest-value sorting batch".split(),
)
def test_p11_b18_a_request_takes_its_limit_and_64_mib_whatever_its_limit_is(call: str, limit_mb: int) -> None:
    """What is answered, the value that is read, and what SQLite works with: the more of one, the less of the others."""
    kind, grown = measured(call.replace("LIMIT *", f"{limit_mb} *").replace("LIMIT LIMIT", "LIMIT"), limit_mb=limit_mb)
    assert kind in ("answered", "too_large")
    assert grown <= limit_mb * MIB + BEYOND_BYTES


@pytest.mark.native
def test_p11_the_request_that_takes_memory_is_stopped_and_not_the_one_next_to_it() -> None:
    """SQLite counts for the whole process; the sum of both limits holds."""
    call = f'''
        import threading
        kinds = {{}}
        def run(name, sql):
            try: kinds[name] = db.query(sql).rows
            except virke.VirkeError as error: kinds[name] = error.kind
        greedy = threading.Thread(target=run, args=("greedy", "{NUMBERS}) SELECT i FROM c ORDER BY -i"))
        greedy.start()
        run("frugal", "{NUMBERS} LIMIT 8000000) SELECT count(*) FROM c")
        greedy.join()
        assert kinds == {{"greedy": "too_large", "frugal": [(8000000,)]}}, kinds
        break'''
    kind, grown = measured(call)
    assert kind == "answered"
    assert grown <= 2 * (64 * MIB + BEYOND_BYTES)


@pytest.mark.native  # Python's objects are smaller in 32 bits
def test_p11_rows_cost_what_python_keeps_for_them(db: Database) -> None:
    """Empty texts and NULLs too: what is counted is at least the tuple and its places."""
    connection = Connection(db.snapshot(), value_bytes_max=MIB)
    budget = ResultBudget(MIB)
    before = budget.left
    collect_rows(connection.raw.execute("SELECT '', NULL, 'é', 1"), budget)
    spent = before - budget.left
    assert spent >= ROW_BYTES + 2 * TEXT_BYTES + 2 * VALUE_BYTES
    text = "\N{GRINNING FACE}" * 1000
    before = budget.left
    rows = collect_rows(connection.raw.execute("SELECT ?", (text,)), budget)
    assert before - budget.left >= sys.getsizeof(rows[0][0])
    connection.close()


def test_p11_the_results_of_a_batch_share_one_budget(db: Database) -> None:
    """Two results of 0.6 MiB are too large together for a limit of 1 MiB, and nothing of the batch is kept."""
    db.execute("CREATE TABLE t (v)")
    db.change_settings({"max_result_mb": 1})
    result = "SELECT zeroblob(600000)"
    for call in (
        lambda: db.batch(["INSERT INTO t VALUES (1)", result, result]),
        lambda: db.run_script(f"INSERT INTO t VALUES (1); {result}; {result}"),
    ):
        with pytest.raises(TooLarge):
            call()
    assert len(db.batch(["INSERT INTO t VALUES (2)", result])) == 2
    assert db.query("SELECT v FROM t").rows == [(2,)]


def test_p11_what_a_batch_answered_so_far_is_no_limit_for_what_it_writes(db: Database) -> None:
    """A value of half of the limit is written, after an answer of most of it and before."""
    limit_mb = 64
    write = f"INSERT INTO t VALUES (zeroblob({limit_mb * MIB // 2}))"
    db.change_settings({"max_result_mb": limit_mb})
    db.execute("CREATE TABLE t (v)")
    read = f"{NUMBERS} LIMIT {limit_mb * 3 // 4}) SELECT zeroblob({MIB}) FROM c"
    answers = db.batch([write, read, write])
    assert [len(answer.rows) for answer in answers] == [0, limit_mb * 3 // 4, 0]
    assert db.query("SELECT sum(length(v)) FROM t").rows == [(limit_mb * MIB,)]


def test_p11_no_statement_begins_past_the_deadline_of_its_request(db: Database) -> None:
    """Short statements never reach the progress callback: time is looked at between them."""
    instants = count()
    connection = Connection(db.snapshot(), value_bytes_max=MIB, monotonic=lambda: float(next(instants)))
    budget = connection.begin_request(now_ms=0, deadline=10.0, result_bytes=MIB)
    with pytest.raises(TimedOut):
        run_script(connection, "SELECT 1;" * 50, (), budget)
    connection.move(db.snapshot())
    connection.begin_request(now_ms=0, deadline=float(next(instants) + 10), result_bytes=MIB)
    assert connection.fetch("SELECT 1", (), budget)[1] == [(1,)]
    connection.close()


def test_p11_the_rows_of_executemany_end_at_the_deadline(db: Database) -> None:
    """Each of them is too short a statement to be looked at while it runs."""
    instants = count()
    db.execute("CREATE TABLE t (v)")
    connection = Connection(db.snapshot(), value_bytes_max=MIB, monotonic=lambda: float(next(instants)))
    connection.begin_request(now_ms=0, deadline=10.0, result_bytes=MIB)
    with pytest.raises(TimedOut):
        connection.many("INSERT INTO t VALUES (?)", [(1,)] * 5000)
    connection.close()


def test_p11_a_statement_that_takes_too_long_to_prepare_is_timed_out(db: Database) -> None:
    """Each view doubles the work of the one before: thirteen are too many, two are not."""
    db.execute("CREATE VIEW v0 AS SELECT 1 AS x")
    for number in range(1, 14):
        below = f"v{number - 1}"
        db.execute(f"CREATE VIEW v{number} AS SELECT a.x FROM {below} AS a, {below} AS b")
    instants = count()
    connection = Connection(db.snapshot(), value_bytes_max=MIB, monotonic=lambda: float(next(instants)))
    connection.begin_request(now_ms=0, deadline=1000.0, result_bytes=MIB)
    for _ in range(2):
        with pytest.raises(TimedOut, match="prepare"):
            connection.fetch("SELECT * FROM v13", (), MIB)
        assert connection.fetch("SELECT * FROM v2", (), MIB)[1] == [(1,)]
    connection.close()


@pytest.mark.native
@pytest.mark.parametrize("overdue", [False, True])
def test_p11_another_thread_interrupts_a_statement(db: Database, overdue: bool) -> None:
    """By its connection, or as one of those past their deadline; nothing that ran later is hit."""
    now, runs, go_on = [0.0], threading.Event(), threading.Event()

    def wait() -> int:
        runs.set()
        assert go_on.wait(30)
        return 1

    connection = Connection(
        db.snapshot(),
        value_bytes_max=MIB,
        monotonic=lambda: now[0],
        on_connect=lambda extensions: extensions.add_function("wait", wait),
    )
    connection.begin_request(now_ms=0, deadline=10.0, result_bytes=MIB)
    assert not connection.interrupt()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            connection.fetch(f"{NUMBERS} LIMIT 10) SELECT wait() FROM c", (), MIB)
        except TimedOut as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert runs.wait(30)
    assert sqlite.interrupt_overdue() == 0
    if overdue:
        now[0] = 11.0
        assert sqlite.interrupt_overdue() == 1
    else:
        assert connection.interrupt()
    go_on.set()
    thread.join(30)
    assert len(failures) == 1
    now[0] = 0.0
    assert not connection.interrupt()
    assert connection.fetch("SELECT 1", (), MIB)[1] == [(1,)]
    connection.close()


@pytest.mark.native
def test_p11_a_statement_with_long_values_takes_linear_time() -> None:
    """SQLite's own functions would take minutes each for these; the process is given 50 seconds for all."""
    calls = [
        "instr(zeroblob(3000000), zeroblob(1500000) || x'01')",
        "instr(hex(zeroblob(3000000)), hex(zeroblob(1500000)) || '1')",
        "replace(hex(zeroblob(3000000)), hex(zeroblob(1500000)) || '1', '')",
        "trim(hex(zeroblob(1000000)), replace(hex(zeroblob(1000000)), '0', '1') || '0')",
        "unhex(hex(zeroblob(100000)), replace(hex(zeroblob(100000)), '0', '-'))",
        "hex(zeroblob(3000000)) LIKE '%' || hex(zeroblob(400)) || '1%'",
        "hex(zeroblob(3000000)) GLOB '*' || replace(hex(zeroblob(400)), '0', '[0-9]') || '1*'",
        "json_patch(json_object('a', hex(zeroblob(200000))), '{}')",
    ]
    body = "".join(
        f"\n        try: db.query({f'SELECT length({call})'!r})\n        except virke.TooLarge: pass" for call in calls
    )
    assert measured(f"pass{body}")[0] == "answered"


def test_p11_a_long_value_is_read_and_written_like_any_other(db: Database) -> None:
    """Beyond the length that statements are tried with: parameters, columns, triggers, every row of executemany."""
    long = "é" * sqlite.HOT_VALUE_BYTES
    db.run_script(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v); CREATE TABLE log (v);"
        "CREATE TRIGGER copy AFTER INSERT ON t BEGIN INSERT INTO log VALUES (new.v); END"
    )
    db.execute("INSERT INTO t (v) VALUES (?)", (long,))
    assert db.executemany("INSERT INTO t (v) VALUES (?)", [("a",), (long,), ("b",)]) == 3
    for _ in range(3):
        assert db.query("SELECT v FROM t WHERE id = ?", (1,)).rows == [(long,)]
        assert db.query("SELECT id FROM t WHERE v = ?", (long,)).rows == [(1,), (3,)]
        assert db.query("SELECT instr(v, 'é'), length(replace(v, 'é', 'ab')) FROM t WHERE id = 1").rows == [
            (1, 2 * len(long))
        ]
    assert db.query("SELECT count(*) FROM log").rows == [(4,)]
    db.execute(f"CREATE VIEW long AS SELECT '{long}' AS v")
    assert db.query("SELECT v FROM long").rows == [(long,)]
    with db.transaction() as transaction:
        assert transaction.query("SELECT max(length(v)) FROM log").rows == [(len(long),)]
        assert transaction.execute("UPDATE t SET v = v || 'x' WHERE id = 1") == 1
    assert db.query("SELECT length(v) FROM t WHERE id = 1").rows == [(len(long) + 1,)]


@pytest.mark.parametrize("over", [0, 1])
def test_p11_the_bound_of_a_transaction_s_pages_is_where_it_is_said_to_be(over: int) -> None:
    """As many pages as fit are written; one more is too large."""
    db = make(page_size=4096)
    db.execute("CREATE TABLE t (v)")
    probe = Connection(db.snapshot(), value_bytes_max=16 * MIB)
    _write(probe)
    pages = len(probe.file._overlay)
    probe.close()
    connection = Connection(db.snapshot(), value_bytes_max=16 * MIB, overlay_bytes_max=pages * 4096 - over)
    if over:
        with pytest.raises(TooLarge):
            _write(connection)
    else:
        _write(connection)
        assert len(connection.file._overlay) == pages
    connection.close()
    assert pages_of(db.snapshot())


def _write(connection: Connection) -> None:
    connection.control("BEGIN IMMEDIATE")
    connection.fetch("INSERT INTO t VALUES (zeroblob(100000))", (), MIB)
    connection.control("COMMIT")
