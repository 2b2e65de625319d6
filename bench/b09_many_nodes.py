"""B9: four nodes with four writers each on one database, against one node with four writers.

python -m bench.b09_many_nodes STORE NODE     is one node; it prints the tokens of the rows that were answered
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Final

from bench import far
from bench.opening import NAME
from bench.report import Figure
from virke.errors import Conflict
from virke.opening import connect

WRITERS: Final = 4
NODES: Final = 4
ROWS: Final = 60
GOODPUT_LEAST: Final = 0.5
DELAYS_MS: Final = (0, 25)


def node(store: str, name: str) -> None:
    """Write rows in `WRITERS` threads, a lost race again, once a line comes in; tell each that was answered."""
    with connect(NAME, store) as database:
        print("ready", flush=True)
        sys.stdin.readline()

        def work(writer: int) -> None:
            for number in range(ROWS):
                token = f"{name}-{writer}-{number}"
                while True:
                    try:
                        database.execute("INSERT INTO entry VALUES (?)", (token,))
                        break
                    except Conflict:
                        continue
                sys.stdout.write(f"{token}\n")  # in one piece
                sys.stdout.flush()

        threads = [threading.Thread(target=work, args=(writer,)) for writer in range(WRITERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def together(store: str, nodes: int) -> tuple[float, int, int]:
    """Rows a second of so many nodes; rows lost, and rows that are there more often than once."""
    with connect(NAME, store, create=True, background=False) as database:
        database.execute("CREATE TABLE IF NOT EXISTS entry (token TEXT NOT NULL)")
        database.execute("DELETE FROM entry")
    command = [sys.executable, "-m", "bench.b09_many_nodes", store]
    running = [
        subprocess.Popen([*command, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for number in range(nodes)
    ]
    for process in running:
        assert process.stdout is not None
        process.stdout.readline()
    began = time.perf_counter()
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answered = {token for process in running for token in process.communicate()[0].split()}
    elapsed_s = time.perf_counter() - began
    assert [process.returncode for process in running] == [0] * nodes
    assert len(answered) == nodes * WRITERS * ROWS
    with connect(NAME, store, background=False) as database:
        found = [token for (token,) in database.query("SELECT token FROM entry").rows]
    return len(answered) / elapsed_s, len(answered - set(found)), len(found) - len(set(found))


def run() -> list[Figure]:
    """On SeaweedFS, near and far."""
    figures = []
    with far.s3() as server:
        for delay_ms in DELAYS_MS:
            with far.distant(server, delay_ms) as place:
                alone, _, _ = together(place.url(far.prefix()), 1)
                goodput, lost, doubled = together(place.url(far.prefix()), NODES)
            what = f"{NODES} nodes × {WRITERS} writers, {delay_ms} ms a request"
            figures += [
                Figure("B9", f"{what}: rows lost", lost, "", at_most=0),
                Figure("B9", f"{what}: rows doubled", doubled, "", at_most=0),
                Figure("B9", f"{what}: goodput of one node's", goodput / alone, "×", at_least=GOODPUT_LEAST),
                Figure("B9", f"{what}: rows", goodput, "a second"),
            ]
    return figures


if __name__ == "__main__":
    node(*sys.argv[1:])
