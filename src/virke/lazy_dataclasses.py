"""`dataclass` as in the standard library, whose methods are compiled when they are first used (decision 0049).

The standard library compiles `__init__`, `__repr__`, `__eq__`, `__hash__` and the two guards of a frozen class when the class is
made: half a millisecond each, for classes most of which a short command never makes one of. Here a class gets its fields, its slots
and its `__match_args__` from the standard library, and its methods as follows.

1. `fields`, `replace`, `asdict`, `is_dataclass`, `copy`, `pickle`, `match` and `inspect.signature` work as they do on any dataclass.
2. `__init__`, `__eq__`, `__hash__` and `__repr__` are compiled at the first use, and are no slower from then on; the guards and the
   state of a pickle are functions that read the fields, as no hot path calls them.
3. What a class defines itself stays. A class that inherits from a dataclass, or has an `InitVar`, is left to the standard library.

Knows nothing else of Virke.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, fields, is_dataclass
from reprlib import recursive_repr
from types import FunctionType, MemberDescriptorType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

_Class = TypeVar("_Class", bound=type)


class _Factory:
    """Stands for a default that is made for each instance, in signatures."""

    def __repr__(self) -> str:
        return "<factory>"


_FACTORY: Final = _Factory()
GUARDS: Final = ("__setattr__", "__delattr__")


class _Later:
    """A method that isn't compiled yet: looking it up compiles it, and puts it into the class in place of this."""

    __slots__ = ("_cls", "_compile", "_name")

    def __init__(self, cls: type, name: str, compile_for: Callable[[type], Callable[..., Any]]) -> None:
        self._cls = cls
        self._name = name
        self._compile = compile_for

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        method = self._compile(self._cls)
        setattr(self._cls, self._name, method)  # two threads at once put equal functions there
        return method.__get__(instance, owner)


def _lazily(
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
        kinds = vars(cls).get("__annotations__", {}).values()
        if any(map(is_dataclass, cls.__mro__[1:])) or any("InitVar" in str(kind) for kind in kinds):
            whole: Any = dataclasses.dataclass(frozen=frozen, slots=slots, eq=eq, weakref_slot=weakref_slot)
            return cast(_Class, whole(cls))
        return _with_methods(cls, frozen=frozen, slots=slots, eq=eq, weakref_slot=weakref_slot)

    return decorate if cls is None else decorate(cls)


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:
    dataclass = _lazily


def _with_methods(cls: _Class, *, frozen: bool, slots: bool, eq: bool, weakref_slot: bool) -> _Class:
    own = frozenset(vars(cls))
    if frozen and own.intersection(GUARDS):
        raise TypeError(f"{cls.__name__} is frozen and has a __setattr__ or __delattr__ of its own")
    hashes = "__hash__" in own and not (vars(cls)["__hash__"] is None and "__eq__" in own)
    if (doc := cls.__doc__) is None:
        cls.__doc__ = (
            cls.__name__
        )  # else the standard library derives one from a signature, which would compile `__init__`
    made: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots, weakref_slot=weakref_slot)(cls)
    made.__doc__ = doc
    params = made.__dataclass_params__
    params.init, params.repr, params.eq, params.frozen = True, True, eq, frozen
    methods: dict[str, object] = {
        "__init__": _Later(made, "__init__", _init),
        "__repr__": _Later(made, "__repr__", _repr),
    }
    if eq:
        methods["__eq__"] = _Later(made, "__eq__", _eq)
        if not hashes:
            made.__hash__ = _Later(made, "__hash__", _hash) if frozen else None
    if frozen:
        methods["__setattr__"], methods["__delattr__"] = _guards(made)
        if slots:
            methods["__getstate__"], methods["__setstate__"] = _getstate, _setstate
    for name, method in methods.items():
        if name not in own:
            setattr(made, name, method)
    return cast(_Class, made)


def compile_now(cls: type) -> None:
    """Compile what waits for its first use, for a place where that would be slow."""
    for method in list(vars(cls).values()):
        if isinstance(method, _Later):
            method.__get__(None, cls)


def thaw(cls: type) -> None:
    """Take the guards off a frozen class, whose fields `__init__` then sets as any attributes are."""
    for name in GUARDS:
        type.__delattr__(cls, name)
    type.__setattr__(cls, "__init__", _init(cls))


