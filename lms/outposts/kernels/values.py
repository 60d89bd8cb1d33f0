"""Plain data between the student's process and the tests': JSON nodes and blobs, never pickle.

A node is None, a bool, a whole number, a finite float, a text, or a list that begins with a tag.
Types are exact: what is a subclass, or not known here, is not data and cannot cross. The decoder
takes what a hostile process sends: it checks type, shape and length before it makes anything.
"""

import importlib
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["BrokenValueError", "Decoder", "Encoder", "Node", "UnsupportedError"]

Node = Any
EncodeFunction = Callable[["Encoder", Any], Node]
DecodeFunction = Callable[["Decoder", Sequence[Any]], Any]

MAX_DEPTH = 50
MAX_NODES = 500_000
#: A frame of the cells program holds a little more.
MAX_BYTES = 12 << 20
#: JSON readers agree on whole numbers up to here; larger ones travel in hexadecimal.
_JSON_INT = 1 << 53
_PACKED = 16
#: Where the codecs of types live, by the package that defines the types; loaded when met.
_CODECS = {
    "numpy": "lms.outposts.kernels.values_numpy",
    "pandas": "lms.outposts.kernels.values_pandas",
    "torch": "lms.outposts.kernels.values_torch",
    "scipy": "lms.outposts.kernels.values_scipy",
    "sklearn": "lms.outposts.kernels.values_sklearn",
}
_STANDARD = "lms.outposts.kernels.values_standard"

ENCODERS: dict[type, EncodeFunction] = {}
DECODERS: dict[str, DecodeFunction] = {}
#: Tags whose decoder lives in a package that may not be loaded yet, by the tag's first word.
_TAG_PACKAGES = {"np": "numpy", "pd": "pandas", "torch": "torch", "sp": "scipy", "sk": "sklearn"}


class UnsupportedError(TypeError):
    """A value that is no plain data, or too much of it."""


class BrokenValueError(ValueError):
    """A node that no encoder of ours writes."""


class Encoder:
    """Writes values as nodes; mutable containers are numbered in the order they are met.

    The far side's Decoder numbers the same, so that a container met again is the same one there.
    """

    def __init__(
        self,
        foreign: "Callable[[Encoder, Any], Node] | None" = None,
        known: Sequence[object] = (),
    ) -> None:
        #: Called for what is no plain data; raises UnsupportedError, or gives a node.
        self._foreign = foreign
        self.blobs: list[bytes] = []
        self.numbered: list[object] = list(known)
        self._numbers = {id(value): number for number, value in enumerate(self.numbered)}
        self._open: set[int] = set()
        self._depth = 0
        self._nodes = 0
        self._bytes = 0

    def node(self, value: object) -> Node:
        """Return the node of `value`; raises UnsupportedError."""
        kind = type(value)
        if value is None or kind is bool:
            return value
        if id(value) in self._numbers:
            return self._again(value)
        encode = ENCODERS.get(kind) or _find_encoder(kind)
        self._enter()
        try:
            if encode is None:
                return self.foreign(value)
            return encode(self, value)
        finally:
            self._depth -= 1

    def content(self, value: object) -> Node:
        """Return the node of a numbered container itself, where `node` would refer to it."""
        encode = ENCODERS.get(type(value)) or _find_encoder(type(value))
        return self.foreign(value) if encode is None else encode(self, value)

    def foreign(self, value: object) -> Node:
        """Return the node of what is no plain data; raises UnsupportedError."""
        if self._foreign is None:
            raise UnsupportedError(f"{type(value).__name__} is no plain data")
        return self._foreign(self, value)

    def number(self, value: object) -> int:
        """Give a mutable container a number before its items are written; pair it with `done`."""
        self._numbers.setdefault(id(value), len(self.numbered))
        self.numbered.append(value)
        self._open.add(id(value))
        return id(value)

    def done(self, key: int) -> None:
        """Say that a numbered container is written."""
        self._open.discard(key)

    def blob(self, content: bytes) -> int:
        """Keep bytes beside the nodes and return their place."""
        self._bytes += len(content)
        if self._bytes > MAX_BYTES:
            raise UnsupportedError(f"more than {MAX_BYTES >> 20} MB of data")
        self.blobs.append(content)
        return len(self.blobs) - 1

    def count(self, many: int) -> None:
        """Count nodes that are written without `node`."""
        self._nodes += many
        if self._nodes > MAX_NODES:
            raise UnsupportedError(f"more than {MAX_NODES} values in one")

    def _enter(self) -> None:
        self.count(1)
        if self._depth >= MAX_DEPTH:
            raise UnsupportedError(f"nested more than {MAX_DEPTH} deep")
        self._depth += 1

    def _again(self, value: object) -> Node:
        if id(value) in self._open:
            raise UnsupportedError("a value that contains itself")
        self.count(1)
        return ["r", self._numbers[id(value)]]


