"""Course folders with something wrong in each: what the check has to say about it."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.factories.notebooks import (
    Notebook,
    cell_of,
    checked,
    marked,
    notebook,
    plain,
    solution,
    to_bytes,
)

Make = Callable[[Path], None]


def good() -> Notebook:
    return notebook(
        solution("f", "def f():\n    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION"),
        checked("t", 2, "assert f() == 1\n### BEGIN HIDDEN TESTS\nassert f() + 1 == 2\n"
                          "### END HIDDEN TESTS"),
    )  # fmt: skip


def write(folder: Path, value: Notebook | bytes, name: str = "n.ipynb") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(value if isinstance(value, bytes) else to_bytes(value))


def _changed(change: Callable[[Notebook], object]) -> Make:
    def make(folder: Path) -> None:
        value = good()
        change(value)
        write(folder, value)

    return make


def _with_file(name: str, content: bytes, value: Notebook | None = None) -> Make:
    def make(folder: Path) -> None:
        write(folder, value or good())
        (folder / name).write_bytes(content)

    return make


def _kernel(**spec: str) -> Make:
    return _changed(lambda value: value["metadata"].update(kernelspec=spec))


def _schema(version: int | None) -> Make:
    def change(value: Notebook) -> None:
        for cell in value["cells"]:
            nbgrader = cell["metadata"]["nbgrader"]
            nbgrader.pop("task")
            nbgrader.pop("schema_version")
            if version is not None:
                nbgrader["schema_version"] = version

    return _changed(change)


def _format_three(folder: Path) -> None:
    cells = [
        {
            "cell_type": "code",
            "input": cell["source"],
            "metadata": cell["metadata"],
            "language": "python",
            "outputs": [],
            "collapsed": False,
        }
        for cell in good()["cells"]
    ]
    value = {
        "nbformat": 3,
        "nbformat_minor": 0,
        "metadata": {"name": ""},
        "worksheets": [{"cells": cells, "metadata": {}}],
    }
    write(folder, json.dumps(value).encode())


def _link_out(folder: Path) -> None:
    write(folder, good())
    (folder / "passwd").symlink_to("/etc/passwd")


def _checkpoints(folder: Path) -> None:
    write(folder, good())
    write(folder / ".ipynb_checkpoints", b"x")


def _source(grade_id: str, text: str) -> Make:
    return _changed(lambda value: cell_of(value, grade_id).update(source=text))


#: What is wrong -> (how it is made, severity, words of the message).
BROKEN: dict[str, tuple[Make, str, str]] = {
    "no notebook": (
        lambda folder: write(folder, b"1,2", "data.csv"),
        "error",
        "holds no notebook",
    ),
    "empty notebook": (lambda folder: write(folder, b""), "error", "not a Jupyter notebook"),
    "not JSON": (lambda folder: write(folder, b"\x00\xff"), "error", "not a Jupyter notebook"),
    "deep JSON": (
        lambda folder: write(folder, b'{"nbformat": 4, "x": ' + b"[" * 9999 + b"]" * 9999 + b"}"),
        "error",
        "nested too deeply",
    ),
    "cells are text": (
        lambda folder: write(folder, b'{"nbformat": 4, "cells": "none"}'),
        "error",
        "not a Jupyter notebook",
    ),
    "odd cell type": (
        _changed(lambda value: value["cells"].append({"cell_type": "heading"})),
        "error",
        "unknown type heading",
    ),
    "format from the future": (
        _changed(lambda value: value.update(nbformat=9)),
        "error",
        "format 9",
    ),
    "solution without end": (
        _source("f", "### BEGIN SOLUTION\nx = 1"),
        "error",
        "no end solution statement found",
    ),
    "solution in a plain cell": (
        _changed(
            lambda value: value["cells"].append(plain("### BEGIN SOLUTION\n1\n### END SOLUTION"))
        ),
        "error",
        "non-solution cell",
    ),
    "hidden tests in a plain cell": (
        _changed(
            lambda value: value["cells"].append(
                plain("### BEGIN HIDDEN TESTS\n1\n### END HIDDEN TESTS")
            )
        ),
        "error",
        "non-grade cell",
    ),
    "doubled grade_id": (
        _changed(lambda value: value["cells"].append({**cell_of(value, "t"), "id": "again"})),
        "error",
        "2 cells share the grade_id t",
    ),
    "no grade_id": (
        _changed(lambda value: cell_of(value, "t")["metadata"]["nbgrader"].pop("grade_id")),
        "error",
        "metadata may be corrupted",
    ),
    "strange grade_id": (
        _changed(lambda value: cell_of(value, "t")["metadata"]["nbgrader"].update(grade_id=[1])),
        "error",
        "",
    ),
    "no points": (
        _changed(lambda value: cell_of(value, "t")["metadata"]["nbgrader"].pop("points")),
        "error",
        "metadata may be corrupted",
    ),
    "negative points": (
        _changed(lambda value: cell_of(value, "t")["metadata"]["nbgrader"].update(points=-1)),
        "error",
        "metadata may be corrupted",
    ),
    "metadata is a list": (
        _changed(lambda value: cell_of(value, "t")["metadata"].update(nbgrader=[1])),
        "error",
        "non-grade cell",
    ),
    "schema from the future": (_schema(99), "error", "Schema version is too new"),
    "schema 0": (_schema(None), "warning", "old version 0"),
    "schema 1": (_schema(1), "warning", "old version 1"),
    "schema 2": (_schema(2), "warning", "old version 2"),
    "kernel python": (
        _kernel(name="Python [Root]", display_name="Python [Root]", language="python"),
        "warning",
        "Python [Root] is unknown here; python3 is used",
    ),
    "kernel rt_grader": (
        _kernel(name="rt_grader", display_name="rt"),
        "warning",
        "rt_grader is unknown here",
    ),
    "kernel R": (
        _kernel(name="ir", display_name="R", language="R"),
        "error",
        "ir (R) is unknown here; only Python",
    ),
    "no kernel": (
        _changed(lambda value: value.update(metadata={})),
        "warning",
        "names no kernel",
    ),
    "missing data file": (
        _changed(
            lambda value: (
                value["cells"].insert(0, plain("rows = open('rows.csv').read()"))
                or cell_of(value, "t").update(source="assert rows")
            )
        ),
        "error",
        "rows.csv is read but is not",
    ),
    "missing data file nobody needs": (
        _changed(lambda value: value["cells"].append(plain("open('rows.csv')"))),
        "warning",
        "rows.csv is read but is not",
    ),
    "missing picture": (
        _changed(lambda value: value["cells"].append(plain("![x](x.png)", "markdown"))),
        "warning",
        "x.png is shown but is not",
    ),
    "wrong reference": (
        _source("f", "def f():\n    ### BEGIN SOLUTION\n    return 3\n    ### END SOLUTION"),
        "error",
        "scores 0 of 2 points. AssertionError",
    ),
    "reference dies": (
        _source("f", "### BEGIN SOLUTION\nimport os\nos._exit(1)\n### END SOLUTION"),
        "error",
        "does not run: The kernel died",
    ),
    "test writes to stderr": (
        _source("t", "import sys\nprint('note', file=sys.stderr)\nassert f() == 1"),
        "error",
        "scores 0 of 2 points. stderr: note",
    ),
    "test ends in text": (_source("t", "'fine' * f()"), "warning", "value that is no number"),
    "blank scores": (_source("t", "pass"), "error", "unanswered submission gets full marks"),
    "nothing to score": (
        lambda folder: write(folder, notebook(plain("1"))),
        "warning",
        "No cell of this assignment earns points",
    ),
    "readable solution": (
        _with_file("helper.py", b"### BEGIN SOLUTION\nx = 1\n### END SOLUTION\n"),
        "error",
        "helper.py holds a solution",
    ),
    "readable hidden test": (
        _with_file("helper.py", b"    assert f() + 1 == 2\n"),
        "error",
        "can read a hidden test",
    ),
    "autotest": (
        _changed(
            lambda value: value["cells"].append(
                marked("### AUTOTEST f()", grade_id="a", grade=True, locked=True, points=1)
            )
        ),
        "error",
        "AUTOTEST",
    ),
    "link out of the course": (_link_out, "error", "leads out of the course"),
    "broken settings": (
        _with_file("nbgrader_config.json", b"[1"),
        "error",
        "not a JSON object",
    ),
}

#: Folders that look unusual and are fine.
FINE: dict[str, Make] = {
    "format 3": _format_three,
    "binary data": _with_file("data.bin", bytes(range(256))),
    "a checkpoint folder": _checkpoints,
    "no cell ids": _changed(
        lambda value: [value.update(nbformat_minor=4)] + [cell.pop("id") for cell in value["cells"]]
    ),
    "doubled cell ids": _changed(lambda value: [cell.update(id="same") for cell in value["cells"]]),
}
