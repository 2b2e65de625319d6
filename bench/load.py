"""Load on one HTTP server that speaks libSQL's protocol: so many clients, each with a connection of its own, for so long.

`python -m bench.load URL KIND CLIENTS SECONDS` prints one JSON. Point reads and single INSERTs are asked by `wrk` where it is
installed (it takes a third of the CPU), the rest by clients of our own: a machine's other half is the client's.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

USERS: Final = 10_000
READ: Final = "SELECT id, name, email FROM users WHERE id = ?"
INSERT: Final = "INSERT INTO log (who, what) VALUES (?, ?)"
WHAT: Final = "something that happened"
LONG: Final = "SELECT count(*), sum(length(a.name)) FROM users a, (SELECT id FROM users LIMIT 60) b WHERE a.id > b.id"
_WRK_BODY: Final = """
wrk.method = "POST"; wrk.headers["Content-Type"] = "application/json"
local seed = 0; local n = 0
function setup(thread) thread:set("seed", math.random(1, 1000000)) end
function request()
  n = (n * 1103515245 + 12345 + seed) % 2147483648
  return wrk.format("POST", "/v2/pipeline", nil, (BODY:gsub("NUMBER", tostring(n % 10000 + 1))))
end
function response(status, headers, body)
  if status ~= 200 or body:find('"error"', 1, true) then print("WRONG", status, body) end
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What clients got: answers in all, how many were errors, and how long one took."""

    done: int
    wrong: int
    seconds: float
    median_ms: float
    tail_ms: float

    @property
    def rate(self) -> float:
        """Right answers a second."""
        return (self.done - self.wrong) / self.seconds


def execute(sql: str, *args: object) -> dict[str, object]:
    """A request that runs one statement."""
    return {"type": "execute", "stmt": statement(sql, *args)}


def statement(sql: str, *args: object) -> dict[str, object]:
    """A statement with its arguments."""
    values = [
        {"type": "integer", "value": str(one)} if isinstance(one, int) else {"type": "text", "value": one}
        for one in args
    ]
    return {"sql": sql, "args": values}


class Client:
    """A connection, and the stream of a client on it."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self.wrong = 0

    async def connect(self) -> None:
        """Open it."""
        self._reader, self._writer = await asyncio.open_connection(*self._address)

    async def pipeline(self, requests: list[object], baton: str | None = None) -> Any:
        """What a pipeline is answered; None if that is an error."""
        body = json.dumps({"baton": baton, "requests": requests}).encode()
        self._writer.write(
            b"POST /v2/pipeline HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        )
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = re.search(rb"content-length: (\d+)", head)
        if length is None:
            raise RuntimeError(f"an answer without a length: {head!r}")
        answered = await self._reader.readexactly(int(length[1]))
        found = json.loads(answered) if b" 200 " in head[:16] else None
        if found is None or any(one["type"] != "ok" for one in found["results"]):
            self.wrong += 1
            return None
        return found

    async def read(self, number: int) -> None:
        """A row by its key."""
        await self.pipeline([execute(READ, number % USERS + 1), {"type": "close"}])

    async def write(self, number: int) -> None:
        """A row, answered when it is there."""
        await self.pipeline([execute(INSERT, number, WHAT), {"type": "close"}])

    async def long(self, number: int) -> None:
        """A query that takes a while."""
        await self.pipeline([execute(LONG), {"type": "close"}])

    async def batch(self, number: int) -> None:
        """What `client.batch(…, "write")` sends: BEGIN, two INSERTs, a SELECT, COMMIT or ROLLBACK."""
        texts = [statement("BEGIN IMMEDIATE"), statement(INSERT, number, WHAT), statement(INSERT, number, WHAT)]
        texts += [statement(READ, number % USERS + 1), statement("COMMIT")]
        steps: list[object] = [
            {"stmt": one, "condition": {"type": "ok", "step": at - 1} if at else None} for at, one in enumerate(texts)
        ]
        failed = {"type": "not", "cond": {"type": "ok", "step": len(texts) - 1}}
        steps.append({"stmt": statement("ROLLBACK"), "condition": failed})
        found = await self.pipeline([{"type": "batch", "batch": {"steps": steps}}, {"type": "close"}])
        if found and any(found["results"][0]["response"]["result"]["step_errors"]):
            self.wrong += 1

    async def transaction(self, number: int) -> None:
        """A read, a write that depends on it, and COMMIT: three requests on one stream."""
        begun = await self.pipeline([execute("BEGIN IMMEDIATE"), execute(READ, number % USERS + 1)])
        if begun is None:
            return
        written = await self.pipeline([execute(INSERT, number, WHAT)], begun["baton"])
        if written is not None:
            await self.pipeline([execute("COMMIT"), {"type": "close"}], written["baton"])


KINDS: Final[dict[str, Callable[[Client, int], Awaitable[None]]]] = {
    "read": Client.read,
    "write": Client.write,
    "long": Client.long,
    "batch": Client.batch,
    "transaction": Client.transaction,
}


async def _own(url: str, kind: str, clients: int, seconds: float) -> Load:
    address = urlsplit(url)
    ask, took, wrong = KINDS[kind], list[float](), 0
    began = time.perf_counter()

    async def one(number: int) -> None:
        nonlocal wrong
        client = Client(address.hostname or "", address.port or 80)
        await client.connect()
        while (at := time.perf_counter()) < began + seconds:
            number += clients
            await ask(client, number)
            took.append(time.perf_counter() - at)
        wrong += client.wrong

    await asyncio.gather(*(one(number) for number in range(clients)))
    took.sort()
    return Load(
        len(took), wrong, time.perf_counter() - began, took[len(took) // 2] * 1e3, took[len(took) * 99 // 100] * 1e3
    )


def _by_wrk(wrk: str, url: str, kind: str, clients: int, seconds: float) -> Load:
    request = execute(READ, "NUMBER") if kind == "read" else execute(INSERT, "NUMBER", WHAT)
    body = json.dumps({"requests": [request, {"type": "close"}]}).replace(
        '"type": "text", "value": "NUMBER"', '"type": "integer", "value": "NUMBER"'
    )
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "load.lua"
        script.write_text(f"BODY = [==[{body}]==]\n{_WRK_BODY}")
        command = [
            wrk,
            "--latency",
            "-t1",
            f"-c{clients}",
            f"-d{max(1, round(seconds))}s",
            "--timeout",
            "30s",
            "-s",
            str(script),
            url,
        ]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    done, took = (
        re.search(r"(\d+) requests in ([\d.]+)(ms|s|m|h)", said),
        re.findall(r"(?:50|99)%\s+([\d.]+)(us|ms|s)", said),
    )
    if done is None:
        raise RuntimeError(f"wrk said {said!r}")
    ms = [float(number) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit] for number, unit in took]
    took_s = float(done[2]) * {"ms": 1e-3, "s": 1, "m": 60, "h": 3600}[done[3]]
    return Load(int(done[1]), said.count("WRONG"), took_s, ms[0], ms[1])


def put(url: str, kind: str, clients: int, seconds: float, *, own: bool = False) -> Load:
    """Put load on a server, from this process."""
    wrk = None if own or kind not in ("read", "write") else shutil.which("wrk")
    return _by_wrk(wrk, url, kind, clients, seconds) if wrk else asyncio.run(_own(url, kind, clients, seconds))


class Running:
    """Load from a process of its own, begun; `result` waits for its end."""

    def __init__(self, url: str, kind: str, clients: int, seconds: float) -> None:
        command = [sys.executable, "-m", "bench.load", url, kind, str(clients), str(seconds)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def result(self) -> Load:
        """What its clients got."""
        said, _ = self._process.communicate()
        return Load(**json.loads(said))


if __name__ == "__main__":
    url, kind, clients, seconds = sys.argv[1:5]
    print(json.dumps(asdict(put(url, kind, int(clients), float(seconds)))))
