"""The dataclasses whose methods are compiled at the first use are as those of the standard library are, behaviour by behaviour."""

from __future__ import annotations

import ast
import copy
import dataclasses
import inspect
import pickle
import re
import sys
import weakref
from collections.abc import Callable
from dataclasses import InitVar, field
from functools import partial
from pathlib import Path
from threading import Barrier, Thread
from types import SimpleNamespace
from typing import Any, ClassVar, Final, Generic, TypeVar

import pytest

from virke import lazy_dataclasses
from virke.lazy_dataclasses import dataclass

SOURCE: Final = Path(lazy_dataclasses.__file__).parent
THEIRS, OURS = dataclasses.dataclass, lazy_dataclasses._lazy_dataclass
T = TypeVar("T")


def kinds(make: Callable[..., Any]) -> SimpleNamespace:
    """The same classes, made by either decorator."""
    first = frozen(make)
    return SimpleNamespace(**first, **others(make), **inheriting(make, first["Hashable"], first["Open"]))


def named(made: dict[str, Any]) -> dict[str, Any]:
    """The classes alone."""
    return {name: one for name, one in made.items() if isinstance(one, type)}


def frozen(make: Callable[..., Any]) -> dict[str, Any]:
    """Those that are frozen."""

    @make(frozen=True, slots=True)
    class Point:
        """A point."""

        unit: ClassVar[str] = "mm"
        x: int
        y: int = 2
        tags: list[str] = field(default_factory=list)
        secret: str = field(default="s", repr=False)
        seen: int = field(default=0, compare=False)
        far: bool = field(default=False, kw_only=True)
        hashed: int = field(default=0, compare=True, hash=False)

    @make(frozen=True, slots=True)
    class Hashable:
        x: object
        y: object = None
        unhashed: int = field(default=1, hash=False)

    @make(frozen=True, slots=True)
    class Empty:
        """Nothing."""

    @make(frozen=True)
    class Open:
        """Without slots."""

        x: int
        y: int = 3

    @make(frozen=True, slots=True, eq=False, weakref_slot=True)
    class Identity:
        """Is equal to itself alone."""

        x: int

    @make(frozen=True, slots=True)
    class Of(Generic[T]):
        """One of a type."""

        value: T

    return named(locals())


def others(make: Callable[..., Any]) -> dict[str, Any]:
    """Those that are not frozen, or have something of their own."""

    @make
    class Plain:
        """With all defaults of the decorator."""

        x: int
        y: list[int] = field(default_factory=list)
        size: int = field(init=False, default=7)

    @make(slots=True)
    class Changing:
        """Not frozen, and so without a hash."""

        x: int
        total: int = field(init=False)
        fixed: int = field(init=False, default=4)

        def __post_init__(self) -> None:
            self.total = self.x + 1

    @make(frozen=True, slots=True)
    class Itself:
        """Has methods of its own."""

        x: int

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 5

        def __repr__(self) -> str:
            return "itself"

    @make(frozen=True, slots=True)
    class Unhashed:
        """Has an `__eq__` of its own alone."""

        x: int

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Unhashed) and self.x == other.x

    @make
    class ByHand:
        """Makes its instances itself."""

        x: int

        def __init__(self) -> None:
            self.x = 9

    @make
    class Once:
        """Takes what it does not keep."""

        x: int
        extra: InitVar[int] = 3  # type: ignore[assignment]

        def __post_init__(self, extra: int) -> None:
            self.x += extra

    return named(locals())


def inheriting(make: Callable[..., Any], hashable: Any, without_slots: Any) -> dict[str, Any]:
    """Those of other dataclasses."""

    @make(frozen=True, slots=True)
    class Derived(hashable):  # type: ignore[misc]
        """A dataclass of a dataclass."""

        z: int = 1

    class Child(without_slots):  # type: ignore[misc]
        """A class of a frozen dataclass that is not one."""

    return {"Derived": Derived, "Child": Child}


