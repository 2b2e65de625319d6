"""`dataclass` as in the standard library, whose methods are compiled when they are first used (decision 0051).

The standard library compiles `__init__`, `__repr__`, `__eq__`, `__hash__` and the two guards of a frozen class when the class is
made: half a millisecond each, for classes most of which a short command never makes one of. Here a class gets its fields, its slots
and its `__match_args__` from the standard library, and its methods as follows.

1. `fields`, `replace`, `asdict`, `is_dataclass`, `copy`, `pickle`, `match` and `inspect.signature` work as they do on any dataclass.
2. `__init__` is compiled for the third instance, `__eq__`, `__hash__` and `__repr__` at the first use, and are no slower from then on; the guards and the
   state of a pickle are functions that read the fields, as no hot path calls them.
3. What a class defines itself stays. A class that inherits from a dataclass, or has an `InitVar`, is left to the standard library.

Knows nothing else of Virke.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, FrozenInstanceError, field, fields, is_dataclass, replace
from functools import cache, partial
from reprlib import recursive_repr
from types import FunctionType, MemberDescriptorType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

_Class = TypeVar("_Class", bound=type)


class _Factory:
    """Stands for a default that is made for each instance, in signatures."""

    def __repr__(self) -> str:
        return "<factory>"


_FACTORY: Final = _Factory()
GUARDS: Final = ("__setattr__", "__delattr__")
NOT_COMPILED_FOR: Final = 2
"""Instances: a loop over the fields sets those, each at a sixteenth of what compiling costs."""
_OF_THE_CLASS: Final = ("ClassVar", "typing.ClassVar")
_OF_THE_LIBRARY: Final = ("InitVar", "dataclasses.", "KW_ONLY")


@dataclasses.dataclass(init=False, repr=False, eq=False)
class _Example:
    """One of the standard library's."""

    x: int


_OF_A_FIELD: Final = vars(_Example)["__dataclass_fields__"]["x"]._field_type
"""How the standard library marks what is a field, and neither a variable of the class nor one of `__init__` alone."""


class _Later:
    """A method that isn't compiled yet: looking it up compiles it, and puts it into the class in place of this."""

    __slots__ = ("_cls", "_compile", "_name")

    def __init__(self, compile_for: Callable[[type], Callable[..., Any]]) -> None:
        self._compile = compile_for

    def __set_name__(self, cls: type, name: str) -> None:
        self._cls = cls
        self._name = name

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        method = self._compile(self._cls)
        setattr(self._cls, self._name, method)  # two threads at once put equal functions there
        return method.__get__(instance, owner)


class _LaterInit(_Later):
    """An `__init__` that is compiled for the third instance: most classes have one or two in a short process."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        super().__init__(_made_init)
        self._made = 0

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        asked_by_class = instance is None or isinstance(
            instance, type
        )  # `inspect.signature`, from Python 3.13 on the latter
        if asked_by_class or self._made >= NOT_COMPILED_FOR:  # threads may count too far
            return super().__get__(instance, owner)
        self._made += 1
        return partial(self._set_fields, instance)

    def _set_fields(self, instance: Any, /, *args: object, **given: object) -> None:
        """What the compiled one does; it is compiled to say what is wrong with arguments."""
        cls, every = self._cls, fields(self._cls)
        positional = [one.name for one in every if one.init and not one.kw_only]
        values = dict(zip(positional, args, strict=False)) | given
        taken = {one.name for one in every if one.init}
        needed = {one.name for one in every if one.init and one.default is one.default_factory is MISSING}
        if len(values) < len(args) + len(given) or not needed <= values.keys() <= taken:
            super().__get__(instance, cls)(*args, **given)
            return
        frozen = cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
        put = object.__setattr__ if frozen else setattr
        for one in every:
            if one.name in values:
                put(instance, one.name, values[one.name])
            elif one.default_factory is not MISSING:
                put(instance, one.name, one.default_factory())
            elif one.default is not MISSING and (one.init or _has_slot(cls, one.name)):
                put(instance, one.name, one.default)
        if hasattr(cls, "__post_init__"):
            instance.__post_init__()


def _has_slot(cls: type, name: str) -> bool:
    return isinstance(vars(cls).get(name), MemberDescriptorType)


def _lazy_dataclass(
    cls: _Class | None = None,
    /,
    *,
    frozen: bool = False,
    slots: bool = False,
    eq: bool = True,
    weakref_slot: bool = False,
) -> Any:
    """The decorator; the arguments are those that Virke uses."""

    def decorate(cls: _Class) -> _Class:
        if _is_left_to_the_library(cls):
            whole: Any = dataclasses.dataclass(frozen=frozen, slots=slots, eq=eq, weakref_slot=weakref_slot)
            return cast(_Class, whole(cls))
        return _made_class(cls, frozen=frozen, slots=slots, eq=eq, weakref_slot=weakref_slot)

    return decorate if cls is None else decorate(cls)


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:
    dataclass = _lazy_dataclass


def _is_left_to_the_library(cls: type) -> bool:
    """What no class of Virke's that is made at every start needs."""
    own = vars(cls)
    kinds = own.get("__annotations__")
    if kinds is None:
        return "__annotate_func__" in own  # annotations that are not text, from Python 3.14 on
    inherits = cls.__bases__ != (object,) and any(map(is_dataclass, cls.__mro__[1:]))
    return inherits or any(not isinstance(kind, str) or kind.startswith(_OF_THE_LIBRARY) for kind in kinds.values())


