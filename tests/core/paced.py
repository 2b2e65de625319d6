"""Processes that commit to a store which takes so many swaps a second, in virtual time.

Every request takes a round trip of 40 to 70 ms. A process has some threads, each of which writes again as soon as it is
answered; what waits is one commit. Rules are values with the methods of `core/pace.Pace`.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from statistics import mean
from typing import Final, NamedTuple, Protocol

from tests.core.actors import empty, id_of
from virke.core.change import change_without_pages, next_root
from virke.core.ids import TAG_BYTES, CommitId
from virke.core.pace import Look, Send, Sleep
from virke.core.root import Root

ROUND_S: Final = 0.05
SECONDS: Final = 120.0


class Rule(Protocol):
    """When to send; what `Pace` is."""

    def step(self, now_s: float) -> Send | Look | Sleep:
        """What to do next."""

    def seen(self, root: Root, *, asked_s: float, now_s: float) -> Rule:
        """A read showed `root`."""

    def accepted(self, root: Root, *, sent_s: float, now_s: float) -> Rule:
        """The swap of `root` was applied."""

    def refused(self, *, sent_s: float, retry_after_s: float | None, chance: float) -> Rule:
        """A swap came too soon."""


MakeRule = Callable[[bytes], Rule]


@dataclass(slots=True)
class Limited:
    """A register that takes a swap every `period_s`, up to `burst` at once, and refuses the others."""

    period_s: float = 1.0
    burst: int = 1
    retry_after_s: float | None = None
    root: Root = field(default_factory=empty)
    commits: int = 0
    refused: int = 0
    reads: int = 0
    _tokens: float = 1.0
    _at: float = 0.0

    def swap(self, now: float, base: Root, new: Root) -> bool | None:
        """Whether it was applied; None if it came too soon."""
        gained = (now - self._at) / self.period_s if self.period_s else self.burst
        self._tokens, self._at = min(self.burst, self._tokens + gained), now
        if self._tokens < 1 - 1e-9:
            self.refused += 1
            return None
        if base.head.commit_id != self.root.head.commit_id:
            return False
        self._tokens -= 1
        self.root, self.commits = new, self.commits + 1
        return True


class Outcome(NamedTuple):
    """What became of one run, or the means of several; `fairness` is the rows of the slowest process to the fastest's."""

    commits_s: float
    refused: float
    reads: float
    p50_s: float
    p99_s: float
    longest_s: float
    fairness: float


class Process:
    """One process: its rule, the root that it knows, and the writes that wait (the time of each)."""

    def __init__(self, run: Run, rule: MakeRule, number: int, threads: int) -> None:
        self.tag = number.to_bytes(TAG_BYTES, "big")
        self.run, self.root = run, run.store.root
        self.rule = rule(self.tag).seen(self.root, asked_s=-0.05, now_s=0.0)  # when it was opened
        self.threads, self.waiting = threads, list[float]()
        self.answers: list[tuple[float, float]] = []
        """When, and how long it was waited for."""

    def goes(self) -> Generator[float, None, None]:
        """Everything it does; yields how long each thing takes."""
        yield self.run.chance() * ROUND_S
        self.waiting = [self.run.now] * self.threads
        while True:
            match self.rule.step(self.run.now):
                case Sleep(until_s):
                    assert until_s > self.run.now, "a step that waits for nothing"
                    yield until_s - self.run.now
                case Look():
                    yield from self.reads()
                case Send():
                    yield from self.sends()

    def reads(self) -> Generator[float, None, None]:
        """One read of the root."""
        asked_s = self.run.now
        self.run.store.reads += 1
        yield self.run.half_round()
        root = self.run.store.root
        yield self.run.half_round()
        self.root = root
        self.rule = self.rule.seen(root, asked_s=asked_s, now_s=self.run.now)

    def sends(self) -> Generator[float, None, None]:
        """One swap of all that waits, and a look if it was not applied."""
        batch, self.waiting = self.waiting, []
        base, sent_s = self.root, self.run.now
        id_ = CommitId(id_of(f"commit {next(self.run.numbers)}")[:-TAG_BYTES] + self.tag)
        new = next_root(base, id_, change_without_pages(base, 0))
        yield self.run.half_round()
        applied = self.run.store.swap(self.run.now, base, new)
        yield self.run.half_round()
        now = self.run.now
        if applied:
            self.root = new
            self.rule = self.rule.accepted(new, sent_s=sent_s, now_s=now)
            self.answers += [(now, now - asked_s) for asked_s in batch]
            self.waiting += [now] * len(batch)
            yield 0.002
            return
        self.waiting = batch + self.waiting
        yield from self.reads()
        if applied is None:
            self.rule = self.rule.refused(
                sent_s=sent_s,
                retry_after_s=self.run.store.retry_after_s,
                chance=self.run.chance(),
            )


class Run:
    """One run of some processes against one store."""

    def __init__(self, store: Limited, seed: int) -> None:
        self.store, self.now = store, 0.0
        self.numbers = itertools.count()
        self.chance = random.Random(seed).random

    def half_round(self) -> float:
        """How long a message takes, one way."""
        return ROUND_S / 2 * (0.8 + 0.6 * self.chance())

    def outcome(self, rule: MakeRule, processes: int, threads: int, last_comes_s: float) -> Outcome:
        """Let them write for two minutes; the last one begins at `last_comes_s`, and rows are compared from then on."""
        every = [Process(self, rule, number, threads) for number in range(processes)]
        order = itertools.count()
        due = [(0.0 if process is not every[-1] else last_comes_s, next(order), process.goes()) for process in every]
        heapq.heapify(due)
        while due[0][0] <= SECONDS:
            self.now, _, going = heapq.heappop(due)
            heapq.heappush(due, (self.now + next(going), next(order), going))
        waits = sorted(wait for process in every for _, wait in process.answers)
        rows = [sum(at >= last_comes_s for at, _ in process.answers) for process in every]
        commits = self.store.commits
        return Outcome(
            commits / SECONDS,
            self.store.refused / commits,
            self.store.reads / commits,
            waits[len(waits) // 2],
            waits[int(0.99 * len(waits))],
            waits[-1],
            min(rows) / max(rows),
        )


def paced(
    rule: MakeRule,
    processes: int,
    threads: int,
    *,
    seeds: int = 3,
    last_comes_s: float = 0.0,
    store: Callable[[], Limited] = Limited,
) -> Outcome:
    """The means of some runs; printed."""
    runs = [Run(store(), seed).outcome(rule, processes, threads, last_comes_s) for seed in range(seeds)]
    found = Outcome(*(mean(values) for values in zip(*runs, strict=True)))
    numbers = ", ".join(f"{name} {value:.2f}" for name, value in found._asdict().items())
    print(f"{getattr(rule, '__name__', rule)} {processes}x{threads}: {numbers}")
    return found
