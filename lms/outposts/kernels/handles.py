"""Stand-ins for what does not cross: functions, iterators, classes and objects of the student's.

A function's results are data, so calling one proves something. An object answers for itself: it
is used only where the reference solution has a class of that name, and only by the operators that
this class has; it is never compared with a value.
"""

import builtins
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from lms.outposts.kernels.values import BrokenValueError, exactly

_PLAIN_SPECIALS = frozenset(
    {
        *("__len__", "__getitem__", "__setitem__", "__delitem__", "__contains__", "__iter__"),
        *("__next__", "__reversed__", "__call__", "__repr__", "__str__", "__format__", "__hash__"),
        *("__neg__", "__pos__", "__abs__", "__invert__", "__bool__", "__int__", "__float__"),
        *("__index__", "__complex__", "__round__", "__floor__", "__ceil__", "__trunc__"),
        *("__enter__", "__exit__", "__length_hint__"),
    }
)
_COMPARISONS = frozenset({"__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"})
_OPERATORS = frozenset(
    f"__{prefix}{name}__"
    for prefix in ("", "r", "i")
    for name in (
        *("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow", "lshift"),
        *("rshift", "and", "or", "xor", "divmod"),
    )
)
_LOOKED_UP = ("_repr_", "_ipython_", "__")
_MOST_SPECIALS = 200


class CannotVerifyError(BaseException):
    """The test needs the student's own interpreter: no test may catch this by the way."""


class Asker(Protocol):
    """What a stand-in asks through."""

    allowed: dict[str, list[str]]

    def call(self, target: object, how: str, name: str, args: Any, named: Any) -> Any:  # noqa: ANN401 (a call of any function)
        """Put one question."""
        ...

    def doubt(self, code: str, about: str) -> CannotVerifyError:
        """Remember why the cell cannot be verified."""
        ...


def make(asker: Asker, kind: object, facts: Sequence[Any]) -> object:
    """Return the stand-in for a handle; raises BrokenValueError."""
    if kind == "function":
        return _function(asker, str(facts[0])[:100])
    if kind == "iterator":
        return _iterator(asker, str(facts[0]))
    if kind == "class":
        return _class(asker, exactly(facts[0], dict))
    if kind != "object":
        raise BrokenValueError("an unknown kind of handle")
    name, classes = str(facts[0])[:100], facts[1]
    for known in classes:
        if type(known) is _ClassOfStudent:
            made: object = object.__new__(known)  # type: ignore[arg-type]
            return made
    return Opaque(asker, name)


def _function(asker: Asker, name: str) -> Callable[..., Any]:
    def stub(*args: Any, **named: Any) -> Any:  # noqa: ANN401 (a call of any function)
        return asker.call(stub, "call", "", args, named)

    stub.__name__ = stub.__qualname__ = name
    stub.__module__ = "__main__"
    return stub


def _iterator(asker: Asker, name: str) -> Any:  # noqa: ANN401 (some iterator)
    if name == "generator":
        return _generator(asker)
    return (
        _Iterable(asker)
        if name.startswith("dict_") and "iterator" not in name
        else _Iterator(asker)
    )


def _generator(asker: Asker) -> Any:  # noqa: ANN401 (a generator)
    def run() -> Iterator[Any]:
        sent: Any = None
        while True:
            try:
                if sent is None:
                    item = asker.call(made, "special", "__next__", (), {})
                else:
                    item = asker.call(made, "special", "send", (sent,), {})
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            sent = yield item

    made = run()
    return made


class _Iterator:
    """An iterator of the student's; its items come one by one."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    def __iter__(self) -> "_Iterator":
        return self

    def __next__(self) -> Any:  # noqa: ANN401 (any item)
        return self._asker.call(self, "special", "__next__", (), {})


class _Iterable:
    """A view of a dict of the student's."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    def __iter__(self) -> Any:  # noqa: ANN401 (an iterator)
        return self._asker.call(self, "special", "__iter__", (), {})

    def __len__(self) -> int:
        return int(self._asker.call(self, "special", "__len__", (), {}))


class _ClassOfStudent(type):
    """The type of stand-ins for classes: making an object is a question."""

    _asker: Asker

    def __call__(cls, *args: Any, **named: Any) -> Any:  # noqa: ANN401 (an object of the student's)
        return cls._asker.call(cls, "call", "", args, named)

    def __getattr__(cls, name: str) -> Any:  # noqa: ANN401 (any attribute)
        if name.startswith(_LOOKED_UP):
            raise AttributeError(name)
        return cls._asker.call(cls, "get", name, (), {})

    def __setattr__(cls, name: str, value: object) -> None:
        cls._asker.call(cls, "set", name, (value,), {})


