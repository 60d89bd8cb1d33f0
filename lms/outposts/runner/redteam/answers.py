"""Answers that work nothing out: None, the argument, a constant, or what the visible tests show."""

import ast
import re
from collections.abc import Iterable, Iterator
from textwrap import dedent

from lms.outposts.runner.redteam.mutations import Mutant, parse, plain_python
from lms.outposts.runner.redteam.questions import AnswerCell

_CONSTANTS = ("None", "0", "''", "[]")
#: Constants taken from the visible tests of one question.
_HARVEST = 3
_LONGEST = 200
#: Printed by a recorder for each call that it sees.
SEEN = re.compile(r"seodang-seen (\w+) ([0-9a-f]{16})")
#: How a call is known again: by the values of its arguments, arrays and frames by their bytes.
_MARK = dedent("""
    def _seodang_mark(value):
        import re
        if isinstance(value, dict):
            return sorted((repr(key), _seodang_mark(held)) for key, held in value.items())
        if isinstance(value, (list, tuple)):
            return [type(value).__name__, *map(_seodang_mark, value)]
        if hasattr(value, "bit_generator"):
            return repr(value.bit_generator.state)
        if hasattr(value, "to_csv"):
            return value.to_csv()
        if hasattr(value, "tobytes") and hasattr(value, "shape"):
            return [str(value.dtype), list(value.shape), value.tobytes().hex()]
        return re.sub(r" at 0x[0-9a-f]+", "", repr(value))

    def _seodang_key(args, kwargs):
        import hashlib
        text = repr((_seodang_mark(list(args)), _seodang_mark(kwargs)))
        return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
""")
_RECORD = dedent("""
    def _seodang_record(name, function):
        def recorded(*args, **kwargs):
            print("seodang-seen", name, _seodang_key(args, kwargs))
            return function(*args, **kwargs)
        return recorded
""")
_REPLAY = dedent("""
    def _seodang_replay(known, function):
        def replayed(*args, **kwargs):
            if _seodang_key(args, kwargs) in known:
                return function(*args, **kwargs)
        return replayed
""")


def thoughtless(answer: AnswerCell, visible_tests: Iterable[str]) -> Iterator[Mutant]:
    """Yield answers to a cell that do no work, with constants taken from the visible tests."""
    tree = parse(answer.source)
    if tree is None:
        return
    harvested = list(_harvest(visible_tests, set(answer.names)))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield from _functions(answer, tree, node, harvested)
        elif isinstance(node, ast.ClassDef):
            yield from _methods(answer, tree, node)
    has_own = any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in tree.body)
    if answer.names and not has_own:
        yield from _values(answer, harvested)


def functions_of(source: str) -> tuple[str, ...]:
    """Return the functions that a cell defines at its top level."""
    tree = parse(source)
    body = [] if tree is None else tree.body
    return tuple(node.name for node in body if isinstance(node, ast.FunctionDef))


def recorder(answer: AnswerCell) -> str | None:
    """Return the reference with its functions telling each call they see; None without any."""
    names = functions_of(answer.source)
    if not names:
        return None
    wrapped = "\n".join(f"{name} = _seodang_record({name!r}, {name})" for name in names)
    return "\n".join((plain_python(answer.source), _MARK, _RECORD, wrapped))


def hard_coded(answer: AnswerCell, seen: dict[str, set[str]]) -> Mutant | None:
    """Return an answer that is right for the calls in `seen` by function, and gives None else."""
    names = [name for name in functions_of(answer.source) if seen.get(name)]
    if not names or not _takes_arguments(answer.source, names):
        return None
    wrapped = "\n".join(
        f"{name} = _seodang_replay({sorted(seen[name])!r}, {name})" for name in names
    )
    return Mutant(
        cell=answer.grade_id,
        kind="hard-coded",
        note="right for the inputs of the visible tests alone",
        source="\n".join((plain_python(answer.source), _MARK, _REPLAY, wrapped)),
    )


def _takes_arguments(source: str, names: list[str]) -> bool:
    """Say whether any of these functions can be given other inputs at all."""
    tree = parse(source)
    return any(
        isinstance(node, ast.FunctionDef)
        and node.name in names
        and (node.args.args or node.args.posonlyargs or node.args.vararg)
        for node in (tree.body if tree is not None else ())
    )


def _functions(
    answer: AnswerCell, tree: ast.Module, node: ast.FunctionDef, harvested: list[str]
) -> Iterator[Mutant]:
    arguments = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    given = [*_CONSTANTS[:1], *arguments[:1], *harvested, *_CONSTANTS[1:]]
    for value in dict.fromkeys(given):
        kind = "returns its argument" if value in arguments else "constant answer"
        yield Mutant(
            cell=answer.grade_id,
            kind=kind,
            note=f"{node.name} always returns {_cut(value)}",
            source=_with_body(tree, node, f"return {value}"),
        )


def _methods(answer: AnswerCell, tree: ast.Module, node: ast.ClassDef) -> Iterator[Mutant]:
    for method in node.body:
        if isinstance(method, ast.FunctionDef):
            yield Mutant(
                cell=answer.grade_id,
                kind="constant answer",
                note=f"{node.name}.{method.name} does nothing",
                source=_with_body(tree, method, "return None"),
            )


def _with_body(tree: ast.Module, function: ast.FunctionDef, body: str) -> str:
    kept = function.body
    function.body = ast.parse(f"def f():\n    {body}").body[0].body  # type: ignore[attr-defined]
    try:
        return ast.unparse(tree)
    finally:
        function.body = kept


def _values(answer: AnswerCell, harvested: list[str]) -> Iterator[Mutant]:
    for value in dict.fromkeys((*_CONSTANTS[:1], *harvested, *_CONSTANTS[1:])):
        yield Mutant(
            cell=answer.grade_id,
            kind="constant answer",
            note=f"{', '.join(answer.names)} = {_cut(value)}",
            source="\n".join(f"{name} = {value}" for name in answer.names),
        )


def _harvest(tests: Iterable[str], names: set[str]) -> Iterator[str]:
    """Yield values that visible tests compare the answer with, as source."""
    found: dict[str, None] = {}
    for test in tests:
        tree = parse(test)
        for node in ast.walk(tree) if tree is not None else ():
            sides = _sides(node)
            if any(_mentions(side, names) for side in sides):
                literals = (side for side in sides if _is_literal(side))
                found.update(dict.fromkeys(ast.unparse(side) for side in literals))
    yield from list(found)[:_HARVEST]


def _sides(node: ast.AST) -> list[ast.expr]:
    """Return what a comparison or a call such as assert_equal(a, b) puts side by side."""
    if isinstance(node, ast.Compare):
        return [node.left, *node.comparators]
    return list(node.args) if isinstance(node, ast.Call) else []


def _mentions(node: ast.AST, names: set[str]) -> bool:
    return any(isinstance(below, ast.Name) and below.id in names for below in ast.walk(node))


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return len(ast.unparse(node)) <= _LONGEST


def _cut(value: str) -> str:
    return value if len(value) <= 40 else value[:39] + "…"  # noqa: PLR2004 (one line of a report)
