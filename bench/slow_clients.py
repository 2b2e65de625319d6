"""A thousand slow clients beside saturating ones: does the node's memory stay, and do the others get their answers?

`python -m bench.slow_clients SECONDS` prints what the node holds every few seconds, and how long point reads took. The slow ones
come back as soon as they are dropped: a quarter of them sends heads byte by byte, a quarter bodies, a quarter asks for
large answers and does not read them, a quarter asks something small now and then.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import urlopen

from bench import load
from bench.beside import Served, a_node
from bench.report import Figure, machine, table
from virke.processes import files_max

SLOW: Final = 1000
SATURATING: Final = 16
SECONDS: Final = 60.0
LOOK_S: Final = 5.0
WARM_S: Final = 10.0
HEAD: Final = b"POST /v2/pipeline HTTP/1.1\r\nhost: localhost\r\n"
ALL: Final = json.dumps({"requests": [load.execute("SELECT id, name, email FROM users")]}).encode()
ONE: Final = json.dumps({"requests": [load.execute(load.READ, 1)]}).encode()


class SlowClients:
    """So many of them, on an event loop of their own, until `stop`."""

    def __init__(self, url: str, count: int) -> None:
        address = urlsplit(url)
        self._address = address.hostname or "", address.port or 80
        self._count = count
        self.begun = 0
        """How often one of them connected."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._play()), name="slow-clients")
        self._thread.start()

    def stop(self) -> None:
        """End them."""
        self._ended.set()
        self._thread.join()

    async def _play(self) -> None:
        kinds = (self._slow_head, self._slow_body, self._deaf, self._idle)
        tasks = [asyncio.ensure_future(self._again(kinds[n % len(kinds)])) for n in range(self._count)]
        while not self._ended.is_set():
            await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _again(self, kind: object) -> None:
        assert callable(kind)
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection(*self._address, limit=1 << 16)
                self.begun += 1
                try:
                    await kind(reader, writer)
                finally:
                    writer.close()
            await asyncio.sleep(0.5)

    async def _slow_head(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._drip(reader, writer, HEAD + b"x: ")

    async def _slow_body(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._drip(reader, writer, HEAD + b"content-length: 1000000\r\n\r\n" + b" " * 60_000)

    async def _drip(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, begin: bytes) -> None:
        writer.write(begin)
        answer = asyncio.ensure_future(reader.read(1))
        while not answer.done():
            writer.write(b" ")
            await asyncio.wait((answer,), timeout=1)

    async def _deaf(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(HEAD + b"content-length: %d\r\n\r\n" % len(ALL) + ALL)
        while not writer.transport.is_closing():
            writer.write(b" ")  # it shows that the connection is gone
            await asyncio.sleep(2)

    async def _idle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(HEAD + b"content-length: %d\r\n\r\n" % len(ONE) + ONE)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
            await asyncio.sleep(20)


def memory_mib(server: Served) -> float:
    """What a process holds in memory."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{server.pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def dropped(server: Served) -> float:
    """How many connections the node has dropped, as it says itself."""
    with urlopen(f"{server.url}/metrics") as answered:
        found = re.search(r'virke_connections_total{kind="dropped"} ([\d.e+]+)', answered.read().decode())
    return float(found[1]) if found else 0.0


def run(seconds: float = SECONDS) -> list[Figure]:
    """Point reads alone, and with the slow clients beside them."""
    files_max()
    with a_node() as node:
        alone = load.put(node.url, "read", SATURATING, WARM_S)
        slow = SlowClients(node.url, SLOW)
        try:
            time.sleep(WARM_S)
            saturating = load.Running(node.url, "read", SATURATING, seconds)
            held = [memory_mib(node)]
            began = time.monotonic()
            while time.monotonic() < began + seconds:
                time.sleep(LOOK_S)
                held.append(memory_mib(node))
                print(f"{time.monotonic() - began:5.0f} s  {held[-1]:6.0f} MiB", file=sys.stderr, flush=True)
            beside, lost = saturating.result(), dropped(node)
        finally:
            slow.stop()
    half = len(held) // 2
    return [
        Figure("SLOW", "memory, first half: most", max(held[:half]), "MiB"),
        Figure(
            "SLOW",
            "memory, second half: most, of the first half's",
            max(held[half:]) / max(held[:half]),
            "×",
            at_most=1.1,
        ),
        Figure("SLOW", "slow connections begun", slow.begun, ""),
        Figure("SLOW", "connections that the node dropped", lost, ""),
        Figure("SLOW", "point reads alone: rate", alone.rate, "reads/s"),
        Figure("SLOW", "point reads alone: 99th percentile", alone.tail_ms, "ms"),
        Figure("SLOW", "point reads beside them: rate, of that alone", beside.rate / alone.rate, "×"),
        Figure("SLOW", "point reads beside them: 99th percentile", beside.tail_ms, "ms"),
        Figure("SLOW", "point reads beside them: errors", beside.wrong, "", at_most=0),
    ]


if __name__ == "__main__":
    figures = run(float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS)
    print(f"{machine()}\n\n{table(figures)}")
