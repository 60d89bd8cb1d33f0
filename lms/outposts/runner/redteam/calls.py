"""Mistakes in calls: wrong axis, ddof or order, arguments swapped, a copy that was not made."""

import ast
from collections.abc import Iterator
from copy import deepcopy

from lms.outposts.runner.redteam.variants import Variant, became

_TWO = 2
#: What is mistaken for what; both ways.
_CONFUSED = {
    "min": "max",
    "argmin": "argmax",
    "any": "all",
    "mean": "median",
    "std": "var",
    "sum": "prod",
    "floor": "ceil",
    "head": "tail",
    "lower": "upper",
    "strip": "lstrip",
    "first": "last",
    "append": "extend",
    "zeros": "ones",
    "exp": "log",
    "left": "right",
    "intersection": "union",
    "startswith": "endswith",
    "loc": "iloc",
    "cumsum": "cumprod",
    "hstack": "vstack",
    "lexsort": "argsort",
    "nanmean": "mean",
    "abs": "float",
}
_OTHER = {**{b: a for a, b in _CONFUSED.items()}, **_CONFUSED}
_WORDS = {
    "left": "right",
    "right": "left",
    "first": "last",
    "last": "first",
    "index": "columns",
    "columns": "index",
    "inner": "outer",
    "outer": "inner",
    "stable": "quicksort",
    "valid": "same",
    "same": "valid",
}
#: Calls that give back a copy of their one argument, and methods that copy their object.
_COPIERS = frozenset({"list", "dict", "set", "copy", "deepcopy", "array"})


def call_variants(node: ast.Call) -> Iterator[Variant]:
    """Yield mistakes with this call."""
    yield from _keywords(node)
    yield from _copies(node)
    yield from _confused(node)
    plain = not any(isinstance(argument, ast.Starred) for argument in node.args)
    if plain and len(node.args) == _TWO:
        new = deepcopy(node)
        new.args.reverse()
        yield became("swapped arguments", node, new)
    if isinstance(node.func, ast.Name) and node.func.id == "range" and plain and node.args:
        yield from _off_by_one(node)


def _keywords(node: ast.Call) -> Iterator[Variant]:
    for place, keyword in enumerate(node.keywords):
        if keyword.arg is None:
            continue
        for value in _other_values(keyword):
            new = deepcopy(node)
            new.keywords[place].value = ast.Constant(value)
            yield became("option", node, new)
        new = deepcopy(node)
        del new.keywords[place]
        yield became("option left out", node, new)


def _other_values(keyword: ast.keyword) -> Iterator[int | str]:
    """Yield other values of an option; what is a number already is off by one elsewhere."""
    value = keyword.value
    if not isinstance(value, ast.Constant):
        return
    if keyword.arg == "axis" and value.value in {0, 1}:
        yield 0 if value.value else 1
    elif isinstance(value.value, str) and value.value in _WORDS:
        yield _WORDS[value.value]


def _copies(node: ast.Call) -> Iterator[Variant]:
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name not in _COPIERS:
        return
    if isinstance(function, ast.Attribute) and not node.args and not node.keywords:
        yield became("copy", node, function.value)
    elif len(node.args) == 1 and isinstance(node.args[0], ast.Name | ast.Attribute):
        yield became("copy", node, node.args[0])


def _confused(node: ast.Call) -> Iterator[Variant]:
    function = node.func
    if isinstance(function, ast.Attribute) and function.attr in _OTHER:
        new = deepcopy(node)
        new.func = ast.Attribute(deepcopy(function.value), _OTHER[function.attr], ast.Load())
        yield became("other function", node, new)
    elif isinstance(function, ast.Name) and function.id in _OTHER:
        new = deepcopy(node)
        new.func = ast.Name(_OTHER[function.id], ast.Load())
        yield became("other function", node, new)
    elif isinstance(function, ast.Name) and function.id == "sorted" and node.args:
        new = ast.Call(ast.Name("list", ast.Load()), [deepcopy(node.args[0])], [])
        yield became("other function", node, new)


def _off_by_one(node: ast.Call) -> Iterator[Variant]:
    last = 0 if len(node.args) == 1 else 1
    for operator in (ast.Sub, ast.Add):
        new = deepcopy(node)
        new.args[last] = ast.BinOp(new.args[last], operator(), ast.Constant(1))
        yield became("off by one", node, new)