class Decoder:
    """Reads nodes; raises BrokenValueError for whatever no Encoder writes."""

    def __init__(
        self,
        blobs: Sequence[bytes],
        foreign: "Callable[[Decoder, Sequence[Any]], Any] | None" = None,
        known: Sequence[object] = (),
    ) -> None:
        self._blobs = blobs
        #: Called for tags that are not plain data; raises BrokenValueError.
        self._foreign = foreign
        self.numbered: list[object] = list(known)
        self._depth = 0
        self._nodes = 0

    def value(self, node: Node) -> Any:  # noqa: ANN401 (any plain data)
        """Return the value of `node`; raises BrokenValueError."""
        try:
            return self.read(node)
        except BrokenValueError:
            raise
        except Exception as error:  # whatever a library says to hostile bytes
            raise BrokenValueError(f"not a value: {type(error).__name__}: {error}"[:300]) from error

    def read(self, node: Node) -> Any:  # noqa: ANN401 (any plain data)
        """Return the value of a node inside another; may raise anything that `value` catches."""
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise BrokenValueError("too many values in one")
        if node is None or type(node) in {bool, int, float, str}:
            return node
        if type(node) is not list or not node or type(node[0]) is not str:
            raise BrokenValueError("not a node")
        decode = DECODERS.get(node[0]) or _find_decoder(node[0])
        if self._depth >= MAX_DEPTH:
            raise BrokenValueError("nested too deep")
        self._depth += 1
        try:
            return self.foreign(node) if decode is None else decode(self, node)
        finally:
            self._depth -= 1

    def foreign(self, node: Sequence[Any]) -> Any:  # noqa: ANN401 (a stub of some kind)
        """Return what a node of another kind stands for; raises BrokenValueError."""
        if self._foreign is None:
            raise BrokenValueError(f"an unknown kind of value: {str(node[0])[:40]}")
        return self._foreign(self, node)

    def blob(self, place: object) -> bytes:
        """Return the bytes kept at `place`."""
        if type(place) is not int or not 0 <= place < len(self._blobs):
            raise BrokenValueError("no such bytes")
        return self._blobs[place]

    def reserve(self) -> int:
        """Keep a number for a mutable container that is not made yet."""
        self.numbered.append(_PENDING)
        return len(self.numbered) - 1

    def made(self, number: int, value: object) -> None:
        """Say which container has a reserved number."""
        self.numbered[number] = value

    def again(self, node: Sequence[Any]) -> object:
        """Return a container met before."""
        _, number = node
        if type(number) is not int or not 0 <= number < len(self.numbered):
            raise BrokenValueError("no such container")
        value = self.numbered[number]
        if value is _PENDING:
            raise BrokenValueError("a value that contains itself")
        return value


_PENDING = object()


def _find_encoder(kind: type) -> EncodeFunction | None:
    """Return the encoder of a type whose codecs are not loaded yet."""
    module = getattr(kind, "__module__", None)
    package = module.partition(".")[0] if isinstance(module, str) else ""
    if package in _CODECS and package in sys.modules:
        _load(package)
    if package == "sklearn" and kind not in ENCODERS:
        # Its modules are many and slow to import: a class is looked at when it is met.
        sys.modules[_CODECS[package]].register(kind)
    return ENCODERS.get(kind)


def _find_decoder(tag: str) -> DecodeFunction | None:
    package = _TAG_PACKAGES.get(tag.partition(".")[0])
    if package is not None:
        _load(package)
    return DECODERS.get(tag)


def _load(package: str) -> None:
    importlib.import_module(_CODECS[package])


def exactly(value: object, kind: type) -> Any:  # noqa: ANN401 (the caller's kind)
    """Return `value` if its type is exactly `kind`; raises BrokenValueError."""
    if type(value) is not kind:
        raise BrokenValueError(f"a {kind.__name__} was expected")
    return value


def _encode_int(encoder: Encoder, value: int) -> Node:
    if -_JSON_INT <= value <= _JSON_INT:
        return value
    if value.bit_length() > 8 * MAX_BYTES // 4:
        raise UnsupportedError("a number with too many digits")
    del encoder
    return ["i", f"{value:x}"]


def _encode_float(encoder: Encoder, value: float) -> Node:
    del encoder
    if value - value == 0:
        return value
    return ["f", struct.pack("<d", value).hex()]


