"""Objects of classes that both sides have from a locked cell: only their state crosses."""

from collections.abc import Mapping, Sequence
from typing import Any

from lms.outposts.kernels.values import Decoder, Encoder, Node

_UNTOLD = frozenset({"__dict__", "__weakref__"})


def write_object(encoder: Encoder, value: object, name: str) -> Node:
    """Return an object of a class that both sides have from a locked cell, by value."""
    key = encoder.number(value)
    try:
        state = dict(vars(value)) if hasattr(value, "__dict__") else {}
        for base in type(value).__mro__:
            for slot in _slots(base):
                if hasattr(value, slot):
                    state[slot] = getattr(value, slot)
        parts = [part for pair in state.items() for part in pair]
        return ["ob", name, *map(encoder.node, parts)]
    finally:
        encoder.done(key)


def _slots(kind: type) -> list[str]:
    slots = vars(kind).get("__slots__", ())
    names = [slots] if isinstance(slots, str) else list(slots)
    return [name for name in names if name not in _UNTOLD]


def read_object(decoder: Decoder, node: Sequence[Any], classes: Mapping[str, Any]) -> object:
    """Return the object of `write_object`: its class is ours, only its state is told."""
    number = decoder.reserve()
    name, parts = node[1], node[2:]
    kind = classes[name]
    value = object.__new__(kind)
    decoder.made(number, value)
    for place in range(0, len(parts), 2):
        attribute = decoder.read(parts[place])
        if type(attribute) is not str or attribute.startswith("__"):
            raise ValueError("not an attribute")
        object.__setattr__(value, attribute, decoder.read(parts[place + 1]))
    return value


def rebuilt(kind: type[BaseException], args: Any) -> BaseException:  # noqa: ANN401 (an exception's arguments)
    """Return an exception of `kind` with these arguments."""
    try:
        return kind(*args)
    except Exception:  # noqa: BLE001 (some exceptions want more arguments than they keep)
        error = kind.__new__(kind)
        error.args = tuple(args)
        return error
