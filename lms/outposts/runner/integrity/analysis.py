"""What a cell binds and uses, read from its text; nothing is run."""

import ast
import functools
import symtable
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from IPython.core.inputtransformer2 import TransformerManager

#: Whoever uses these might run what a student returns, or looks at the interpreter itself.
_UNSAFE = frozenset(
    {
        *("eval", "exec", "compile", "__import__", "importlib", "runpy", "code", "ctypes"),
        *("pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"),
        *("subprocess", "multiprocessing"),
    }
)
_UNSAFE_ATTRIBUTES = frozenset({"read_pickle", "run_cell", "run_line_magic", "safe_execfile"})
#: What gives back its first argument in another form.
_PASSING_ON = frozenset({"float", "int", "str", "repr", "round", "bool", "abs", "print", "display"})
_INSIDE = frozenset({"get_ipython", "In", "Out", "globals", "locals", "vars", "inspect", "dir"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CellFacts:
    """What the text of one cell says; all empty when it is no Python."""

    #: Names it gives a value.
    bound: frozenset[str] = frozenset()
    #: Names of the notebook or of the language that it reads.
    used: frozenset[str] = frozenset()
    #: Its import statements, as text.
    imports: tuple[str, ...] = ()
    #: Names those bind; a star stands for what nobody can tell.
    imported: frozenset[str] = frozenset()
    #: Where an imported name comes from, such as np: numpy.
    origins: Mapping[str, str] = field(default_factory=dict)
    #: Classes it defines, with the operators of each.
    classes: dict[str, list[str]] = field(default_factory=dict)
    #: A name because of which it must not run beside student's data, or empty.
    unsafe: str = ""
    #: A name by which it looks into the student's interpreter, or empty.
    inside: str = ""
    #: Whose value the last line shows as it is, such as `answer` in `answer(3)`, or empty.
    shown: str = ""
    is_python: bool = True
    #: The source without magics.
    plain: str = ""


def plain_tree(source: str) -> ast.Module | None:
    """Return a cell's syntax, magics as IPython understands them; None when it is no Python."""
    try:
        return ast.parse(TransformerManager().transform_cell(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


@functools.lru_cache(maxsize=4096)
def facts_of(source: str) -> CellFacts:
    """Return the facts of a cell's source; magics are understood as IPython does."""
    try:
        plain = TransformerManager().transform_cell(source)
        tree = ast.parse(plain)
        table = symtable.symtable(plain, "cell", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return CellFacts(is_python=False)
    bound, used = _names(table)
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    top = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    modules = {part for node in imports for part in _modules(node)}
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    unsafe = (used | modules) & _UNSAFE | attributes & _UNSAFE_ATTRIBUTES
    return CellFacts(
        bound=frozenset(bound),
        used=frozenset(used),
        imports=tuple(map(ast.unparse, top)),
        imported=frozenset(name for node in top for name, _ in _origins(node)),
        origins=dict(origin for node in imports for origin in _origins(node)),
        classes=dict(_classes(tree)),
        unsafe=min(unsafe, default=""),
        shown=_shown(tree),
        plain=plain,
        inside=min((used | modules) & _INSIDE, default=""),
    )


def _names(table: symtable.SymbolTable) -> tuple[set[str], set[str]]:
    bound, used = set(), set()
    for symbol in table.get_symbols():
        is_top = table.get_type() == "module"
        if (is_top or symbol.is_declared_global()) and (
            symbol.is_assigned() or symbol.is_imported()
        ):
            bound.add(symbol.get_name())
        if symbol.is_referenced() and (is_top or symbol.is_global()):
            used.add(symbol.get_name())
    for child in table.get_children():
        inner_bound, inner_used = _names(child)
        bound |= inner_bound
        used |= inner_used
    return bound, used


def _origins(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            yield alias.asname or alias.name, f"{node.module or ''}.{alias.name}"
        elif alias.asname:
            yield alias.asname, alias.name
        else:
            root = alias.name.partition(".")[0]
            yield root, root


def _modules(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.ImportFrom):
        yield (node.module or "").partition(".")[0]
    for alias in node.names:
        yield alias.name.partition(".")[0]


def _classes(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            specials = _specials(node)
            for base in node.bases:
                specials += found.get(base.id, []) if isinstance(base, ast.Name) else []
            found[node.name] = specials
        elif isinstance(node, ast.Assign) and _makes_tuple(node.value):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    found[target.id] = ["__eq__", "__getitem__", "__iter__", "__len__", "__repr__"]
    yield from found.items()


def _specials(node: ast.ClassDef) -> list[str]:
    specials = [
        part.name
        for part in node.body
        if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef)) and part.name.startswith("__")
    ]
    # `__radd__ = __add__`
    specials += [
        target.id
        for part in node.body
        if isinstance(part, ast.Assign)
        for target in part.targets
        if isinstance(target, ast.Name) and target.id.startswith("__")
    ]
    decorators = " ".join(map(ast.unparse, node.decorator_list))
    if "dataclass" in decorators:
        specials += ["__eq__", "__repr__", "__hash__"]
        specials += ["__lt__", "__le__", "__gt__", "__ge__"] if "order=True" in decorators else []
    if "total_ordering" in decorators:
        specials += ["__lt__", "__le__", "__gt__", "__ge__"]
    if "NamedTuple" in {ast.unparse(base).rpartition(".")[2] for base in node.bases}:
        specials += ["__eq__", "__getitem__", "__iter__", "__len__", "__repr__"]
    return specials


def _makes_tuple(value: ast.expr) -> bool:
    return isinstance(value, ast.Call) and ast.unparse(value.func).rpartition(".")[2] in {
        "namedtuple",
        "make_dataclass",
    }


def _shown(tree: ast.Module) -> str:
    last = tree.body[-1] if tree.body else None
    value: ast.expr | None = last.value if isinstance(last, ast.Expr) else None
    made = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    while value is not None:
        match value:
            case ast.Call(func=ast.Name(id=name), args=[inner, *_]) if name in _PASSING_ON:
                value = inner
            case ast.Call(func=inner) | ast.Attribute(value=inner) | ast.Subscript(value=inner):
                value = inner
            case ast.Name(id=name):
                if name not in made:
                    return name
                value = made.pop(name)
            case _:
                return ""
    return ""