def _made_class(cls: _Class, *, frozen: bool, slots: bool, eq: bool, weakref_slot: bool) -> _Class:
    """The class with its fields and methods: itself, or for one with slots another one that has them."""
    own = vars(cls)
    if frozen and not own.keys().isdisjoint(GUARDS):
        raise TypeError(f"{cls.__name__} is frozen and has a __setattr__ or __delattr__ of its own")
    every = {name: _made_field(own, name, kind) for name, kind in _field_kinds(own)}
    names: dict[str, object] = {
        "__dataclass_fields__": every,
        "__dataclass_params__": _dataclass_params(frozen, slots, eq, weakref_slot),
    }
    methods = _generated_methods(frozen=frozen, slots=slots, eq=eq)
    methods["__match_args__"] = tuple(one.name for one in every.values() if one.init and not one.kw_only)
    if "__hash__" in methods and own.get("__hash__") is None and "__eq__" in own:
        names["__hash__"] = methods.pop("__hash__")  # Python put None there, of a class with an `__eq__` of its own
    names |= {name: method for name, method in methods.items() if name not in own}
    owner: list[Any] = []  # known to the guards when the class is made
    if frozen:
        names |= zip(GUARDS, _freezing_guards(owner, frozenset(every)), strict=True)
    made: Any = _with_slots(cls, every, names, weakref_slot=weakref_slot) if slots else _in_place(cls, every, names)
    owner.append(made)
    return cast(_Class, made)


def _field_kinds(own: Mapping[str, Any]) -> list[tuple[str, str]]:
    kinds: Mapping[str, str] = own.get("__annotations__", {})
    return [(name, kind) for name, kind in kinds.items() if not kind.startswith(_OF_THE_CLASS)]


def _made_field(own: Mapping[str, Any], name: str, kind: str) -> Field[Any]:
    default = own.get(name, MISSING)
    one: Any = default if isinstance(default, Field) else field(default=default)
    if one.default.__class__.__hash__ is None:
        raise ValueError(
            f"mutable default {one.default.__class__} for field {name} is not allowed: use default_factory"
        )
    one.name, one.type, one._field_type = name, kind, _OF_A_FIELD
    if one.kw_only is MISSING:
        one.kw_only = False
    return cast("Field[Any]", one)


@cache
def _dataclass_params(frozen: bool, slots: bool, eq: bool, weakref_slot: bool) -> SimpleNamespace:
    return SimpleNamespace(
        init=True,
        repr=True,
        eq=eq,
        order=False,
        unsafe_hash=False,
        frozen=frozen,
        match_args=True,
        kw_only=False,
        slots=slots,
        weakref_slot=weakref_slot,
    )


def _generated_methods(*, frozen: bool, slots: bool, eq: bool) -> dict[str, object]:
    """All that a class has which defines none of them itself, except for the guards."""
    found: dict[str, object] = {"__init__": _LaterInit(), "__repr__": _Later(_made_repr), "__replace__": replace}
    if eq:
        found["__eq__"] = _Later(_made_eq)
        found["__hash__"] = _Later(_made_hash) if frozen else None
    if frozen and slots:
        found |= {"__getstate__": _slot_state, "__setstate__": _set_slot_state}
    return found


def _with_slots(cls: _Class, every: Mapping[str, object], names: dict[str, object], *, weakref_slot: bool) -> _Class:
    inherited = {slot for base in cls.__mro__[1:-1] for slot in getattr(base, "__slots__", ())}
    kept = {
        name: one for name, one in vars(cls).items() if name not in every and name not in ("__dict__", "__weakref__")
    }
    slots = [*every, "__weakref__"] if weakref_slot else every
    names |= {"__slots__": tuple(name for name in slots if name not in inherited), "__qualname__": cls.__qualname__}
    return type(cls)(cls.__name__, cls.__bases__, kept | names)


def _in_place(cls: _Class, every: Mapping[str, Field[Any]], names: Mapping[str, object]) -> _Class:
    for name, one in every.items():
        if one.default is not MISSING:
            setattr(cls, name, one.default)
        elif name in vars(cls):
            delattr(cls, name)
    for name, method in names.items():
        setattr(cls, name, method)
        if isinstance(method, _Later):
            method.__set_name__(cls, name)
    return cls


