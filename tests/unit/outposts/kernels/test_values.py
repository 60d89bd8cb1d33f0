"""Plain data crosses exactly; what is no plain data, or hostile, does not cross at all."""

import datetime as dt
import json
import math
import pathlib
import random
import struct
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from lms.outposts.kernels.values import (
    MAX_DEPTH,
    BrokenValueError,
    Decoder,
    Encoder,
    UnsupportedError,
)


def crossed(value: object) -> Any:  # noqa: ANN401 (whatever it is)
    """The value on the other side."""
    encoder = Encoder()
    node = json.loads(json.dumps(encoder.node(value), allow_nan=False))
    return Decoder(encoder.blobs).value(node)


_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(1 << 300), max_value=1 << 300),
    st.floats(),
    st.complex_numbers(),
    st.text(alphabet=st.characters(exclude_categories=())),
    st.binary(),
    st.decimals(allow_nan=False),
    st.fractions(),
    st.dates(),
    st.datetimes(timezones=st.sampled_from([None, dt.UTC, zoneinfo.ZoneInfo("Asia/Seoul")])),
    st.timedeltas(),
)
_hashable = st.one_of(st.integers(), st.text(), st.booleans(), st.tuples(st.integers(), st.text()))
_values = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=20),
        st.tuples(inner, inner),
        st.dictionaries(_hashable, inner),
        st.sets(_hashable),
        st.frozensets(_hashable),
        st.lists(st.floats(), min_size=16, max_size=30),
        st.lists(st.text(), min_size=16, max_size=30),
        st.lists(st.integers(), min_size=16, max_size=30),
    ),
    max_leaves=25,
)


