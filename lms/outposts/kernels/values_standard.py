"""The standard library's plain values beyond the built-in containers."""

import builtins
import datetime as dt
import math
import pathlib
import random
import types
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

from lms.outposts.kernels.values import (
    DECODERS,
    ENCODERS,
    BrokenValueError,
    Decoder,
    Encoder,
    Node,
    UnsupportedError,
    exactly,
)

#: Types of the language that a value may name, such as a dtype or an exception.
_TYPES: dict[str, type] = {
    name: value
    for name, value in vars(builtins).items()
    if isinstance(value, type) and name not in {"classmethod", "property", "staticmethod", "super"}
} | {
    f"decimal.{Decimal.__name__}": Decimal,
    f"fractions.{Fraction.__name__}": Fraction,
    f"collections.{Counter.__name__}": Counter,
    "datetime.date": dt.date,
    "datetime.datetime": dt.datetime,
    "datetime.timedelta": dt.timedelta,
}
_TYPE_NAMES = {value: name for name, value in _TYPES.items()}
#: Functions that do no more than compute; anything else stays on its side.
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{f"math.{name}": value for name, value in vars(math).items() if callable(value)},
    **{
        name: getattr(builtins, name)
        for name in ("abs", "all", "any", "len", "max", "min", "round", "sorted", "sum", "repr")
    },
}
_FUNCTION_NAMES = {id(value): name for name, value in _FUNCTIONS.items()}
_SINGLES: dict[str, object] = {"...": ..., "NotImplemented": NotImplemented}


def _whole(value: object) -> int:
    if type(value) is not int:
        raise BrokenValueError("a whole number was expected")
    return value


def _encode_type(encoder: Encoder, value: type) -> Node:
    if value in _TYPE_NAMES:
        return ["y", _TYPE_NAMES[value]]
    if getattr(value, "__module__", None) == "numpy":
        from lms.outposts.kernels.values_numpy import name_of_type

        return name_of_type(value) or encoder.foreign(value)
    return encoder.foreign(value)


def _encode_builtin(encoder: Encoder, value: object) -> Node:
    if id(value) in _FUNCTION_NAMES:
        return ["u", _FUNCTION_NAMES[id(value)]]
    return encoder.foreign(value)


def _encode_zone(value: dt.tzinfo | None) -> Node:
    if value is None:
        return None
    if type(value) is zoneinfo.ZoneInfo and value.key:
        return value.key
    if type(value) is dt.timezone:
        return value.utcoffset(None).total_seconds()
    raise UnsupportedError("a time zone of another kind")


def _decode_zone(node: Node) -> dt.tzinfo | None:
    if node is None:
        return None
    if type(node) is str:
        # The reader of ZoneInfo's own keys refuses paths.
        return zoneinfo.ZoneInfo(node)
    return dt.timezone(dt.timedelta(seconds=node))


def _encode_time(encoder: Encoder, value: dt.datetime | dt.time) -> Node:
    del encoder
    tag = "dt" if type(value) is dt.datetime else "tm"
    return [tag, value.replace(tzinfo=None).isoformat(), value.fold, _encode_zone(value.tzinfo)]


def _decode_datetime(decoder: Decoder, node: Sequence[Any]) -> dt.datetime:
    del decoder
    _, text, fold, zone = node
    plain = dt.datetime.fromisoformat(exactly(text, str))
    return plain.replace(fold=_whole(fold), tzinfo=_decode_zone(zone))


def _decode_time(decoder: Decoder, node: Sequence[Any]) -> dt.time:
    del decoder
    _, text, fold, zone = node
    plain = dt.time.fromisoformat(exactly(text, str))
    return plain.replace(fold=_whole(fold), tzinfo=_decode_zone(zone))


def _encode_slice(encoder: Encoder, value: slice) -> Node:
    return ["sl", *map(encoder.node, (value.start, value.stop, value.step))]


def _decode_slice(decoder: Decoder, node: Sequence[Any]) -> slice:
    _, start, stop, step = node
    return slice(decoder.read(start), decoder.read(stop), decoder.read(step))


def _encode_range(encoder: Encoder, value: range) -> Node:
    return ["rg", *map(encoder.node, (value.start, value.stop, value.step))]


def _decode_range(decoder: Decoder, node: Sequence[Any]) -> range:
    _, start, stop, step = node
    return range(*(_whole(decoder.read(part)) for part in (start, stop, step)))


def _encode_bytearray(encoder: Encoder, value: bytearray) -> Node:
    encoder.done(encoder.number(value))
    return ["ba", encoder.blob(bytes(value))]


def _decode_bytearray(decoder: Decoder, node: Sequence[Any]) -> bytearray:
    value = bytearray(decoder.blob(node[1]))
    decoder.made(decoder.reserve(), value)
    return value