def compile_now(cls: type) -> None:
    """Compile what waits for its first use, for a place where that would be slow."""
    for method in list(vars(cls).values()):
        if isinstance(method, _Later):
            method.__get__(None, cls)


def thaw_class(cls: type) -> None:
    """Take the guards off a frozen class, whose fields `__init__` then sets as any attributes are."""
    for name in GUARDS:
        type.__delattr__(cls, name)
    type.__setattr__(cls, "__init__", _made_init(cls))


def _made_init(cls: type) -> FunctionType:
    """Sets the fields in their order, those of a frozen class by its slots, past the guards; then `__post_init__`."""
    names: dict[str, object] = {"__FACTORY": _FACTORY, "__set": object.__setattr__}
    guarded = "__setattr__" in vars(cls) and cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    every = fields(cls)
    lines = [line for one in every if (line := _init_assignment(cls, one, names, guarded))]
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    taken = [one for one in every if one.init]
    keyword_only = [_init_parameter(one, names) for one in taken if one.kw_only]
    parameters = ["self", *(_init_parameter(one, names) for one in taken if not one.kw_only)]
    if keyword_only:
        parameters += ["*", *keyword_only]
    method = _compiled_method(cls, "__init__", parameters, lines or ["pass"], **names)
    method.__annotations__ = {one.name: one.type for one in taken} | {"return": None}
    return method


def _init_parameter(one: Field[Any], names: dict[str, object]) -> str:
    if one.default_factory is not MISSING:
        return f"{one.name}=__FACTORY"
    if one.default is not MISSING:
        names[f"__default_{one.name}"] = one.default
        return f"{one.name}=__default_{one.name}"
    return one.name


def _init_assignment(cls: type, one: Field[Any], names: dict[str, object], guarded: bool) -> str:
    """The line that sets it, or nothing if it is not set here."""
    name, value = one.name, one.name
    slot = vars(cls).get(name)
    if one.default_factory is not MISSING:
        names[f"__make_{name}"] = one.default_factory
        value = f"__make_{name}() if {name} is __FACTORY else {name}" if one.init else f"__make_{name}()"
    elif not one.init:
        if one.default is MISSING or not _has_slot(cls, name):
            return ""
        value = f"__default_{name}"
        names[value] = one.default
    if not guarded:
        return f"self.{name} = {value}"
    if isinstance(slot, MemberDescriptorType):
        names[f"__set_{name}"] = slot.__set__  # half the price of object.__setattr__, which looks the slot up by name
        return f"__set_{name}(self, {value})"
    return f"__set(self, {name!r}, {value})"


def _made_eq(cls: type) -> FunctionType:
    compared = [one.name for one in fields(cls) if one.compare]
    same = f"{_tuple_source('self', compared)} == {_tuple_source('other', compared)}"
    lines = ["if other.__class__ is self.__class__:", f" return {same}", "return NotImplemented"]
    return _compiled_method(cls, "__eq__", ["self", "other"], lines)


def _made_hash(cls: type) -> FunctionType:
    hashed = [one.name for one in fields(cls) if (one.compare if one.hash is None else one.hash)]
    return _compiled_method(cls, "__hash__", ["self"], [f"return hash({_tuple_source('self', hashed)})"])


def _made_repr(cls: type) -> Callable[[Any], str]:
    shown = ", ".join(f"{one.name}={{self.{one.name}!r}}" for one in fields(cls) if one.repr)
    text = f'f"{{self.__class__.__qualname__}}({shown})"'
    return recursive_repr()(_compiled_method(cls, "__repr__", ["self"], [f"return {text}"]))


def _tuple_source(of: str, names: list[str]) -> str:
    return f"({''.join(f'{of}.{name},' for name in names)})"


def _compiled_method(cls: type, name: str, parameters: list[str], lines: list[str], **names: object) -> FunctionType:
    names["__name__"] = cls.__module__
    source = f"def {name}({', '.join(parameters)}):\n" + "".join(f" {line}\n" for line in lines)
    exec(source, names)
    method = names.pop(name)
    assert isinstance(method, FunctionType)
    method.__qualname__ = f"{cls.__qualname__}.{name}"
    return method


def _freezing_guards(
    owner: list[Any], names: frozenset[str]
) -> tuple[Callable[[Any, str, Any], None], Callable[[Any, str], None]]:
    def __setattr__(self: Any, name: str, value: Any) -> None:
        if type(self) is owner[0] or name in names:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        super(owner[0], self).__setattr__(name, value)

    def __delattr__(self: Any, name: str) -> None:
        if type(self) is owner[0] or name in names:
            raise FrozenInstanceError(f"cannot delete field {name!r}")
        super(owner[0], self).__delattr__(name)

    return __setattr__, __delattr__


def _slot_state(self: Any) -> list[object]:
    return [getattr(self, one.name) for one in fields(self)]


def _set_slot_state(self: Any, state: list[object]) -> None:
    for one, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, one.name, value)