def _init(cls: type) -> FunctionType:
    """Sets the fields in their order, those of a frozen class by its slots, past the guards; then `__post_init__`."""
    names: dict[str, object] = {"__FACTORY": _FACTORY, "__set": object.__setattr__}
    guarded = "__setattr__" in vars(cls) and cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    every = fields(cls)
    lines = [line for one in every if (line := _assignment(cls, one, names, guarded))]
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    taken = [one for one in every if one.init]
    keyword_only = [_parameter(one, names) for one in taken if one.kw_only]
    parameters = ["self", *(_parameter(one, names) for one in taken if not one.kw_only)]
    if keyword_only:
        parameters += ["*", *keyword_only]
    method = _compiled(cls, "__init__", parameters, lines or ["pass"], **names)
    method.__annotations__ = {one.name: one.type for one in taken} | {"return": None}
    return method


def _parameter(one: Field[Any], names: dict[str, object]) -> str:
    if one.default_factory is not MISSING:
        return f"{one.name}=__FACTORY"
    if one.default is not MISSING:
        names[f"__default_{one.name}"] = one.default
        return f"{one.name}=__default_{one.name}"
    return one.name


def _assignment(cls: type, one: Field[Any], names: dict[str, object], guarded: bool) -> str:
    """The line that sets it, or nothing if it is not set here."""
    name, value = one.name, one.name
    slot = vars(cls).get(name)
    if one.default_factory is not MISSING:
        names[f"__make_{name}"] = one.default_factory
        value = f"__make_{name}() if {name} is __FACTORY else {name}" if one.init else f"__make_{name}()"
    elif not one.init:
        if one.default is MISSING or not isinstance(slot, MemberDescriptorType):
            return ""
        value = f"__default_{name}"
        names[value] = one.default
    if not guarded:
        return f"self.{name} = {value}"
    if isinstance(slot, MemberDescriptorType):
        names[f"__set_{name}"] = slot.__set__  # half the price of object.__setattr__, which looks the slot up by name
        return f"__set_{name}(self, {value})"
    return f"__set(self, {name!r}, {value})"


def _eq(cls: type) -> FunctionType:
    compared = [one.name for one in fields(cls) if one.compare]
    same = f"{_tuple('self', compared)} == {_tuple('other', compared)}"
    lines = ["if other.__class__ is self.__class__:", f" return {same}", "return NotImplemented"]
    return _compiled(cls, "__eq__", ["self", "other"], lines)


def _hash(cls: type) -> FunctionType:
    hashed = [one.name for one in fields(cls) if (one.compare if one.hash is None else one.hash)]
    return _compiled(cls, "__hash__", ["self"], [f"return hash({_tuple('self', hashed)})"])


def _repr(cls: type) -> Callable[[Any], str]:
    shown = ", ".join(f"{one.name}={{self.{one.name}!r}}" for one in fields(cls) if one.repr)
    text = f'f"{{self.__class__.__qualname__}}({shown})"'
    return recursive_repr()(_compiled(cls, "__repr__", ["self"], [f"return {text}"]))


def _tuple(of: str, names: list[str]) -> str:
    return f"({''.join(f'{of}.{name},' for name in names)})"


def _compiled(cls: type, name: str, parameters: list[str], lines: list[str], **names: object) -> FunctionType:
    names["__name__"] = cls.__module__
    source = f"def {name}({', '.join(parameters)}):\n" + "".join(f" {line}\n" for line in lines)
    exec(source, names)
    method = names.pop(name)
    assert isinstance(method, FunctionType)
    method.__qualname__ = f"{cls.__qualname__}.{name}"
    return method


def _guards(cls: Any) -> tuple[Callable[[Any, str, Any], None], Callable[[Any, str], None]]:
    names = frozenset(one.name for one in fields(cls))

    def __setattr__(self: Any, name: str, value: Any) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def __delattr__(self: Any, name: str) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    return __setattr__, __delattr__


def _getstate(self: Any) -> list[object]:
    return [getattr(self, one.name) for one in fields(self)]


def _setstate(self: Any, state: list[object]) -> None:
    for one, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, one.name, value)
