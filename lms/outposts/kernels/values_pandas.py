"""pandas' plain values: Series, DataFrames and indexes as arrays of plain data."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray

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
from lms.outposts.kernels.values_numpy import read_array, write_array

_MASKED = {
    kind.__name__: kind
    for kind in (pd.arrays.IntegerArray, pd.arrays.FloatingArray, pd.arrays.BooleanArray)
}
_UNITS = frozenset({"s", "ms", "us", "ns"})


def write_column(encoder: Encoder, array: Any) -> Node:  # noqa: ANN401 (any array of pandas')
    """Return an array of pandas' or numpy's, without a number."""
    if isinstance(array, np.ndarray):
        return ["n", write_array(encoder, array)]
    if type(array) is pd.arrays.NumpyExtensionArray:
        return ["n", write_array(encoder, array.to_numpy())]
    if isinstance(array, pd.Categorical):
        return [
            "c",
            write_array(encoder, array.codes),
            _index(encoder, array.categories),
            array.ordered,
        ]
    if isinstance(array, (pd.arrays.DatetimeArray, pd.arrays.TimedeltaArray)):
        zone = None if array.dtype.kind == "m" else getattr(array.dtype, "tz", None)
        kind = "td" if array.dtype.kind == "m" else "dt"
        return [
            kind,
            write_array(encoder, array.asi8),
            array.unit,
            None if zone is None else str(zone),
        ]
    if type(array).__name__ in _MASKED:
        return [
            "m",
            type(array).__name__,
            write_array(encoder, array._data),  # noqa: SLF001 (no public way)
            write_array(encoder, array._mask),  # noqa: SLF001
        ]
    return _write_other(encoder, array)


def _write_other(encoder: Encoder, array: Any) -> Node:  # noqa: ANN401 (any array of pandas')
    if isinstance(array.dtype, pd.StringDtype):
        kept = np.asarray(array, dtype=object)
        gaps = np.asarray(array.isna())
        texts = ["" if gap else str(text) for text, gap in zip(kept, gaps, strict=True)]
        missing = "NA" if array.dtype.na_value is pd.NA else "nan"
        return ["s", encoder.node(texts), write_array(encoder, gaps), array.dtype.storage, missing]
    if isinstance(array, pd.arrays.PeriodArray):
        return ["p", write_array(encoder, array.asi8), array.freqstr]
    if isinstance(array, pd.arrays.IntervalArray):
        return ["v", _index(encoder, array.left), _index(encoder, array.right), array.closed]
    raise UnsupportedError(f"a column of {array.dtype} is no plain data")


def read_column(decoder: Decoder, node: Node) -> Any:  # noqa: ANN401 (any array of pandas')
    """Return the array of `write_column`."""
    kind, *parts = exactly(node, list)
    return _COLUMNS[exactly(kind, str)](decoder, parts)


def _read_categories(decoder: Decoder, parts: Sequence[Any]) -> pd.Categorical:
    codes, categories, ordered = parts
    return pd.Categorical.from_codes(
        read_array(decoder, codes),
        _read_index(decoder, categories),
        ordered=exactly(ordered, bool),
    )


def _read_times(decoder: Decoder, parts: Sequence[Any]) -> ExtensionArray:
    moments, unit, zone = parts
    times = pd.DatetimeIndex(_as_times(decoder, moments, unit, "M8"))
    if zone is not None:
        times = times.tz_localize("UTC").tz_convert(exactly(zone, str))
    array: ExtensionArray = times.array
    return array


def _read_spans(decoder: Decoder, parts: Sequence[Any]) -> ExtensionArray:
    spans, unit, _ = parts
    array: ExtensionArray = pd.TimedeltaIndex(_as_times(decoder, spans, unit, "m8")).array
    return array


def _as_times(decoder: Decoder, node: Node, unit: object, kind: str) -> "np.ndarray[Any, Any]":
    numbers = read_array(decoder, node)
    if unit not in _UNITS or numbers.dtype != np.int64:
        raise BrokenValueError("not moments")
    return numbers.view(f"{kind}[{unit}]")


def _read_masked(decoder: Decoder, parts: Sequence[Any]) -> ExtensionArray:
    name, content, mask = parts
    array: ExtensionArray = _MASKED[exactly(name, str)](
        read_array(decoder, content), read_array(decoder, mask)
    )
    return array


def _read_texts(decoder: Decoder, parts: Sequence[Any]) -> Any:  # noqa: ANN401 (a string array)
    texts, gaps, storage, missing = parts
    listed = exactly(decoder.read(texts), list)
    if not all(type(text) is str for text in listed):
        raise BrokenValueError("a text was expected")
    items = np.empty(len(listed), dtype=object)
    items[:] = listed
    na_value = np.nan if missing == "nan" else pd.NA
    items[read_array(decoder, gaps)] = na_value
    return pd.array(items, dtype=pd.StringDtype(storage, na_value))


def _read_periods(decoder: Decoder, parts: Sequence[Any]) -> Any:  # noqa: ANN401 (a period array)
    ordinals, frequency = parts
    made = pd.PeriodIndex.from_ordinals(
        read_array(decoder, ordinals).astype(np.int64), freq=exactly(frequency, str)
    )
    return made.array


def _read_intervals(decoder: Decoder, parts: Sequence[Any]) -> Any:  # noqa: ANN401 (an interval array)
    left, right, closed = parts
    return pd.arrays.IntervalArray.from_arrays(
        _read_index(decoder, left), _read_index(decoder, right), closed=closed
    )


_COLUMNS: dict[str, Any] = {
    "n": lambda decoder, parts: read_array(decoder, parts[0]),
    "c": _read_categories,
    "dt": _read_times,
    "td": _read_spans,
    "m": _read_masked,
    "s": _read_texts,
    "p": _read_periods,
    "v": _read_intervals,
}


def _index(encoder: Encoder, value: pd.Index) -> Node:
    if type(value) is pd.RangeIndex:
        return ["r", value.start, value.stop, value.step, encoder.node(value.name)]
    if type(value) is pd.MultiIndex:
        levels = [_index(encoder, level) for level in value.levels]
        codes = [write_array(encoder, np.asarray(code)) for code in value.codes]
        return ["m", levels, codes, [encoder.node(name) for name in value.names]]
    frequency = getattr(value, "freqstr", None)
    if type(value) is pd.PeriodIndex:
        frequency = None
    return ["i", write_column(encoder, value.array), encoder.node(value.name), frequency]


def _read_index(decoder: Decoder, node: Node) -> Any:  # noqa: ANN401 (an index)
    kind, *parts = exactly(node, list)
    if kind == "r":
        start, stop, step, name = parts
        if not all(type(part) is int for part in (start, stop, step)):
            raise BrokenValueError("not an index")
        return pd.RangeIndex(start, stop, step, name=decoder.read(name))
    if kind == "m":
        levels, codes, names = parts
        return pd.MultiIndex(
            levels=[_read_index(decoder, level) for level in levels],
            codes=[read_array(decoder, code) for code in codes],
            names=[decoder.read(name) for name in names],
        )
    column, name, frequency = parts
    array = read_column(decoder, column)
    made: Any = pd.Index(array, dtype=getattr(array, "dtype", None), name=decoder.read(name))
    if frequency is not None:
        made.freq = exactly(frequency, str)
    return made


def _encode_index(encoder: Encoder, value: pd.Index) -> Node:
    return ["pd.i", _index(encoder, value)]


def _encode_series(encoder: Encoder, value: "pd.Series[Any]") -> Node:
    key = encoder.number(value)
    try:
        content = write_column(encoder, value.array)
        return ["pd.s", content, _index(encoder, value.index), encoder.node(value.name)]
    finally:
        encoder.done(key)


def _decode_series(decoder: Decoder, node: Sequence[Any]) -> Any:  # noqa: ANN401 (a Series)
    number = decoder.reserve()
    _, content, index, name = node
    array = read_column(decoder, content)
    value = pd.Series(
        array, index=_read_index(decoder, index), name=decoder.read(name), dtype=array.dtype
    )
    decoder.made(number, value)
    return value


def _encode_frame(encoder: Encoder, value: pd.DataFrame) -> Node:
    key = encoder.number(value)
    try:
        columns = [
            write_column(encoder, value.iloc[:, place].array) for place in range(value.shape[1])
        ]
        return ["pd.f", columns, _index(encoder, value.columns), _index(encoder, value.index)]
    finally:
        encoder.done(key)


def _decode_frame(decoder: Decoder, node: Sequence[Any]) -> pd.DataFrame:
    number = decoder.reserve()
    _, columns, names, index = node
    arrays = [read_column(decoder, column) for column in exactly(columns, list)]
    head, rows = _read_index(decoder, names), _read_index(decoder, index)
    if len(arrays) != len(head):
        raise BrokenValueError("a table whose columns do not fit its head")
    series = {
        place: pd.Series(array, index=rows, dtype=array.dtype) for place, array in enumerate(arrays)
    }
    value = pd.DataFrame(series, index=rows)
    value.columns = head
    decoder.made(number, value)
    return value


def _encode_moment(encoder: Encoder, value: Any) -> Node:  # noqa: ANN401 (a Timestamp or Timedelta)
    zone = getattr(value, "tzinfo", None)
    if zone is not None and getattr(zone, "key", None) is None and str(zone) != "UTC":
        return encoder.foreign(value)
    numbers = value.asm8.view("i8").item()
    tag = "pd.t" if type(value) is pd.Timestamp else "pd.d"
    return [tag, encoder.node(numbers), value.unit, None if zone is None else str(zone)]


def _decode_moment(decoder: Decoder, node: Sequence[Any]) -> Any:  # noqa: ANN401 (a Timestamp or Timedelta)
    tag, number, unit, zone = node
    if unit not in _UNITS:
        raise BrokenValueError("not a moment")
    count = exactly(decoder.read(number), int)
    if tag == "pd.d":
        return pd.Timedelta(np.timedelta64(count, unit)).as_unit(unit)
    value = pd.Timestamp(np.datetime64(count, unit))
    return value if zone is None else value.tz_localize("UTC").tz_convert(exactly(zone, str))


_INDEXES = (
    pd.Index,
    pd.RangeIndex,
    pd.MultiIndex,
    pd.DatetimeIndex,
    pd.TimedeltaIndex,
    pd.PeriodIndex,
    pd.CategoricalIndex,
    pd.IntervalIndex,
)
_SINGLES: dict[str, object] = {"NA": pd.NA, "NaT": pd.NaT}

ENCODERS.update(dict.fromkeys(_INDEXES, _encode_index))
ENCODERS.update(
    {
        pd.Series: _encode_series,
        pd.DataFrame: _encode_frame,
        pd.Timestamp: _encode_moment,
        pd.Timedelta: _encode_moment,
        type(pd.NA): lambda *_: ["pd.o", "NA"],
        type(pd.NaT): lambda *_: ["pd.o", "NaT"],
        pd.Categorical: lambda encoder, value: ["pd.a", write_column(encoder, value)],
        pd.Interval: lambda encoder, value: [
            "pd.v",
            encoder.node(value.left),
            encoder.node(value.right),
            value.closed,
        ],
    }
)
DECODERS.update(
    {
        "pd.i": lambda decoder, node: _read_index(decoder, node[1]),
        "pd.s": _decode_series,
        "pd.f": _decode_frame,
        "pd.t": _decode_moment,
        "pd.d": _decode_moment,
        "pd.o": lambda _, node: _SINGLES[exactly(node[1], str)],
        "pd.a": lambda decoder, node: read_column(decoder, node[1]),
        "pd.v": lambda decoder, node: pd.Interval(
            decoder.read(node[1]), decoder.read(node[2]), node[3]
        ),
    }
)