BUILDS: Final[dict[str, Callable[[Any], Any]]] = {
    "positions": lambda k: k.Point(1, 3),
    "defaults": lambda k: k.Point(1),
    "names": lambda k: k.Point(x=1, tags=["a"], far=True),
    "not compared": lambda k: k.Point(1, seen=5),
    "not shown": lambda k: k.Point(1, secret="t"),
    "none": lambda k: k.Empty(),
    "hashable": lambda k: k.Hashable(1, (2,)),
    "without slots": lambda k: k.Open(1),
    "plain": lambda k: k.Plain(1),
    "post init": lambda k: k.Changing(4),
    "identity": lambda k: k.Identity(1),
    "own methods": lambda k: k.Itself(1),
    "own equality": lambda k: k.Unhashed(1),
    "by hand": lambda k: k.ByHand(),
    "generic": lambda k: k.Of([1]),
    "derived": lambda k: k.Derived(1, z=2),
    "init variable": lambda k: k.Once(1, 2),
    "child": lambda k: k.Child(1),
    "missing": lambda k: k.Point(),
    "too many": lambda k: k.Point(1, 2, [], "s", 3, 4, 5),
    "unknown": lambda k: k.Point(1, nothing=2),
    "nested": lambda k: k.Hashable(k.Hashable(1)),
}
ASKED: Final[dict[str, Callable[[Any], object]]] = {
    "repr": repr,
    "hash": lambda one: hash(one) if type(one).__name__ != "Identity" else "by identity",
    "equal": lambda one: (one == copy.copy(one), one != copy.copy(one), one == 1, one.__eq__(1)),
    "same": lambda one: one == one,
    "set": lambda one: setattr(one, "x", 2),
    "set what is not there": lambda one: setattr(one, "nothing", 2),
    "delete": lambda one: delattr(one, "x"),
    "replace": lambda one: repr(dataclasses.replace(one, x=8)),
    "replace what is not taken": lambda one: repr(dataclasses.replace(one, size=8)),
    "dict": lambda one: repr(dataclasses.asdict(one)),
    "tuple": lambda one: repr(dataclasses.astuple(one)),
    "copy": lambda one: repr(copy.copy(one)),
    "deep copy": lambda one: repr(copy.deepcopy(one)),
    "attributes": lambda one: getattr(one, "__dict__", None),
    "weak": lambda one: weakref.ref(one)() is one,
    "fields": lambda one: [str(item) for item in dataclasses.fields(one)],
    "signature": lambda one: str(inspect.signature(type(one))),
    "annotations": lambda one: type(one).__init__.__annotations__,
    "qualified": lambda one: [getattr(type(one), name).__qualname__ for name in ("__init__", "__eq__", "__repr__")],
    "matched": lambda one: type(one).__match_args__,
    "slots": lambda one: getattr(type(one), "__slots__", None),
    "documented": lambda one: type(one).__doc__ if type(one).__name__ != "Hashable" else "",
    "frozen": lambda one: [getattr(one.__dataclass_params__, name) for name in ("init", "repr", "eq", "frozen")],
    "names": lambda one: sorted(set(dir(one)) - {"__replace__", "__weakref__"}),
}


def after(instances: int, build: Callable[[Any], Any], made: Any) -> Any:
    """The instance that comes after so many."""
    for _ in range(instances):
        build(made)
    return build(made)


def outcome(ask: Callable[[], object]) -> object:
    """What was answered, or the error in its words."""
    try:
        return ask()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
@pytest.mark.parametrize("instances", [0, 1, lazy_dataclasses.NOT_COMPILED_FOR, 5])
def test_it_is_as_the_standard_library_s(build: Callable[[Any], Any], instances: int) -> None:
    """Each question is the first that is asked of its class, after so many instances: nothing else is compiled yet."""

    def answers(make: Callable[..., Any]) -> dict[str, object]:
        return {name: outcome(partial(ask, make, asked)) for name, asked in ASKED.items()}

    def ask(make: Callable[..., Any], asked: Callable[[object], object]) -> object:
        return asked(after(instances, build, kinds(make)))

    ours, theirs = answers(OURS), answers(THEIRS)
    for name, said in theirs.items():
        if ours[name] != said and "super(type, obj)" in str(said):
            # theirs is a fault of Python, of what is not a field of a class with slots
            assert re.fullmatch("FrozenInstanceError: cannot (assign to|delete) field '[a-z]+'", str(ours.pop(name)))
    assert ours == {name: said for name, said in theirs.items() if name in ours}


