"""What honest students do to a notebook besides answering it."""

import copy
import json
from typing import Any

import nbformat

from tests.factories.notebooks import Notebook, cell_of, plain


def _graded(value: Notebook) -> list[dict[str, Any]]:
    return [cell for cell in value["cells"] if cell["metadata"].get("nbgrader")]


def _number(value: Notebook) -> None:
    """Cells of format 4.5 that came without an id get one."""
    for place, cell in enumerate(value["cells"]):
        if value["nbformat_minor"] >= 5:
            cell.setdefault("id", f"own-{place}")


def add_notes(value: Notebook) -> None:
    """Write notes at the end: raw, Markdown and a sum."""
    value["cells"] += [plain("my notes", "raw"), plain("# **Notes**", "markdown"), plain("1 + 1")]
    _number(value)


def add_failing_cell(value: Notebook) -> None:
    """Leave an experiment in the middle that fails."""
    value["cells"].insert(3, plain("1 / 0"))
    _number(value)


def add_noisy_cell(value: Notebook) -> None:
    """Leave an experiment that warns and writes to both streams."""
    value["cells"].insert(
        3,
        plain(
            "import sys, warnings\nwarnings.warn('odd')\nprint('out')\n"
            "print('err', file=sys.stderr)\ndisplay({'a': 1})\n7"
        ),
    )
    _number(value)


def add_helper_in_front(value: Notebook) -> None:
    """Start the notebook with imports of one's own."""
    value["cells"].insert(0, plain("import math, random, os\nrandom.seed(1)\nTAU = math.tau"))
    _number(value)


def edit_tests(value: Notebook) -> None:
    """Print within the tests, and change their points and lock; nbgrader undoes it all."""
    for cell in _graded(value):
        nbgrader = cell["metadata"]["nbgrader"]
        if nbgrader["grade"] and not nbgrader["solution"]:
            cell["source"] = "print('how far do I get?')\n" + cell["source"]
            nbgrader.update(points=20, locked=False)


def copy_answer(value: Notebook) -> None:
    """Copy the first answer cell with its grade_id and try something before it."""
    place, cell = _first_solution(value)
    twin = copy.deepcopy(cell)
    twin["source"] = "attempt = 1\nattempt"
    twin.pop("id", None)
    value["cells"].insert(place, twin)
    _number(value)


def copy_answer_below(value: Notebook) -> None:
    """Copy the first answer cell, grade_id and all, and go on working in the copy."""
    place, cell = _first_solution(value)
    twin = copy.deepcopy(cell)
    twin["source"] += "\n# second try"
    twin.pop("id", None)
    value["cells"].insert(place + 1, twin)
    _number(value)


def _first_solution(value: Notebook) -> tuple[int, dict[str, Any]]:
    return next(
        (place, cell)
        for place, cell in enumerate(value["cells"])
        if cell["metadata"].get("nbgrader", {}).get("solution")
    )


def copy_test(value: Notebook) -> None:
    """Copy a test cell to the end to try it again."""
    tests = [c for c in _graded(value) if c["metadata"]["nbgrader"]["locked"]]
    twin = copy.deepcopy(tests[-1])
    twin.pop("id", None)
    # The last cell bears the id on both sides; with the same text nothing changes but the place.
    value["cells"].append(twin)
    _number(value)


def drop_answer(value: Notebook) -> None:
    """Delete the first answer cell instead of answering."""
    place, _ = _first_solution(value)
    del value["cells"][place]


def drop_plain_cells(value: Notebook) -> None:
    """Delete every cell that may be deleted."""
    value["cells"] = _graded(value)


def move_plain_cells(value: Notebook) -> None:
    """Move the cells nbgrader does not know to the end."""
    known = _graded(value)
    value["cells"] = known + [cell for cell in value["cells"] if cell not in known]


def clear_ids(value: Notebook) -> None:
    """Save with an editor that gives every cell the same id."""
    if value["nbformat_minor"] >= 5:
        for cell in value["cells"]:
            cell["id"] = "same"


