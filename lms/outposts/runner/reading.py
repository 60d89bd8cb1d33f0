"""Which files a notebook's code reads by literal name, found in the code without running it."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from nbformat import NotebookNode

#: Calls that read the file their first argument names, whatever they are called on.
_READERS = frozenset(
    {
        "fromfile", "genfromtxt", "imread", "load", "loadmat", "loadtxt", "memmap", "open",
        "read_csv", "read_excel", "read_feather", "read_hdf", "read_html", "read_json",
        "read_parquet", "read_pickle", "read_table", "read_text_file", "read_xml",
    }
)  # fmt: skip
#: Calls that make the file their first argument names.
_WRITERS = frozenset(
    {"save", "savefig", "savetxt", "savez", "savez_compressed", "to_csv", "to_excel", "to_json",
     "to_parquet", "to_pickle", "tofile", "imsave", "urlretrieve"}
)  # fmt: skip
_PATH_READS = frozenset({"open", "read_bytes", "read_text"})
_PATH_WRITES = frozenset({"touch", "write_bytes", "write_text", "mkdir"})
#: Where `load` reads a file: json.load and pickle.load take what is open already.
_LOADERS = frozenset({"np", "numpy", "torch", "joblib", "jnp"})


class FileUse(NamedTuple):
    """A file named in a cell: `name` as written, and whether the cell makes it."""

    name: str
    is_written: bool


def missing_files(node: NotebookNode, present: Iterable[str]) -> list[str]:
    """Return the relative names a notebook reads that are neither in `present` nor made by it."""
    there = {PurePosixPath(path).as_posix() for path in present}
    folders = {parent.as_posix() for path in there for parent in PurePosixPath(path).parents}
    missing: list[str] = []
    for cell in node.cells:
        if cell.cell_type != "code":
            continue
        for use in file_uses(cell.source):
            name = PurePosixPath(use.name).as_posix()
            if use.is_written:
                there.add(name)
            elif name not in there | folders and name not in missing and _is_local(use.name):
                missing.append(name)
    return missing


def file_uses(source: str) -> list[FileUse]:
    """Return the files named in a cell, in order; nothing for code that does not parse."""
    try:
        tree = ast.parse(_without_magics(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [use for call in _calls(tree) if (use := _use_of(call)) is not None]


def _without_magics(source: str) -> str:
    if source.lstrip().startswith("%%"):
        return ""
    lines = source.splitlines()
    return "\n".join("" if line.lstrip().startswith(("%", "!", "?")) else line for line in lines)


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    yield from sorted(found, key=lambda call: (call.lineno, call.col_offset))


def _use_of(call: ast.Call) -> FileUse | None:
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if isinstance(function, ast.Attribute) and name in _PATH_READS | _PATH_WRITES:
        path = _path_literal(function.value)
        if path is not None:
            return FileUse(path, name in _PATH_WRITES or (name == "open" and _is_write(call, 0)))
    literal = _literal(call.args[0]) if call.args else None
    if literal is None:
        return None
    if name in _WRITERS:
        return FileUse(literal, is_written=True)
    if name not in _READERS or (name == "load" and _owner(function) not in _LOADERS):
        return None
    return FileUse(literal, is_written=name == "open" and _is_write(call, 1))


def _owner(function: ast.expr) -> str:
    value = function.value if isinstance(function, ast.Attribute) else None
    return value.id if isinstance(value, ast.Name) else ""


def _path_literal(value: ast.expr) -> str | None:
    """Return the name in `Path("name")`."""
    if not isinstance(value, ast.Call) or not value.args:
        return None
    function = value.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return _literal(value.args[0]) if name == "Path" else None


def _is_write(call: ast.Call, position: int) -> bool:
    mode = _literal(call.args[position]) if len(call.args) > position else None
    for keyword in call.keywords:
        if keyword.arg == "mode":
            mode = _literal(keyword.value)
    return mode is not None and mode[:1] in {"w", "a", "x"}


def _literal(value: ast.expr) -> str | None:
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None


def _is_local(name: str) -> bool:
    """Say whether `name` is a file that would have to lie beside the notebook."""
    return bool(name) and "://" not in name and not name.startswith(("/", "~")) and "\n" not in name