def test_nothing_is_compiled_before_it_is_used_and_once_then() -> None:
    made = kinds(OURS).Hashable
    later = {"__init__", "__eq__", "__hash__", "__repr__"}
    assert {name for name, one in vars(made).items() if isinstance(one, lazy_dataclasses._Later)} == later
    for n in range(lazy_dataclasses.NOT_COMPILED_FOR):
        assert made(n).x == n
        assert {name for name, one in vars(made).items() if isinstance(one, lazy_dataclasses._Later)} == later
    one = made(1)
    assert {name for name, one in vars(made).items() if isinstance(one, lazy_dataclasses._Later)} == later - {
        "__init__"
    }
    assert hash(one) == hash(made(1))
    assert one == made(1)
    assert repr(one)
    assert {name for name, one in vars(made).items() if isinstance(one, lazy_dataclasses._Later)} == set()
    assert made.__init__ is made.__init__


def test_a_repr_that_comes_back_to_itself_ends() -> None:
    theirs, ours = (kinds(make).Plain(1) for make in (THEIRS, OURS))
    for one in (theirs, ours):
        one.y.append(one)
    assert repr(ours) == repr(theirs)


def test_threads_that_compile_at_once_get_the_same() -> None:
    for _ in range(20):
        made, gate = kinds(OURS).Hashable, Barrier(4)
        found: list[bool] = []

        def run(made: Any = made, gate: Barrier = gate, found: list[bool] = found) -> None:
            gate.wait()
            found.append(hash(made(1)) == hash(made(1)) and made(1) == made(1))

        threads = [Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [True] * 4


@dataclass(frozen=True, slots=True)
class Kept:
    """Can be pickled by its name."""

    x: int
    y: tuple[int, ...] = ()


@dataclass(slots=True)
class Loose:
    """As well, though not frozen."""

    x: int


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_come_back(protocol: int) -> None:
    for one in (Kept(1, (2,)), Loose(3)):
        if protocol < 2 and isinstance(one, Loose):
            continue  # slots without a state of their own can't go into those, of no dataclass
        assert pickle.loads(pickle.dumps(one, protocol)) == one


def test_pickles_of_the_standard_library_s_are_read() -> None:
    """A frozen one's state is the list of its values, as before."""
    assert Kept(1, (2,)).__reduce_ex__(2)[2] == [1, (2,)]


def test_what_is_not_equal_to_itself_is_the_same_there() -> None:
    """As in tuples; the standard library did so before Python 3.13, and since then compares field by field."""
    nan = float("nan")
    made = kinds(OURS).Hashable
    assert made(nan) == made(nan)
    assert made(nan) != made(float("nan"))


def test_match_takes_positions() -> None:
    match Kept(1, (2,)):
        case Kept(x, (y,)):
            assert (x, y) == (1, 2)
        case _:
            raise AssertionError


@pytest.mark.skipif(sys.version_info < (3, 13), reason="copy.replace came with Python 3.13")
def test_copy_replace_works() -> None:
    again = copy.replace(Kept(1), x=2)  # type: ignore[attr-defined, unused-ignore]
    assert again == Kept(2)


def test_every_dataclass_of_virke_is_compiled_lazily() -> None:
    """Budget B12: each that is not costs a process half a millisecond when it starts."""
    eager = []
    for path in sorted(SOURCE.rglob("*.py")):
        if "templates" in path.parts or path.name == "lazy_dataclasses.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "dataclasses":
                eager += [str(path.relative_to(SOURCE)) for one in node.names if one.name == "dataclass"]
    assert eager == []
