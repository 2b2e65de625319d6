"""What is measured and not judged: latencies, swaps a second; and the store's clock compared with this machine's.

Knows which calls a database makes most; knows nothing of what a good number is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import median
from typing import Final

from virke.core.effects import Absent, Generation, Lost, Swapped, Tier
from virke.doctor.trial import Trial
from virke.doctor.verdict import Finding, Latency, Refuted, Unproved
from virke.stores.base import Listed, Range

SKEW_WARN_MS: Final = 5000
SKEWED: Final = (
    "Times in history, and the age at which garbage may go, are the writer's clock: set this machine's clock by a time "
    "server, or `AS OF` a time and grace periods are off by as much (P8)."
)
RATE_HOLDS: Final = "So many commits of one database in a second; writes that arrive at once share one (P15)."
RATE_WARN: Final = 2.0
_RATE_MEANS: Final = (
    "A database here commits no oftener than that, from all processes together. Writes that arrive meanwhile share the next "
    "commit, so rows are not limited by it, but each write waits for its turn."
)
_RATE_CURE: Final = (
    "If that is too slow, put a store that is quick with one key before this one: KV_URL,OBJECT_URL (P15)."
)
RATE_LIMITED: Final = f"{_RATE_MEANS} {_RATE_CURE}"
RATE_LOW: Final = f"The store did not refuse any, it is slow. {_RATE_MEANS} {_RATE_CURE}"
_RATE_SWAPS: Final = 50
_RATE_S: Final = 5.0
_SECOND_MS: Final = 1000
"""Listings of object storage cut times to whole seconds."""
_CALLS: Final = 20
_BIG_CALLS: Final = 5
_BIG_BYTES: Final = 1 << 20


def check_clock(trial: Trial, tier: Tier) -> Finding:
    """The time that a listing gives a fresh object, compared with this machine's clock."""
    key, blobs, now_ms = trial.object_key(tier), trial.blobs(tier), trial.environment.now_ms
    began_ms = now_ms()
    trial.stored(tier, key, b"tick")
    ended_ms = now_ms()

    def fresh() -> list[Listed]:
        return [item for item in blobs.list(key) if item.key == key]

    if not (found := trial.until(fresh, bool, blobs.consistency)):
        raise Refuted("a fresh object is not listed")
    modified_ms = found[0].modified_ms
    ahead_ms, behind_ms = modified_ms - ended_ms, began_ms - modified_ms - _SECOND_MS
    skew_ms = max(ahead_ms, behind_ms, 0)
    if skew_ms <= SKEW_WARN_MS:
        return Finding(f"at most {max(skew_ms, ended_ms - began_ms, _SECOND_MS) / 1000:.0f} s from this machine's")
    side = "ahead of" if ahead_ms > 0 else "behind"
    return Finding(f"the store's clock is {skew_ms / 1000:,.0f} s {side} this machine's", SKEWED)


def swap_rate(trial: Trial) -> Finding:
    """How many swaps of one key the store takes in a second from one caller."""
    key, register = trial.register_key(), trial.register
    base = trial.applied(key, b"0", None)
    began = trial.environment.monotonic()
    swaps, took_s = 0, 0.0
    while swaps < _RATE_SWAPS and took_s < _RATE_S and not trial.is_over:
        base = trial.applied(key, b"%d" % (swaps + 1), base)
        swaps, took_s = swaps + 1, trial.environment.monotonic() - began
    a_second = swaps / took_s if took_s else math.inf
    rate = f"about {a_second:.{0 if a_second >= 10 else 1}f} swaps of one key in a second"
    if register.too_soon:
        return Finding(f"{rate}, {register.too_soon} came too soon and were refused", RATE_LIMITED)
    return Finding(rate, RATE_LOW if a_second < RATE_WARN else "")


def register_latency(trial: Trial, add: Callable[[Latency], None]) -> Finding:
    """Conditional reads that find nothing new, and swaps."""
    key, register = trial.register_key(), trial.register
    base: list[Generation | None] = [trial.applied(key, b"0", None)]
    reads = _times_of_calls(trial, _CALLS, lambda _: register.read(key, base[0]))

    def swap(number: int) -> None:
        match register.swap(key, b"%d" % (number + 1), base[0]):
            case Swapped(generation):
                base[0] = generation
            case Lost(reason):
                raise Unproved(f"the answer to a swap was lost: {reason}")
            case _:
                raise Refuted("a swap with the right generation was refused")

    def settle(number: int) -> None:
        """Where a swap does not answer the generation, look for it, untimed."""
        base[0] = base[0] or trial.shown(key, b"%d" % number).generation

    swaps = _times_of_calls(trial, _CALLS, swap, settle)
    return _added_latencies(add, {"conditional read": reads, "swap": swaps})


def object_latency(trial: Trial, tier: Tier, add: Callable[[Latency], None]) -> Finding:
    """Small gets, and puts and gets of 1 MiB."""
    blobs, size = trial.blobs(tier), min(trial.blobs(tier).part_bytes_max, _BIG_BYTES)
    small = trial.object_key(tier)
    trial.stored(tier, small, trial.environment.random_bytes(2000))
    trial.got(tier, [Range(small, 0, 0)], [b""])
    big = [trial.object_key(tier) for _ in range(_BIG_CALLS)]
    data = [trial.environment.random_bytes(size) for _ in big]

    def get(key: str) -> None:
        trial.until(lambda: blobs.get([Range(key)]), lambda found: found != [Absent()], blobs.consistency)

    gets = _times_of_calls(trial, _CALLS, lambda _: get(small))
    puts = _times_of_calls(trial, _BIG_CALLS, lambda number: trial.stored(tier, big[number], data[number]))
    downs = _times_of_calls(trial, _BIG_CALLS, lambda number: get(big[number]))
    name, amount = tier.value, "1 MiB" if size == _BIG_BYTES else f"{size} bytes"
    return _added_latencies(
        add, {f"{name}: get 2 kB": gets, f"{name}: put {amount}": puts, f"{name}: get {amount}": downs}
    )


def _do_nothing(number: int) -> None:
    """Nothing to do before a call."""


def _times_of_calls(
    trial: Trial, count: int, call: Callable[[int], object], before: Callable[[int], None] = _do_nothing
) -> list[float]:
    """Milliseconds that each of `count` calls took; fewer calls if time is up."""
    took = []
    for number in range(count):
        before(number)
        began = trial.environment.monotonic()
        call(number)
        took.append((trial.environment.monotonic() - began) * 1000)
        if trial.is_over:
            break
    return took


def _added_latencies(add: Callable[[Latency], None], measured: dict[str, list[float]]) -> Finding:
    latencies = [Latency(name, len(took), median(took), max(took)) for name, took in measured.items()]
    for latency in latencies:
        add(latency)
    timed = (f"{one.name.rpartition(': ')[2]} ({one.count})" for one in latencies)
    return Finding(f"timed: {', '.join(timed)}")
