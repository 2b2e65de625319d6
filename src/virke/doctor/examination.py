"""An examination: one check after the other, and the cleaning up.

Knows when a check is made again and when all is given up; which checks there are is `checks`' matter.

1. The store itself is tried, not a cache in front of it.
2. An error of the store ends a check, never the examination, unless nothing was proved yet: then it is the caller's.
3. A check that could not be finished is made once more under fresh keys. After `SKIPPED_MAX` in a row that could not,
   the store is away, and the rest is not tried. A store that answers, each time something that no such store may, is
   not away: that is a verdict.
4. Whatever happens, all that was written is removed; what could not be is named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from virke.doctor.checks import Check, checks_of
from virke.doctor.cleaning import remove_traces
from virke.doctor.traces import Traces
from virke.doctor.trial import Trial
from virke.doctor.verdict import Latency, Refuted, Report, Status, Unproved, Verdict
from virke.engine.environment import Environment
from virke.errors import Denied, NotFound, Unavailable, VirkeError
from virke.stores.base import Consistency, Store
from virke.stores.counted import CountingStore

SECONDS_MAX: Final = 20.0
"""How long a check may repeat and wait."""
TRIES: Final = 2
SKIPPED_MAX: Final = 3
UNFINISHED: Final = "Nothing is proved either way: run it again when the store answers."

Progress = Callable[[int, int], None]
"""Called with the checks done and in total."""


def silent(done: int, total: int) -> None:
    """The `Progress` of a caller that asked for none."""


def examine(
    store: Store,
    *,
    large: bool = False,
    seconds_max: float = SECONDS_MAX,
    progress: Progress = silent,
    environment: Environment | None = None,
) -> Report:
    """Try everything that `store` promises, under keys of this run's own.

    It should be opened without a cache (`open_store(…, cached=False)`): what is tried is what stands behind it.
    With `large` the largest object that the store takes is among it. A check repeats and waits for at most
    `seconds_max`.

    Raises:
        Unavailable, Denied, NotFound: the store does not answer, or refuses the credentials; nothing could be tried.
    """
    env = environment or Environment()
    counting = CountingStore(store)
    traces = Traces(env.random_bytes(8).hex())
    latencies: list[Latency] = []
    began = env.monotonic()
    checks = [*checks_of(store, latencies.append)]
    trial = partial(Trial, counting.store, traces, env, seconds_max=seconds_max, large=large)
    try:
        verdicts = _run_checks(checks, trial, progress)
    finally:
        cleaned = remove_traces(counting.store, traces, env)
    progress(len(checks), len(checks))
    return Report(
        store=store.url,
        checks=(*verdicts, cleaned),
        latencies=tuple(latencies),
        calls=counting.total.requests,
        elapsed_s=env.monotonic() - began,
    )


# One after the other


def _run_checks(checks: Sequence[Check], trial: Callable[[], Trial], progress: Progress) -> list[Verdict]:
    verdicts: list[Verdict] = []
    for done, check in enumerate(checks):
        progress(done, len(checks))
        last = verdicts[-SKIPPED_MAX:]
        if len(last) == SKIPPED_MAX and all(verdict.status is Status.SKIPPED for verdict in last):
            verdicts.append(Verdict(check.name, Status.SKIPPED, "not tried: the store is away", UNFINISHED))
            continue
        is_proved = any(verdict.status is not Status.SKIPPED for verdict in verdicts)
        verdicts.append(_verdict_of_check(check, trial, is_proved=is_proved))
    return verdicts


def _verdict_of_check(check: Check, trial: Callable[[], Trial], *, is_proved: bool) -> Verdict:
    """How one check ended (invariants 2 and 3)."""
    why: Exception = Unproved("it was not tried")
    answers = 0
    for attempt in range(TRIES):
        this = trial()
        if attempt:
            this.pause(attempt, Consistency.EVENTUAL)
        try:
            finding = check.run(this)
        except (Unproved, Unavailable) as error:
            why = error
            answers += isinstance(error, Unavailable) and bool(error.context.get("is_answer"))
            continue
        except (Denied, NotFound) as error:
            if not is_proved:
                raise
            return Verdict(check.name, Status.FAIL, error.message, check.broken)
        except Refuted as refuted:
            return Verdict(check.name, Status.FAIL, str(refuted), check.broken)
        except VirkeError as error:
            return Verdict(check.name, Status.FAIL, f"{error.kind}: {error.message}", check.broken)
        except Exception as error:  # a store's own errors are part of its contract
            found = f"the store raises what no store may: {type(error).__name__}: {error}"
            return Verdict(check.name, Status.FAIL, found, check.broken)
        if finding.warning:
            return Verdict(check.name, Status.WARN, finding.found, finding.warning)
        return Verdict(check.name, Status.OK, finding.found, check.holds)
    if answers == TRIES:
        return Verdict(check.name, Status.FAIL, f"answers what is not to be understood, each time: {why}", check.broken)
    if isinstance(why, Unavailable) and not is_proved:
        raise why
    return Verdict(check.name, Status.SKIPPED, str(why), UNFINISHED)