class ObjectOfStudent:
    """An object of a class that the reference solution has too."""

    _asker: Asker

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (any attribute)
        if name.startswith(_LOOKED_UP):
            raise AttributeError(name)
        return self._asker.call(self, "get", name, (), {})

    def __setattr__(self, name: str, value: object) -> None:
        self._asker.call(self, "set", name, (value,), {})

    def __init_subclass__(cls, *, ours: bool = False) -> None:
        if not ours:
            raise cls._asker.doubt("subclass", cls.__name__)


_CLASSES: dict[tuple[int, str], type] = {}


def _known_class(asker: Asker, name: object) -> type | None:
    return _CLASSES.get((id(asker), str(name))) if name in asker.allowed else None


def _class(asker: Asker, facts: dict[str, Any]) -> object:
    name = str(facts["name"])[:100]
    if name not in asker.allowed:
        return Opaque(asker, f"class {name}")
    if facts["raised"] is not None:
        return _exception_class(asker, name, facts)
    line = [_known_class(asker, base) for base in exactly(facts["line"], list)[1:]]
    bases = tuple(base for base in line if base is not None)[:1] or (ObjectOfStudent,)
    specials = [special for special in facts["specials"] if special in asker.allowed[name]]
    body: dict[str, Any] = {"_asker": asker, "__module__": "__main__"}
    for special in specials[:_MOST_SPECIALS]:
        method = _special(asker, special)
        if method is not None:
            body[special] = method
    if "__eq__" in body:
        body.setdefault("__hash__", None)
    made = type.__new__(_ClassOfStudent, name, bases, body, ours=True)
    _CLASSES[id(asker), name] = made
    return made


def _exception_class(asker: Asker, name: str, facts: dict[str, Any]) -> type:
    module, kind = facts["raised"]
    base = getattr(builtins, str(kind), None) if module == "builtins" else None
    if not isinstance(base, type) or not issubclass(base, BaseException):
        raise BrokenValueError("not an exception")
    line = [_CLASSES.get((id(asker), str(parent))) for parent in facts["line"][1:]]
    own = [parent for parent in line if parent is not None and issubclass(parent, BaseException)]
    made = type(name, (own[0] if own else base,), {"__module__": "__main__"})
    _CLASSES[id(asker), name] = made
    return made


def _special(asker: Asker, name: str) -> Callable[..., Any] | None:
    """Return the method for one operator, or None for those that stay out."""

    def ask(self: ObjectOfStudent, *args: Any) -> Any:  # noqa: ANN401 (any operator)
        return asker.call(self, "special", name, args, {})

    def compare(self: ObjectOfStudent, other: object) -> Any:  # noqa: ANN401 (a truth value)
        if not isinstance(other, ObjectOfStudent):
            raise asker.doubt("compared", type(self).__name__)
        return ask(self, other)

    def combine(self: ObjectOfStudent, *others: object) -> Any:  # noqa: ANN401 (any operator)
        result = ask(self, *others)
        others_are_ours = all(isinstance(other, ObjectOfStudent) for other in others)
        if result is not NotImplemented and not others_are_ours:
            # Less an expected value is nothing: only an object may come of an object and a value.
            _require_object(asker, self, result)
        return result

    if name in _COMPARISONS:
        return compare
    if name in _OPERATORS:
        return combine
    return ask if name in _PLAIN_SPECIALS else None


def _require_object(asker: Asker, one: object, result: object) -> None:
    if not isinstance(result, ObjectOfStudent):
        raise asker.doubt("compared", type(one).__name__)


def _doubt(self: object) -> CannotVerifyError:
    asker: Asker = object.__getattribute__(self, "_asker")
    return asker.doubt("object", object.__getattribute__(self, "_name"))


def _refuse(self: object, *_: object, **__: object) -> Any:  # noqa: ANN401 (never returns)
    raise _doubt(self)


class Opaque:
    """An object of a class that only the student's side has: whatever is done to it is in doubt."""

    # isinstance looks here when the type does not tell.
    __class__ = property(_refuse)

    def __init__(self, asker: Asker, name: str) -> None:
        object.__setattr__(self, "_asker", asker)
        object.__setattr__(self, "_name", name)

    def __repr__(self) -> str:
        return f"<{object.__getattribute__(self, '_name')}>"

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (never returns)
        if name.startswith(_LOOKED_UP):
            raise AttributeError(name)
        raise _doubt(self)

    def __setattr__(self, name: str, value: object) -> None:
        raise _doubt(self)


for _name in (_PLAIN_SPECIALS | _COMPARISONS | _OPERATORS | {"__array__", "__reduce_ex__"}) - {
    "__repr__",
    "__str__",
    "__format__",
}:
    setattr(Opaque, _name, _refuse)
