"""Performs the effects of the pure protocols on a store, and reads and deletes objects.

Knows effects, stores and the environment; knows no pages and no SQL.

1. A put, a swap and the read of a root are made exactly as a protocol asks, once: repeats are its decision. Reads, lists and
   deletes of objects are repeated here (`repeating`). Nothing is repeated twice, and no store repeats anything (decision 0052).
2. A store's `Unavailable` on a write means "definitely not applied" and becomes `Refused`, or `Paced` if a swap only came too
   soon; on a read it becomes `Lost`
   for the root, and stays an error for objects.
3. Deleting what a protocol leaves behind is best effort, and tried once: what stays behind is garbage, which collection finds.
4. Any other error is raised inside the protocol, at its effect: only the protocol knows what was sent before.
5. An object that an eventual store does not show may only be new: it is asked for again, for a few seconds at most.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from virke.core.effects import (
    Absent,
    AwaitSlot,
    BackOff,
    Delete,
    Effect,
    Generation,
    Get,
    Keys,
    ListKeys,
    Lost,
    Outcome,
    OutOfTime,
    Paced,
    Pause,
    PutAll,
    PutNew,
    ReadOutcome,
    ReadRoot,
    Refused,
    RemoveRoot,
    SwapRoot,
    Tier,
    Unchanged,
)
from virke.engine.environment import Environment
from virke.engine.repeating import back_off, repeated
from virke.engine.undisturbed import Undisturbed
from virke.errors import Corrupt, NotFound, RateLimited, StoreDown, Unavailable, VirkeError
from virke.stores.base import Blobs, Consistency, Listed, Range, Store
from virke.stores.waiting import waits_within

PAUSE_MOST_S: Final = 1.0
ABSENT_TRIES: Final = 8
"""About 2.3 seconds of waiting."""
T = TypeVar("T")


class Driver:
    """Runs protocols against one root of one store."""

    def __init__(self, store: Store, root_key: str, environment: Environment) -> None:
        self._store = store
        self._root_key = root_key
        self._environment = environment
        self.sent_s = 0.0
        """When the last swap was sent."""
        self.read_s = (0.0, 0.0)
        """When the last read of a root was begun, and when it was answered."""
        self.undisturbed = Undisturbed(environment.monotonic)
        """Which thread computes a commit; none while it waits for a swap."""
        self.await_refused: Callable[[float, float | None], None] | None = None
        """What waits for the slot of a swap, sent then, that came too soon; the server may say for how long."""

    def run(self, protocol: Generator[Effect, Outcome, T]) -> T:
        """Drive `protocol` to its end and return what it returns."""
        answer: Callable[[], Effect] = partial(protocol.send, None)
        began_s = self._environment.monotonic()
        while True:
            try:
                effect = answer()
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(effect, BackOff):
                may = back_off(self._environment, effect.failed, began_s, effect.retry_after_s)
                answer = partial(protocol.send, None if may else OutOfTime())
                continue
            try:
                answer = partial(protocol.send, self._perform_effect(effect))
            except VirkeError as error:
                answer = partial(protocol.throw, error)
            del effect  # the objects that it puts: the protocol makes the next ones now

    def _perform_effect(self, effect: Effect) -> Outcome:
        match effect:
            case ReadRoot(key):
                return self._read_root(key or self._root_key)
            case SwapRoot(data, base, key):
                return self._swap(lambda: self._store.register.swap(key or self._root_key, data, base))
            case RemoveRoot(name, base):
                return self._swap(lambda: self._store.register.remove(name, base))
            case PutNew(tier, key, data):
                try:
                    return self.blobs(tier).put_new(key, data)
                except Unavailable as error:
                    return _refused(error)
            case PutAll(tier, objects):
                try:
                    return self.blobs(tier).put_all(objects)
                except Unavailable as error:
                    return _refused(error)
            case Get(tier, ranges, fresh):
                return self.get(tier, [Range(key, offset, length, fresh) for key, offset, length in ranges])
            case ListKeys(tier, prefix):
                return Keys(tuple(item.key for item in self.listed(tier, prefix)))
            case Delete(tier, keys, must=True):
                repeated(self._environment, lambda: self.blobs(tier).delete(keys))
                return None
            case Delete(tier, keys):
                with suppress(VirkeError):  # invariant 3
                    if keys:
                        self.blobs(tier).delete(keys)
                return None
            case AwaitSlot(Paced(retry_after_s)):
                if self.await_refused:
                    self.await_refused(self.sent_s, retry_after_s)
                else:
                    self._environment.wait(retry_after_s or PAUSE_MOST_S)
                return None
            case BackOff():
                raise AssertionError("`run` waits: it knows when the protocol began")
            case Pause(attempt):
                with suppress(Unavailable):  # who may not wait any more makes the next attempt at once
                    self._environment.pause(attempt, longest_s=PAUSE_MOST_S)
                return None

    def _swap(self, swap: Callable[[], Outcome]) -> Outcome:
        self.sent_s = self._environment.monotonic()
        try:
            pause = self.undisturbed.paused
            with waits_within(pause) if self._store.says_waits else pause():
                return swap()
        except RateLimited as error:
            return Paced(error.retry_after_s)
        except Unavailable as error:
            return _refused(error)

    def remove(self, deletes: Iterable[Delete]) -> None:
        """Delete objects that nothing names, best effort."""
        for effect in deletes:
            self._perform_effect(effect)

    def sweep(self, deletes: Iterable[Delete]) -> None:
        """Delete garbage. Raises `Denied`: the store does not allow it, which an operator should know; else as `remove`."""
        for effect in deletes:
            if effect.keys:
                with suppress(Unavailable):
                    repeated(self._environment, partial(self.blobs(effect.tier).delete, effect.keys))

    def listed(self, tier: Tier, prefix: str) -> list[Listed]:
        """All objects of a tier that begin with `prefix`. Raises `Unavailable`."""
        return repeated(self._environment, lambda: list(self.blobs(tier).list(prefix)))

    def read(self, known: Generation | None) -> ReadOutcome:
        """The root, or `Unchanged` while its generation is `known`. Raises `Unavailable`."""
        return repeated(self._environment, lambda: self._store.register.read(self._root_key, known))

    def _read_root(self, key: str) -> Outcome:
        began_s = self._environment.monotonic()
        try:
            outcome = self._store.register.read(key)
        except Unavailable as error:
            return Lost(error.message, error.retry_after_s)
        finally:
            self.read_s = began_s, self._environment.monotonic()
        assert not isinstance(outcome, Unchanged), "no known generation was named"
        return outcome

    def get(self, tier: Tier, ranges: Sequence[Range]) -> list[bytes | Absent]:
        """Ranges of immutable objects; asked for again while the store is unavailable.

        Raises:
            Unavailable: it did not answer. Corrupt: an object is shorter than asked, in the store itself.
        """
        blobs = self.blobs(tier)
        try:
            answers = self._get_ranges(blobs, ranges)
        except Corrupt:  # of a copy, perhaps
            answers = self._get_ranges(blobs, [replace(asked, fresh=True) for asked in ranges])
        if blobs.consistency is Consistency.EVENTUAL:
            for attempt in range(ABSENT_TRIES):
                missing = [at for at, answer in enumerate(answers) if isinstance(answer, Absent)]
                if not missing:
                    break
                self._perform_effect(Pause(attempt))
                for at, answer in zip(missing, self._get_ranges(blobs, [ranges[at] for at in missing]), strict=True):
                    answers[at] = answer
        return answers

    def _get_ranges(self, blobs: Blobs, ranges: Sequence[Range]) -> list[bytes | Absent]:
        return repeated(self._environment, lambda: blobs.get(ranges))

    def blobs(self, tier: Tier) -> Blobs:
        """The blobs that serve `tier`.

        Raises:
            NotFound: this store does not serve it.
        """
        blobs = self._store.blobs.get(tier)
        if blobs is None:
            raise NotFound(f"store {self._store.url} has no {tier.value} tier; name one in virke.toml [store]")
        return blobs


def _refused(error: Unavailable) -> Refused:
    return Refused(error.message, isinstance(error, StoreDown), error.retry_after_s)