def same(one: object, other: object) -> bool:
    """Equal in every type and bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float) and isinstance(other, float):
        return struct.pack("<d", one) == struct.pack("<d", other)
    if isinstance(one, complex) and isinstance(other, complex):
        return same(one.real, other.real) and same(one.imag, other.imag)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return same(list(one.items()), list(other.items()))
    return one == other


@given(_values)
@settings(max_examples=150, deadline=None)
def test_plain_values_cross_exactly(value: object) -> None:
    assert same(crossed(value), value)


@pytest.mark.parametrize(
    "value",
    [
        range(3, 30, 4),
        slice(1, None, -2),
        ...,
        NotImplemented,
        bytearray(b"abc"),
        Decimal("NaN"),
        Fraction(1, 3),
        pathlib.Path("a/b"),
        dt.time(3, 4, tzinfo=dt.UTC),
        int,
        ValueError,
        np.float64,
        np.ndarray,
        np.sin,
        math.sqrt,
        sorted,
        np.dtype("float32"),
        deque([1, 2], maxlen=5),
        OrderedDict([("b", 1), ("a", 2)]),
        Counter("abca"),
        defaultdict(list, {"a": [1]}),
    ],
    ids=str,
)
def test_single_values_keep_their_type(value: object) -> None:
    there = crossed(value)
    assert type(there) is type(value)
    assert repr(there) == repr(value)


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype=">i4").reshape(2, 3),
        np.asfortranarray(np.ones((3, 4), dtype="f2")),
        np.array([[1 + 2j]], dtype="c8"),
        np.array(["a", "서당"]),
        np.array([b"a", b"bc"]),
        np.array(["2026-11-24", "NaT"], dtype="M8[D]"),
        np.array([1, 2], dtype="m8[ms]"),
        np.array([True, False]),
        np.zeros((0, 5)),
        np.array(3.5),
        np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8", (1,))]),
        np.array([1, "a", None, [2]], dtype=object),
        np.array([np.nan, -0.0, np.inf]),
    ],
    ids=lambda value: value.dtype.str,
)
def test_arrays_keep_dtype_shape_order_and_bytes(value: "np.ndarray[Any, Any]") -> None:
    there = crossed(value)
    assert type(there) is np.ndarray
    assert there.dtype == value.dtype
    assert there.shape == value.shape
    assert there.flags.f_contiguous == value.flags.f_contiguous
    if value.dtype.hasobject:
        assert there.tolist() == value.tolist()
    else:
        assert there.tobytes() == value.tobytes()
    assert there.flags.writeable


def test_scalars_of_numpy_are_no_python_numbers() -> None:
    for value in (np.float32(1.5), np.int8(-3), np.bool_(1), np.str_("a"), np.datetime64("2026")):
        there = crossed(value)
        assert type(there) is type(value)
        assert there == value


def test_random_generators_go_on_where_they_were() -> None:
    mine = np.random.default_rng(3)
    mine.random(5)
    assert crossed(mine).random() == mine.random()
    legacy = np.random.RandomState(4)
    assert crossed(legacy).normal() == legacy.normal()
    plain = random.Random(5)  # noqa: S311 (no secret)
    assert crossed(plain).random() == plain.random()


_FRAME = pd.DataFrame(
    {
        "whole": [1, 2, 3],
        "real": [1.0, np.nan, 2],
        "text": ["x", None, "서당"],
        "kind": pd.Categorical(["u", "v", "u"], ordered=True),
        "moment": pd.date_range("2026-11-24", periods=3, tz="Asia/Seoul"),
        "gaps": pd.array([1, None, 3], dtype="Int64"),
        "string": pd.array(["a", None, "b"], dtype="string"),
        "span": pd.to_timedelta([1, 2, 3], unit="s"),
        "month": pd.period_range("2026-01", periods=3, freq="M"),
        "list": [[1], {2: 3}, None],
        "between": pd.interval_range(0, 3),
    },
    index=pd.Index([5, 6, 7], name="row"),
)


def test_tables_keep_dtypes_index_and_names() -> None:
    for frame in (
        _FRAME,
        pd.DataFrame(),
        pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]),
        pd.DataFrame(index=[1, 2]),
        _FRAME.describe(),
        _FRAME.set_index(["whole", "text"]),
    ):
        pd.testing.assert_frame_equal(crossed(frame), frame)
    for series in (_FRAME.real, _FRAME.kind, pd.Series(dtype=float), pd.Series([1], name=("a", 1))):
        pd.testing.assert_series_equal(crossed(series), series)


def test_indexes_keep_their_kind() -> None:
    for index in (
        pd.RangeIndex(1, 9, 2, name="n"),
        pd.date_range("2026", periods=3, freq="D"),
        pd.MultiIndex.from_product([[1, 2], ["a", "b"]], names=["p", "q"]),
        pd.CategoricalIndex(["a", "b"]),
    ):
        there = crossed(index)
        assert type(there) is type(index)
        pd.testing.assert_index_equal(there, index)
    for moment in (pd.Timestamp("2026-01-01", tz="UTC"), pd.Timedelta("3s"), pd.NaT, pd.NA):
        assert repr(crossed(moment)) == repr(moment)


def test_sparse_matrices_cross() -> None:
    matrix = sparse.csr_matrix(np.eye(3))
    there = crossed(matrix)
    assert type(there) is type(matrix)
    assert (there.toarray() == np.eye(3)).all()


def test_estimator_is_the_other_sides_own() -> None:
    fitted = LogisticRegression().fit(np.array([[0.0], [1.0], [2.0], [3.0]]), [0, 0, 1, 1])
    there = crossed(fitted)
    assert type(there) is LogisticRegression
    assert there.predict(np.array([[5.0]])) == [1]
    fitted.score = lambda *_: 1.0
    with pytest.raises(UnsupportedError):
        crossed(fitted)


def test_same_container_is_the_same_there() -> None:
    row = [0]
    one, two = crossed([row, row])
    assert one is two


class Always:
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


class Whole(int):
    """A number of another class."""


class Line(list[int]):
    """A list of another class."""


@pytest.mark.parametrize(
    "value",
    [Always(), Whole(1), Line([1]), [Whole(1)], {1: Always()}, np.ones(2).view(np.matrix), eval],
    ids=lambda value: type(value).__name__,
)
def test_other_classes_are_no_plain_data(value: object) -> None:
    with pytest.raises(UnsupportedError):
        crossed(value)


def test_cycles_depth_and_size_are_refused() -> None:
    ring: list[object] = []
    ring.append(ring)
    deep: list[object] = []
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    for value in (ring, deep, [[0]] * 400_000 + [[1]] * 200_000, b"x" * (13 << 20)):
        with pytest.raises(UnsupportedError):
            Encoder().node(value)


_BROKEN: list[Any] = [
    {},
    [],
    [1],
    ["nothing"],
    ["r", 0],
    ["r", -1],
    ["l", ["r", 0]],
    ["b", 7],
    ["i", 5],
    ["f", "00"],
    ["d", 1],
    ["d", ["l"], 1],
    ["e", ["l"]],
    ["c", 1, 2],
    ["rg", 0.5, 1, 1],
    ["y", "eval"],
    ["u", "eval"],
    ["u", "exec"],
    ["dt", "never", 0, None],
    ["dt", "2026-11-24", 0, "../../etc/passwd"],
    ["dd", 5],
    ["lf", 2],
    ["li", [True] * 20],
    ["ls", [1] * 20],
    ["np.a", True, ["<f8", [3], "C", 0]],
    ["np.a", True, ["<f8", [1 << 60], "C", 0]],
    ["np.a", True, ["<f8", [-1, -1], "C", 0]],
    ["np.a", True, ["|O", [1], "C", 0]],
    ["np.a", True, ["<f8", [1], "K", 0]],
    ["np.a", True, [[["a", "|O8", []]], [1], "C", 0]],
    ["np.a", True, ["<i4,O", [1], "C", 0]],
    ["np.a", True, ["|b1", [8], "C", 1]],
    ["np.a", True, ["<U2", [1], "C", 1]],
    ["np.s", "<f8", 2],
    ["np.g", "PCG64", ["d"], []],
    ["np.g", "SeedSequence", ["d"], []],
    ["pd.s", ["n", ["<f8", [1], "C", 0]], ["r", 0, 5, 1, None], None],
    ["pd.f", [], ["i", ["n", ["<f8", [1], "C", 0]], None, None], ["r", 0, 1, 1, None]],
    ["pd.a", ["c", ["|u1", [8], "C", 1], ["r", 0, 1, 1, None], False]],
    [
        "sp.m",
        "csr_matrix",
        [1, 1],
        ["<f8", [1], "C", 0],
        ["<i8", [1], "C", 1],
        ["<i8", [1], "C", 1],
    ],
    ["sk.e", "SVC", ["d"], []],
    ["sk.e", "LogisticRegression", ["d", "score", 1.0], []],
    ["sk.e", "LogisticRegression", ["d", "__class__", 1], []],
]


@pytest.mark.parametrize("node", _BROKEN, ids=str)
def test_hostile_nodes_are_refused(node: object) -> None:
    blobs = [bytes(8), b"\xff" * 8, b"abc"]
    with pytest.raises(BrokenValueError):
        Decoder(blobs).value(node)


_nodes = st.recursive(
    st.one_of(st.none(), st.integers(-5, 5), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda inner: st.lists(
        st.one_of(
            inner,
            st.sampled_from(
                ["l", "t", "d", "e", "r", "np.a", "np.s", "pd.s", "pd.f", "pd.i", "n", "<f8", "|O"]
            ),
        ),
        max_size=6,
    ),
)


@given(_nodes)
@settings(max_examples=150, deadline=None)
def test_any_node_is_a_value_or_broken(node: object) -> None:
    decoder = Decoder([bytes(8), bytes(16)])
    try:
        value = decoder.value(node)
    except BrokenValueError:
        return
    Encoder().node(value)