def split_sources(value: Notebook) -> None:
    """Save sources as lists of lines, as Jupyter does."""
    for cell in value["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)


def keep_outputs(value: Notebook) -> None:
    """Hand in with the outputs of a run that went well."""
    for cell in value["cells"]:
        if cell["cell_type"] == "code":
            cell["execution_count"] = 5
            cell["outputs"] = [
                {"output_type": "stream", "name": "stderr", "text": "old warning\n"},
                {
                    "output_type": "execute_result",
                    "execution_count": 5,
                    "data": {"text/plain": "1.0"},
                    "metadata": {},
                },
            ]


def add_metadata(value: Notebook) -> None:
    """Use an editor that leaves its own marks everywhere."""
    value["metadata"] |= {"vscode": {"x": 1}, "widgets": {}, "toc": {"base_numbering": 1}}
    for cell in value["cells"]:
        cell["metadata"] |= {"collapsed": True, "scrolled": "auto", "jupyter": {"x": True}}


def other_kernel(value: Notebook) -> None:
    """Run it with the kernel of one's own machine."""
    value["metadata"]["kernelspec"] = {
        "name": "conda-env-학교-py",
        "display_name": "Python [conda env:학교]",
        "language": "python",
    }


def no_kernel(value: Notebook) -> None:
    """Save with a tool that drops the notebook's metadata."""
    value["metadata"] = {}


def _minor(value: Notebook, minor: int) -> None:
    value["nbformat_minor"] = minor
    for cell in value["cells"]:
        cell.pop("id", None)


def as_4_0(value: Notebook) -> None:
    """Save as format 4.0."""
    _minor(value, 0)


def as_4_1(value: Notebook) -> None:
    """Save as format 4.1."""
    _minor(value, 1)


def as_4_2(value: Notebook) -> None:
    """Save as format 4.2."""
    _minor(value, 2)


def as_4_4(value: Notebook) -> None:
    """Save as format 4.4, the last without ids."""
    _minor(value, 4)


def as_3(value: Notebook) -> None:
    """Save as format 3, worksheets and all."""
    node = nbformat.convert(nbformat.from_dict(copy.deepcopy(value)), 3)
    old = json.loads(json.dumps(node))
    value.clear()
    value.update(old)


def _schema(value: Notebook, version: int) -> None:
    for cell in _graded(value):
        nbgrader = cell["metadata"]["nbgrader"]
        if nbgrader.get("task"):
            continue  # there are no tasks before schema 3
        nbgrader.pop("task", None)
        nbgrader["schema_version"] = version
        if version < 1:
            nbgrader.pop("schema_version")
        if version < 2:
            nbgrader.pop("cell_type", None)


def schema_0(value: Notebook) -> None:
    """Hand in what an nbgrader of 2015 gave out."""
    _schema(value, 0)


def schema_1(value: Notebook) -> None:
    """Hand in what an nbgrader before 0.6 gave out."""
    _schema(value, 1)


def schema_2(value: Notebook) -> None:
    """Hand in what nbgrader 0.5 gave out."""
    _schema(value, 2)


def turn_into_code(value: Notebook) -> None:
    """Change the type of a written answer."""
    cell = cell_of(value, "explain")
    cell.update(cell_type="code", outputs=[], execution_count=None, source="It doubles.")


def turn_into_text(value: Notebook) -> None:
    """Change the type of a code answer."""
    _, cell = _first_solution(value)
    cell["cell_type"] = "markdown"
    cell.pop("outputs")
    cell.pop("execution_count")


#: What can be done to any notebook.
ANY = {
    "notes": add_notes,
    "failing cell": add_failing_cell,
    "noisy cell": add_noisy_cell,
    "helper": add_helper_in_front,
    "edited tests": edit_tests,
    "copied answer": copy_answer,
    "went on in a copy": copy_answer_below,
    "tidied": drop_plain_cells,
    "moved": move_plain_cells,
    "ids": clear_ids,
    "lines": split_sources,
    "outputs": keep_outputs,
    "metadata": add_metadata,
    "kernel": other_kernel,
    "no kernel": no_kernel,
}