def _encode_str(encoder: Encoder, value: str) -> Node:
    try:
        value.encode()
    except UnicodeEncodeError:
        # A lone surrogate is a text to Python and none to JSON readers.
        return ["s", encoder.blob(value.encode("utf-8", "surrogatepass"))]
    if len(value) > MAX_BYTES // 4:
        raise UnsupportedError("a text that is too long")
    return value


def _encode_list(encoder: Encoder, value: list[Any]) -> Node:
    key = encoder.number(value)
    try:
        return _packed(encoder, value) or ["l", *map(encoder.node, value)]
    finally:
        encoder.done(key)


def _packed(encoder: Encoder, value: list[Any]) -> Node:
    """Return a long list of one simple type in one piece, or None."""
    kinds = set(map(type, value)) if len(value) >= _PACKED else ()
    if len(kinds) != 1:
        return None
    (kind,) = kinds
    if kind is float:
        encoder.count(len(value))
        return ["lf", encoder.blob(struct.pack(f"<{len(value)}d", *value))]
    if kind is int and min(value) >= -_JSON_INT and max(value) <= _JSON_INT:
        encoder.count(len(value))
        return ["li", value]
    if kind is str and "".join(value).isascii():
        encoder.count(len(value))
        return ["ls", value]
    return None


def _encode_tuple(encoder: Encoder, value: tuple[Any, ...]) -> Node:
    return ["t", *map(encoder.node, value)]


def _encode_dict(encoder: Encoder, value: dict[Any, Any]) -> Node:
    key = encoder.number(value)
    try:
        return ["d", *map(encoder.node, (part for pair in value.items() for part in pair))]
    finally:
        encoder.done(key)


def _encode_set(encoder: Encoder, value: set[Any]) -> Node:
    key = encoder.number(value)
    try:
        return ["e", *map(encoder.node, value)]
    finally:
        encoder.done(key)


def _decode_list(decoder: Decoder, node: Sequence[Any]) -> list[Any]:
    number = decoder.reserve()
    value = list(map(decoder.read, node[1:]))
    decoder.made(number, value)
    return value


def _decode_floats(decoder: Decoder, node: Sequence[Any]) -> list[float]:
    _, place = node
    content = decoder.blob(place)
    value = list(struct.unpack(f"<{len(content) // 8}d", content))
    decoder.made(decoder.reserve(), value)
    return value


def _decode_packed(decoder: Decoder, node: Sequence[Any]) -> list[Any]:
    tag, items = node
    kind = int if tag == "li" else str
    if set(map(type, exactly(items, list))) - {kind}:
        raise BrokenValueError("a list of one type was expected")
    value = list(items)
    decoder.made(decoder.reserve(), value)
    return value


def _decode_dict(decoder: Decoder, node: Sequence[Any]) -> dict[Any, Any]:
    number = decoder.reserve()
    value: dict[Any, Any] = {}
    parts = iter(node[1:])
    for key in parts:
        value[decoder.read(key)] = decoder.read(next(parts, ()))
    decoder.made(number, value)
    return value


def _decode_set(decoder: Decoder, node: Sequence[Any]) -> set[Any]:
    number = decoder.reserve()
    value = set(map(decoder.read, node[1:]))
    decoder.made(number, value)
    return value


def _decode_int(decoder: Decoder, node: Sequence[Any]) -> int:
    del decoder
    _, digits = node
    return int(exactly(digits, str), 16)


ENCODERS.update(
    {
        int: _encode_int,
        float: _encode_float,
        str: _encode_str,
        list: _encode_list,
        tuple: _encode_tuple,
        dict: _encode_dict,
        set: _encode_set,
        frozenset: lambda encoder, value: ["z", *map(encoder.node, value)],
        bytes: lambda encoder, value: ["b", encoder.blob(value)],
    }
)
DECODERS.update(
    {
        "r": lambda decoder, node: decoder.again(node),
        "i": _decode_int,
        "f": lambda _decoder, node: struct.unpack("<d", bytes.fromhex(node[1]))[0],
        "s": lambda decoder, node: decoder.blob(node[1]).decode("utf-8", "surrogatepass"),
        "l": _decode_list,
        "lf": _decode_floats,
        "li": _decode_packed,
        "ls": _decode_packed,
        "t": lambda decoder, node: tuple(map(decoder.read, node[1:])),
        "d": _decode_dict,
        "e": _decode_set,
        "z": lambda decoder, node: frozenset(map(decoder.read, node[1:])),
        "b": lambda decoder, node: bytes(decoder.blob(node[1])),
    }
)
importlib.import_module(_STANDARD)
