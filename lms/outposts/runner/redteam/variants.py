"""Small mistakes in Python: for one node of a solution, what a person may have written instead."""

import ast
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass

_CUT = 40


@dataclass(frozen=True, slots=True)
class Variant:
    """A node to put in another's place; `note` says so in code."""

    kind: str
    note: str
    node: ast.AST


_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}


def variants(node: ast.AST) -> Iterator[Variant]:
    """Yield mistakes that a person makes with this kind of node."""
    make = _MAKERS.get(type(node))
    if make is not None:
        yield from make(node)


def became(kind: str, old: ast.AST, new: ast.AST) -> Variant:
    """Return a variant whose note shows old and new."""
    line = getattr(old, "lineno", 0)
    return Variant(kind, f"{short(old)} → {short(new)} (line {line})", new)


def removed(kind: str, old: ast.stmt) -> Variant:
    """Return a variant that leaves a statement out."""
    return Variant(kind, f"without {short(old)} (line {old.lineno})", ast.Pass())


def short(node: ast.AST) -> str:
    """Return the first line of a node's source, cut."""
    line = ast.unparse(ast.fix_missing_locations(deepcopy(node))).splitlines()[0].rstrip(":")
    return line if len(line) <= _CUT else line[: _CUT - 1] + "…"


def _compare(node: ast.Compare) -> Iterator[Variant]:
    for place, operator in enumerate(node.ops):
        for other in _COMPARISONS.get(type(operator), ()):
            new = deepcopy(node)
            new.ops[place] = other()
            yield became("comparison", node, new)


def _binary(node: ast.BinOp) -> Iterator[Variant]:
    other = _ARITHMETIC.get(type(node.op))
    if other is not None:
        new = deepcopy(node)
        new.op = other()
        yield became("arithmetic", node, new)
    if isinstance(node.op, ast.Sub | ast.Div | ast.FloorDiv | ast.MatMult):
        yield became("swapped operands", node, ast.BinOp(node.right, node.op, node.left))


def _boolean(node: ast.BoolOp) -> Iterator[Variant]:
    new = deepcopy(node)
    new.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    yield became("logic", node, new)


def _unary(node: ast.UnaryOp) -> Iterator[Variant]:
    if isinstance(node.op, ast.Not | ast.USub | ast.Invert):
        yield became("logic", node, node.operand)


def _augmented(node: ast.AugAssign) -> Iterator[Variant]:
    other = _ARITHMETIC.get(type(node.op))
    if other is not None:
        new = deepcopy(node)
        new.op = other()
        yield became("arithmetic", node, new)
    yield removed("statement left out", node)


def _constant(node: ast.Constant) -> Iterator[Variant]:
    value = node.value
    if isinstance(value, bool):
        yield became("constant", node, ast.Constant(not value))
    elif isinstance(value, int):
        yield became("off by one", node, ast.Constant(value + 1))
        yield became("off by one", node, ast.Constant(value - 1))
    elif isinstance(value, float):
        yield became("constant", node, ast.Constant(value * 2 if value else 1.0))
    elif isinstance(value, str) and value:
        yield became("constant", node, ast.Constant(""))


def _if(node: ast.If) -> Iterator[Variant]:
    leaves = isinstance(node.body[-1], ast.Return | ast.Raise | ast.Continue | ast.Break)
    if leaves and not node.orelse:
        yield removed("guard left out", node)
    else:
        new = deepcopy(node)
        new.test = ast.UnaryOp(ast.Not(), new.test)
        yield became("logic", node, new)


def _choice(node: ast.IfExp) -> Iterator[Variant]:
    yield became("guard left out", node, node.body)
    yield became("guard left out", node, node.orelse)


def _return(node: ast.Return) -> Iterator[Variant]:
    if node.value is None or (isinstance(node.value, ast.Constant) and node.value.value is None):
        return
    yield became("return None", node, ast.Return(ast.Constant(None)))
    if isinstance(node.value, ast.Tuple) and len(node.value.elts) == 2:  # noqa: PLR2004
        turned = ast.Tuple(list(reversed(node.value.elts)), ast.Load())
        yield became("swapped results", node, ast.Return(turned))


def _expression(node: ast.Expr) -> Iterator[Variant]:
    if isinstance(node.value, ast.Call):
        yield removed("statement left out", node)


def _assign(node: ast.Assign) -> Iterator[Variant]:
    # Leaving out the only definition of a name ends in NameError and tells nothing.
    again = {name.id for name in ast.walk(node.value) if isinstance(name, ast.Name)}
    for target in node.targets:
        is_again = isinstance(target, ast.Name) and target.id in again
        if is_again or isinstance(target, ast.Subscript | ast.Attribute):
            yield removed("statement left out", node)
            return


def _jump(node: ast.Break | ast.Continue) -> Iterator[Variant]:
    yield removed("statement left out", node)


def _comprehension(node: ast.ListComp | ast.SetComp | ast.GeneratorExp) -> Iterator[Variant]:
    for place, generator in enumerate(node.generators):
        if generator.ifs:
            new = deepcopy(node)
            new.generators[place].ifs = []
            yield became("guard left out", node, new)


_MAKERS: dict[type[ast.AST], Callable[..., Iterator[Variant]]] = {
    ast.Compare: _compare,
    ast.BinOp: _binary,
    ast.BoolOp: _boolean,
    ast.UnaryOp: _unary,
    ast.AugAssign: _augmented,
    ast.Constant: _constant,
    ast.If: _if,
    ast.IfExp: _choice,
    ast.Return: _return,
    ast.Expr: _expression,
    ast.Assign: _assign,
    ast.Break: _jump,
    ast.Continue: _jump,
    ast.ListComp: _comprehension,
    ast.SetComp: _comprehension,
    ast.GeneratorExp: _comprehension,
}