def _mapping(tag: str) -> Callable[[Encoder, Any], Node]:
    def encode(encoder: Encoder, value: Any) -> Node:  # noqa: ANN401 (a kind of dict)
        key = encoder.number(value)
        try:
            made = [encoder.node(value.default_factory)] if tag == "dd" else []
            return [
                tag,
                *made,
                *map(encoder.node, (part for pair in value.items() for part in pair)),
            ]
        finally:
            encoder.done(key)

    return encode


def _fill(decoder: Decoder, value: dict[Any, Any], parts: Sequence[Any]) -> None:
    if len(parts) % 2:
        raise BrokenValueError("a key without a value")
    for place in range(0, len(parts), 2):
        value[decoder.read(parts[place])] = decoder.read(parts[place + 1])


def _decode_counter(decoder: Decoder, node: Sequence[Any]) -> Any:  # noqa: ANN401 (a kind of dict)
    number = decoder.reserve()
    value: Any = Counter() if node[0] == "co" else OrderedDict()
    _fill(decoder, value, node[1:])
    decoder.made(number, value)
    return value


def _decode_defaultdict(decoder: Decoder, node: Sequence[Any]) -> Any:  # noqa: ANN401 (a kind of dict)
    number = decoder.reserve()
    factory = decoder.read(node[1])
    value: Any = defaultdict(factory)
    _fill(decoder, value, node[2:])
    decoder.made(number, value)
    return value


def _encode_deque(encoder: Encoder, value: "deque[Any]") -> Node:
    key = encoder.number(value)
    try:
        return ["dq", value.maxlen, *map(encoder.node, value)]
    finally:
        encoder.done(key)


def _decode_deque(decoder: Decoder, node: Sequence[Any]) -> "deque[Any]":
    longest = None if node[1] is None else _whole(node[1])
    number = decoder.reserve()
    value: deque[Any] = deque(map(decoder.read, node[2:]), maxlen=longest)
    decoder.made(number, value)
    return value


def _encode_random(encoder: Encoder, value: random.Random) -> Node:
    encoder.done(encoder.number(value))
    return ["rn", encoder.node(value.getstate())]


def _decode_random(decoder: Decoder, node: Sequence[Any]) -> random.Random:
    number = decoder.reserve()
    value = random.Random()  # noqa: S311 (a test's own generator, not a secret)
    value.setstate(decoder.read(node[1]))
    decoder.made(number, value)
    return value


ENCODERS.update(
    {
        complex: lambda encoder, value: ["c", encoder.node(value.real), encoder.node(value.imag)],
        bytearray: _encode_bytearray,
        range: _encode_range,
        slice: _encode_slice,
        type: _encode_type,
        types.BuiltinFunctionType: _encode_builtin,
        type(...): lambda *_: ["o", "..."],
        type(NotImplemented): lambda *_: ["o", "NotImplemented"],
        Fraction: lambda encoder, value: [
            "fr",
            encoder.node(value.numerator),
            encoder.node(value.denominator),
        ],
        Decimal: lambda _, value: ["de", str(value)],
        dt.date: lambda _, value: ["da", value.isoformat()],
        dt.datetime: _encode_time,
        dt.time: _encode_time,
        dt.timedelta: lambda _, value: ["td", value.days, value.seconds, value.microseconds],
        pathlib.PosixPath: lambda encoder, value: ["pa", encoder.node(str(value))],
        Counter: _mapping("co"),
        OrderedDict: _mapping("od"),
        defaultdict: _mapping("dd"),
        deque: _encode_deque,
        random.Random: _encode_random,
    }
)
DECODERS.update(
    {
        "c": lambda decoder, node: complex(
            exactly(decoder.read(node[1]), float), exactly(decoder.read(node[2]), float)
        ),
        "ba": _decode_bytearray,
        "rg": _decode_range,
        "sl": _decode_slice,
        "y": lambda _, node: _TYPES[exactly(node[1], str)],
        "u": lambda _, node: _FUNCTIONS[exactly(node[1], str)],
        "o": lambda _, node: _SINGLES[exactly(node[1], str)],
        "fr": lambda decoder, node: Fraction(
            _whole(decoder.read(node[1])), _whole(decoder.read(node[2]))
        ),
        "de": lambda _, node: Decimal(exactly(node[1], str)),
        "da": lambda _, node: dt.date.fromisoformat(exactly(node[1], str)),
        "dt": _decode_datetime,
        "tm": _decode_time,
        "td": lambda _, node: dt.timedelta(*map(_whole, node[1:])),
        "pa": lambda decoder, node: pathlib.PosixPath(exactly(decoder.read(node[1]), str)),
        "co": _decode_counter,
        "od": _decode_counter,
        "dd": _decode_defaultdict,
        "dq": _decode_deque,
        "rn": _decode_random,
    }
)
