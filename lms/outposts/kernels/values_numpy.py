"""numpy's plain values: arrays and scalars as dtype, shape and bytes, and random generators."""

import math
import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

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

_DTYPE = re.compile(r"[<>|=]?[biufcSUMmV]\d{1,9}(\[\d{0,9}[A-Za-z]{1,7}\])?")
_GENERIC = re.compile(r"[<>|=]?[Mm]8")
_MAX_DIMENSIONS = 64
_MAX_FIELDS = 1_000
_MAX_NESTED = 8
_LAST_CODE_POINT = 0x10FFFF
_BIT_GENERATORS = {
    kind.__name__: kind
    for kind in (
        np.random.PCG64,
        np.random.PCG64DXSM,
        np.random.MT19937,
        np.random.Philox,
        np.random.SFC64,
    )
}
#: Python names of scalar types a value may name, such as `dtype=np.float64`.
_SCALARS = {kind.__name__: kind for kind in set(np.sctypeDict.values()) if kind is not np.object_}
_ABSTRACT = {
    kind.__name__: kind
    for kind in (np.number, np.integer, np.floating, np.inexact, np.generic, np.ndarray)
}
_UFUNCS = {name: value for name, value in vars(np).items() if type(value) is np.ufunc}
_UFUNC_NAMES = {id(value): name for name, value in _UFUNCS.items()}


def write_dtype(dtype: "np.dtype[Any]") -> Node:
    """Return a dtype as text, or as its fields; raises UnsupportedError."""
    if dtype.metadata or dtype.hasobject:
        raise UnsupportedError(f"the dtype {dtype} is no plain data")
    if dtype.fields is None and dtype.subdtype is None:
        if not _is_plain(dtype.str):
            raise UnsupportedError(f"the dtype {dtype} is no plain data")
        return dtype.str
    try:
        fields = dtype.descr
        if np.dtype(fields) != dtype:
            raise UnsupportedError("a structured dtype of an unusual layout")
    except (ValueError, TypeError) as error:
        raise UnsupportedError("a structured dtype of an unusual layout") from error
    return [_write_field(field) for field in fields]


def _write_field(field: Sequence[Any]) -> Node:
    name, kind, *shape = field
    written = kind if isinstance(kind, str) else [_write_field(part) for part in kind]
    return [name, written, list(shape[0]) if shape else []]


def read_dtype(node: Node) -> "np.dtype[Any]":
    """Return the dtype of a node; raises BrokenValueError."""
    if isinstance(node, list):
        return np.dtype(_read_fields(node, 0))
    if type(node) is not str or not _is_plain(node):
        raise BrokenValueError("not a dtype")
    return np.dtype(node)


def _is_plain(text: str) -> bool:
    return bool(_DTYPE.fullmatch(text) or _GENERIC.fullmatch(text))


def _read_fields(node: Sequence[Any], depth: int) -> list[Any]:
    if depth > _MAX_NESTED or len(node) > _MAX_FIELDS:
        raise BrokenValueError("not a dtype")
    fields: list[Any] = []
    for name, kind, shape in node:
        if isinstance(kind, list):
            inner: Any = _read_fields(kind, depth + 1)
        else:
            inner = read_dtype(kind).str
        fields.append((exactly(name, str), inner, tuple(_lengths(shape))))
    return fields


def _lengths(node: object) -> list[int]:
    if not isinstance(node, list) or len(node) > _MAX_DIMENSIONS:
        raise BrokenValueError("not a shape")
    if not all(type(length) is int and 0 <= length < 1 << 48 for length in node):
        raise BrokenValueError("not a shape")
    return node


def write_array(encoder: Encoder, value: "np.ndarray[Any, Any]") -> Node:
    """Return the dtype, shape, order and content of an array, without a number."""
    if value.dtype.hasobject:
        if value.dtype.kind != "O":
            raise UnsupportedError("a structured array of objects")
        return ["O", list(value.shape), list(map(encoder.node, value.ravel().tolist()))]
    dtype = write_dtype(value.dtype)
    order: Literal["F", "C"] = (
        "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
    )
    return [dtype, list(value.shape), order, encoder.blob(value.tobytes(order))]


def read_array(decoder: Decoder, node: Node) -> "np.ndarray[Any, Any]":
    """Return the array of `write_array`."""
    if not isinstance(node, list) or not node:
        raise BrokenValueError("not an array")
    if node[0] == "O":
        _, shape, items = node
        return _read_objects(decoder, _lengths(shape), exactly(items, list))
    kind, shape, order, place = node
    dtype, lengths, content = read_dtype(kind), _lengths(shape), decoder.blob(place)
    if order not in {"C", "F"} or math.prod(lengths) * dtype.itemsize != len(content):
        raise BrokenValueError("an array whose bytes do not fill its shape")
    array = np.frombuffer(content, dtype) if content else np.empty(0, dtype)
    _check_content(array)
    shaped = array.reshape(lengths, order=order) if content else np.empty(lengths, dtype, order)
    return shaped.copy(order)


def _read_objects(decoder: Decoder, lengths: list[int], items: list[Any]) -> "np.ndarray[Any, Any]":
    if math.prod(lengths) != len(items):
        raise BrokenValueError("an array whose items do not fill its shape")
    array = np.empty(len(items), dtype=object)
    for place, item in enumerate(items):
        array[place] = decoder.read(item)
    return array.reshape(lengths)


