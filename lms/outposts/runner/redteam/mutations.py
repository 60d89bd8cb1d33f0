"""Wrong answers made from the right one: one small change to a reference solution at a time.

The same source gives the same mutants in the same order. Some change nothing that can be seen;
that is unavoidable, so a share is judged and never a single mutant.
"""

import ast
import copy
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from lms.outposts.runner.redteam.calls import call_variants
from lms.outposts.runner.redteam.variants import Variant, variants

_BEGIN, _END = "BEGIN SOLUTION", "END SOLUTION"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A wrong answer for one cell."""

    #: grade_id of the answer cell that `source` takes the place of.
    cell: str
    #: What kind of mistake it is, such as `comparison` or `constant answer`.
    kind: str
    #: The mistake in a few words of code, for the instructor.
    note: str
    source: str
    #: It may change what other questions see and has to run alone.
    alone: bool = False


def plain_python(source: str) -> str:
    """Return a cell as Python: magics become calls, as IPython itself reads them."""
    from IPython.core.inputtransformer2 import TransformerManager

    return str(TransformerManager().transform_cell(source))


def parse(source: str) -> ast.Module | None:
    """Return a cell's tree, or None when it is no Python."""
    try:
        return ast.parse(plain_python(source))
    except (SyntaxError, ValueError, RecursionError):
        return None


def solution_lines(source: str) -> set[int]:
    """Return the numbers of the lines that students have to write; all without markers."""
    lines = plain_python(source).splitlines()
    chosen: set[int] = set()
    inside = False
    for number, line in enumerate(lines, start=1):
        if _BEGIN in line:
            inside = True
        elif _END in line:
            inside = False
        elif inside:
            chosen.add(number)
    return chosen or set(range(1, len(lines) + 1))


def mutate(cell: str, source: str) -> Iterator[Mutant]:
    """Yield mutants of one answer cell, kinds of mistakes taking turns."""
    tree = parse(source)
    if tree is None:
        return
    by_kind: dict[str, list[Mutant]] = defaultdict(list)
    seen = {ast.unparse(tree)}
    for index, variant in _sites(tree, solution_lines(source)):
        changed = _changed(tree, index, variant.node)
        if changed is None or changed in seen:
            continue
        seen.add(changed)
        by_kind[variant.kind].append(
            Mutant(
                cell=cell,
                kind=variant.kind,
                note=variant.note,
                source=changed,
                alone=variant.kind == "copy",
            )
        )
    for turn in zip_longest(*(_spread(mutants) for mutants in by_kind.values())):
        yield from (mutant for mutant in turn if mutant is not None)


def _spread(mutants: list[Mutant]) -> list[Mutant]:
    """Order `mutants` so that any first few of them come from all over the cell."""
    if len(mutants) < 3:  # noqa: PLR2004 (two have no middle)
        return mutants
    middle = len(mutants) // 2
    before, after = _spread(mutants[:middle]), _spread(mutants[middle + 1 :])
    rest = [m for pair in zip_longest(before, after) for m in pair if m is not None]
    return [mutants[middle], *rest]


def _sites(tree: ast.Module, lines: set[int]) -> Iterator[tuple[int, Variant]]:
    """Yield what may be put in the place of which node, counted as ast.walk goes."""
    left_alone = _left_alone(tree)
    for index, node in enumerate(ast.walk(tree)):
        if id(node) in left_alone or getattr(node, "lineno", 0) not in lines:
            continue
        for variant in variants(node):
            yield index, variant
        if isinstance(node, ast.Call):
            for variant in call_variants(node):
                yield index, variant


def _left_alone(tree: ast.Module) -> set[int]:
    """Return nodes whose change no test can or should see: messages, annotations, docstrings."""
    roots: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise | ast.Import | ast.ImportFrom | ast.JoinedStr):
            roots.append(node)
        elif isinstance(node, ast.Assert) and node.msg is not None:
            roots.append(node.msg)
        elif isinstance(node, ast.arg) and node.annotation is not None:
            roots.append(node.annotation)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            roots.append(node)
        elif isinstance(node, ast.FunctionDef) and node.returns is not None:
            roots.append(node.returns)
        elif isinstance(node, ast.AnnAssign):
            roots.append(node.annotation)
    return {id(below) for root in roots for below in ast.walk(root)}


def _changed(tree: ast.Module, index: int, new: ast.AST) -> str | None:
    """Return the source with the node at `index` replaced, or None when that is no Python."""
    made = copy.deepcopy(tree)
    target = next(node for place, node in enumerate(ast.walk(made)) if place == index)
    swapped = _Swap(target, new).visit(made)
    try:
        source = ast.unparse(ast.fix_missing_locations(swapped))
        compile(source, "<mutant>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, SyntaxWarning):
        return None
    return source


class _Swap(ast.NodeTransformer):
    """Puts `new` where `target` stands."""

    def __init__(self, target: ast.AST, new: ast.AST) -> None:
        self._target = target
        self._new = new

    def visit(self, node: ast.AST) -> ast.AST:
        """Replace the node or go on below it."""
        if node is self._target:
            return self._new
        return self.generic_visit(node)
