"""A course with one cell of every kind that `determine_grade` treats differently."""

from pathlib import Path

from tests.factories.notebooks import (
    Notebook,
    cell_of,
    checked,
    manual,
    notebook,
    plain,
    read_only,
    solution,
    task,
    to_bytes,
)

CELL_SECONDS = 4

ANSWERS = {
    "double": "def double(x):\n    return 2 * x",
    "share": "def share():\n    return 1.5",
}

#: Answers that go wrong in different ways; each is one student.
VARIANTS: dict[str, dict[str, str]] = {
    "right": ANSWERS,
    "blank": {},
    "wrong": {"double": "def double(x):\n    return x", "share": "def share():\n    return 0"},
    "syntax": {"double": "def double(x:\n    return 2 * x"},
    "raises": {**ANSWERS, "double": "def double(x):\n    raise RuntimeError('no')"},
    "stderr": {
        **ANSWERS,
        "double": "import sys\ndef double(x):\n    print('n', file=sys.stderr)\n    return 2 * x",
    },
    "warns": {
        **ANSWERS,
        "double": "import warnings\ndef double(x):\n    warnings.warn('w')\n    return 2 * x",
    },
    "prints": {**ANSWERS, "double": "def double(x):\n    print('x' * 5000)\n    return 2 * x"},
    "displays": {**ANSWERS, "double": "def double(x):\n    display(x)\n    return 2 * x"},
    "negative": {**ANSWERS, "share": "def share():\n    return -1"},
    "not a number": {**ANSWERS, "share": "def share():\n    return float('nan')"},
    "text": {**ANSWERS, "share": "def share():\n    return 'much'"},
    "nothing": {**ANSWERS, "share": "def share():\n    return None"},
    "numpy": {**ANSWERS, "share": "import numpy as np\ndef share():\n    return np.float64(0.5)"},
    "true": {**ANSWERS, "share": "def share():\n    return True"},
    "written": {**ANSWERS, "explain": "Because it is twice as much.", "code": "6 * 7"},
    "endless": {**ANSWERS, "double": "def double(x):\n    while True:\n        pass"},
    "exits": {**ANSWERS, "double": "def double(x):\n    raise SystemExit"},
    "leaves": {**ANSWERS, "double": "def double(x):\n    return 2 * x\nraise SystemExit"},
    "recursion": {**ANSWERS, "double": "def double(x):\n    return double(x)"},
    "unicode": {**ANSWERS, "double": "def double(값):\n    print('두 배 🎉')\n    return 2 * 값"},
    "magic": {**ANSWERS, "double": "%%capture\ndef double(x):\n    return 2 * x"},
    "input": {**ANSWERS, "double": "def double(x):\n    return int(input())"},
}


def make_course(root: Path) -> None:
    """Write the course; its one assignment is `kinds`."""
    folder = root / "source" / "kinds"
    folder.mkdir(parents=True)
    (folder / "kinds.ipynb").write_bytes(to_bytes(make_notebook()))
    (folder / "data.txt").write_text("21\n")
    (folder / "sub").mkdir()
    (folder / "sub" / "more.py").write_text("FACTOR = 2\n")
    (root / "nbgrader_config.py").write_text(
        "c = get_config()\n"
        'c.CourseDirectory.course_id = "kinds"\n'
        'c.ClearSolutions.code_stub = {"python": "# 여기에 쓰세요\\nraise NotImplementedError"}\n'
    )


def make_notebook() -> Notebook:
    """The instructor's notebook."""
    return notebook(
        read_only("intro", "# Kinds", "markdown"),
        read_only("imports", "import numpy as np\nVALUE = int(open('data.txt').read())"),
        solution(
            "double",
            "def double(x):\n    ### BEGIN SOLUTION\n    return 2 * x\n    ### END SOLUTION",
        ),
        plain("double(VALUE)"),
        checked(
            "t_double",
            2,
            "assert double(1) == 2\n"
            "### BEGIN HIDDEN TESTS\nassert double(VALUE) == 42\n### END HIDDEN TESTS",
        ),
        checked("t_value_then_stderr", 1, "import sys\nprint(double(1))\ndouble(1) / 2"),
        solution(
            "share", "def share():\n    ### BEGIN SOLUTION\n    return 2\n    ### END SOLUTION"
        ),
        checked("t_share", 2, "share()"),
        checked("t_last", 1, "from sub.more import FACTOR\nassert FACTOR == 2"),
        manual("explain", 3, "Twice.\n"),
        manual("code", 1, "1 + 1", "code"),
        task("project", 4, "Do something."),
    )


def add_own_cells(value: Notebook) -> None:
    """Add own cells: a helper in front, one that fails in the middle, notes at the end."""
    value["cells"].insert(0, plain("HELPER = 2"))
    value["cells"].insert(4, plain("1 / 0"))
    value["cells"].append(plain("my notes", "raw"))


def edit_tests(value: Notebook) -> None:
    """Soften a test, its points and its lock; nbgrader undoes all three."""
    cell = cell_of(value, "t_double")
    cell["source"] = "assert True"
    cell["metadata"]["nbgrader"].update(points=20, locked=False)


def turn_answer_into_code(value: Notebook) -> None:
    """Change the type of a written answer."""
    cell = cell_of(value, "explain")
    cell.update(cell_type="code", outputs=[], execution_count=None, source="It doubles.")


def drop_plain_cells(value: Notebook) -> None:
    """Delete the cells that may be deleted."""
    value["cells"] = [cell for cell in value["cells"] if "nbgrader" in cell["metadata"]]


def as_old_minor(value: Notebook) -> None:
    """Save as format 4.4, which knows no cell ids."""
    value["nbformat_minor"] = 4
    for cell in value["cells"]:
        cell.pop("id", None)


CHANGES = {
    "own cells": add_own_cells,
    "softened": edit_tests,
    "retyped": turn_answer_into_code,
    "tidied": drop_plain_cells,
    "old minor": as_old_minor,
}