def _check_content(array: "np.ndarray[Any, Any]") -> None:
    """Refuse bytes that no honest array has and that make numpy answer nonsense."""
    dtype = array.dtype
    if dtype.fields is not None:
        for name in dtype.fields:
            _check_content(array[name])
    elif dtype.kind == "b" and array.size and array.view(np.uint8).max() > 1:
        raise BrokenValueError("a truth value that is neither 0 nor 1")
    elif dtype.kind == "U" and array.size and dtype.itemsize:
        points = np.ascontiguousarray(array).view(np.dtype("u4").newbyteorder(dtype.byteorder))
        if points.max() > _LAST_CODE_POINT:
            raise BrokenValueError("a text that is none")


def _encode_array(encoder: Encoder, value: "np.ndarray[Any, Any]") -> Node:
    key = encoder.number(value)
    try:
        return ["np.a", value.flags.writeable, write_array(encoder, value)]
    finally:
        encoder.done(key)


def _decode_array(decoder: Decoder, node: Sequence[Any]) -> "np.ndarray[Any, Any]":
    number = decoder.reserve()
    _, writeable, content = node
    value = read_array(decoder, content)
    value.flags.writeable = exactly(writeable, bool)
    decoder.made(number, value)
    return value


def _encode_scalar(encoder: Encoder, value: np.generic) -> Node:
    return ["np.s", write_dtype(value.dtype), encoder.blob(value.tobytes())]


def _decode_scalar(decoder: Decoder, node: Sequence[Any]) -> Any:  # noqa: ANN401 (a scalar)
    _, kind, place = node
    dtype, content = read_dtype(kind), decoder.blob(place)
    if dtype.itemsize != len(content) or not content:
        # numpy cannot read a text of no length from no bytes.
        return np.zeros((), dtype)[()] if not content and not dtype.itemsize else _refuse()
    array = np.frombuffer(content, dtype)
    _check_content(array)
    return array[0]


def _refuse() -> Any:  # noqa: ANN401 (never returns)
    raise BrokenValueError("a scalar of the wrong length")


def _encode_generator(encoder: Encoder, value: np.random.Generator) -> Node:
    encoder.done(encoder.number(value))
    source = value.bit_generator
    if type(source).__name__ not in _BIT_GENERATORS:
        raise UnsupportedError("a random generator of another kind")
    state = Encoder()
    node = state.node(dict(source.state))
    return ["np.g", type(source).__name__, node, list(map(encoder.blob, state.blobs))]


def _decode_generator(decoder: Decoder, node: Sequence[Any]) -> np.random.Generator:
    number = decoder.reserve()
    _, name, state, places = node
    source = _BIT_GENERATORS[exactly(name, str)]()
    source.state = Decoder([decoder.blob(place) for place in places]).value(state)
    value = np.random.Generator(source)
    decoder.made(number, value)
    return value


def _encode_legacy(encoder: Encoder, value: np.random.RandomState) -> Node:
    encoder.done(encoder.number(value))
    kind, keys, *rest = value.get_state(legacy=True)
    if kind != "MT19937":
        raise UnsupportedError("a random generator of another kind")
    return ["np.l", write_array(encoder, np.asarray(keys)), *map(encoder.node, rest)]


def _decode_legacy(decoder: Decoder, node: Sequence[Any]) -> np.random.RandomState:
    number = decoder.reserve()
    _, keys, *rest = node
    place, has_gauss, cached = map(decoder.read, rest)
    value = np.random.RandomState()
    value.set_state(("MT19937", read_array(decoder, keys), place, has_gauss, cached))
    decoder.made(number, value)
    return value


def _encode_masked(encoder: Encoder, value: "np.ma.MaskedArray[Any, Any]") -> Node:
    return [
        "np.k",
        write_array(encoder, np.asarray(value.data)),
        write_array(encoder, np.ma.getmaskarray(value)),
        encoder.node(value.fill_value),
    ]


def _decode_masked(decoder: Decoder, node: Sequence[Any]) -> Any:  # noqa: ANN401 (a masked array)
    _, content, mask, fill = node
    return np.ma.MaskedArray(
        read_array(decoder, content), read_array(decoder, mask), fill_value=decoder.read(fill)
    )


def _named(node: Sequence[Any]) -> object:
    name = exactly(node[1], str)
    return _SCALARS.get(name) or _ABSTRACT[name]


def _encode_ufunc(encoder: Encoder, value: np.ufunc) -> Node:
    name = _UFUNC_NAMES.get(id(value))
    return encoder.foreign(value) if name is None else ["np.u", name]


def name_of_type(value: type) -> Node | None:
    """Return the node of a type of numpy's that a value may name, or None."""
    name = value.__name__
    return ["np.y", name] if _SCALARS.get(name) is value or _ABSTRACT.get(name) is value else None


ENCODERS.update(dict.fromkeys(set(_SCALARS.values()), _encode_scalar))
ENCODERS.update(
    {
        np.ndarray: _encode_array,
        np.ma.MaskedArray: _encode_masked,
        np.random.Generator: _encode_generator,
        np.random.RandomState: _encode_legacy,
        np.ufunc: _encode_ufunc,
    }
)
ENCODERS.update(
    {
        kind: lambda _, value: ["np.d", write_dtype(value)]
        for kind in {type(np.dtype(scalar)) for scalar in _SCALARS.values()}
    }
)
DECODERS.update(
    {
        "np.a": _decode_array,
        "np.s": _decode_scalar,
        "np.g": _decode_generator,
        "np.l": _decode_legacy,
        "np.k": _decode_masked,
        "np.y": lambda _, node: _named(node),
        "np.u": lambda _, node: _UFUNCS[exactly(node[1], str)],
        "np.d": lambda _, node: read_dtype(node[1]),
    }
)
