"""scikit-learn's estimators whose state is plain data and whose work is numpy's.

Such an estimator is made anew on the other side: its class is that side's own, so that its
`score` is scikit-learn's and not a student's. Those that hand their state to compiled code of
their own (trees, neighbours, support vectors) stay out: it does not expect hostile numbers.
"""

import importlib
from collections.abc import Sequence
from typing import Any

from sklearn.base import BaseEstimator

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

_MODULES = {
    "sklearn.linear_model": (
        "LinearRegression",
        "LogisticRegression",
        "Ridge",
        "RidgeClassifier",
        "Lasso",
        "ElasticNet",
    ),
    "sklearn.preprocessing": (
        "StandardScaler",
        "MinMaxScaler",
        "MaxAbsScaler",
        "RobustScaler",
        "Normalizer",
        "LabelEncoder",
        "OneHotEncoder",
        "OrdinalEncoder",
    ),
    "sklearn.naive_bayes": ("GaussianNB", "BernoulliNB", "MultinomialNB"),
    "sklearn.dummy": ("DummyClassifier", "DummyRegressor"),
    "sklearn.discriminant_analysis": (
        "LinearDiscriminantAnalysis",
        "QuadraticDiscriminantAnalysis",
    ),
    "sklearn.decomposition": ("PCA",),
    "sklearn.impute": ("SimpleImputer",),
    "sklearn.pipeline": ("Pipeline",),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}


def _class(name: object) -> type[Any]:
    module = _PLACES[exactly(name, str)]
    found: type[Any] = getattr(importlib.import_module(module), str(name))
    return found


def _encode(encoder: Encoder, value: BaseEstimator) -> Node:
    key = encoder.number(value)
    try:
        # No handle may hide in it: the far side takes it for scikit-learn's own.
        inner = Encoder()
        state = inner.node(dict(vars(value)))
        return ["sk.e", type(value).__name__, state, list(map(encoder.blob, inner.blobs))]
    finally:
        encoder.done(key)


def _encode_if_plain(encoder: Encoder, value: BaseEstimator) -> Node:
    try:
        Encoder().node(dict(vars(value)))
    except UnsupportedError:
        return encoder.foreign(value)
    return _encode(encoder, value)


def _decode(decoder: Decoder, node: Sequence[Any]) -> object:
    number = decoder.reserve()
    _, name, written, places = node
    kind = _class(name)
    state = Decoder([decoder.blob(place) for place in places]).value(written)
    for attribute in exactly(state, dict):
        if type(attribute) is not str or not attribute.isidentifier() or hasattr(kind, attribute):
            raise BrokenValueError("an estimator that would not be scikit-learn's own")
    value: Any = object.__new__(kind)
    vars(value).update(state)
    decoder.made(number, value)
    return value


def register(kind: type[Any]) -> bool:
    """Register one estimator's class if it may cross; says whether it may."""
    if _PLACES.get(kind.__name__) is None or _class(kind.__name__) is not kind:
        return False
    ENCODERS[kind] = _encode_if_plain
    return True


DECODERS["sk.e"] = _decode
