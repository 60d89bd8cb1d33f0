"""Builders of nbgrader notebooks, and of submissions made from a release."""

import copy
import json
from collections.abc import Callable, Mapping
from textwrap import dedent
from typing import Any

Cell = dict[str, Any]
Notebook = dict[str, Any]
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def plain(source: str, cell_type: str = "code", **metadata: object) -> Cell:
    """A cell nbgrader does not know."""
    cell: Cell = {
        "cell_type": cell_type,
        "metadata": dict(metadata),
        "source": dedent(source).strip("\n"),
    }
    return cell | ({"outputs": [], "execution_count": None} if cell_type == "code" else {})


def marked(source: str, cell_type: str = "code", **nbgrader: object) -> Cell:
    """A cell with nbgrader metadata."""
    base = {"grade": False, "locked": False, "solution": False, "task": False, "schema_version": 3}
    cell = plain(source, cell_type)
    cell["metadata"]["nbgrader"] = {**base, **nbgrader}
    return cell


def read_only(grade_id: str, source: str, cell_type: str = "code") -> Cell:
    return marked(source, cell_type, grade_id=grade_id, locked=True)


def solution(grade_id: str, source: str) -> Cell:
    return marked(source, grade_id=grade_id, solution=True)


def checked(grade_id: str, points: float, source: str) -> Cell:
    return marked(source, grade_id=grade_id, grade=True, locked=True, points=points)


def manual(grade_id: str, points: float, source: str, cell_type: str = "markdown") -> Cell:
    return marked(source, cell_type, grade_id=grade_id, grade=True, solution=True, points=points)


def task(grade_id: str, points: float, source: str) -> Cell:
    return marked(source, "markdown", grade_id=grade_id, locked=True, task=True, points=points)


def notebook(*cells: Cell, minor: int = 5, kernel: Mapping[str, str] = KERNEL) -> Notebook:
    """A notebook; cells of format 4.5 get ids."""
    numbered = [
        {**cell, "id": f"cell-{number}"} if minor >= 5 else cell
        for number, cell in enumerate(copy.deepcopy(list(cells)))
    ]
    metadata = {"kernelspec": dict(kernel)} if kernel else {}
    return {"cells": numbered, "metadata": metadata, "nbformat": 4, "nbformat_minor": minor}


def to_bytes(value: Notebook) -> bytes:
    return json.dumps(value, indent=1).encode()


def answered(
    released: bytes,
    answers: Mapping[str, str],
    *changes: Callable[[Notebook], None],
) -> bytes:
    """A student's notebook: the released one with answers by grade_id, then `changes`."""
    value: Notebook = json.loads(released)
    for cell in value["cells"]:
        grade_id = cell["metadata"].get("nbgrader", {}).get("grade_id")
        if grade_id in answers:
            cell["source"] = dedent(answers[grade_id]).strip("\n")
    for change in changes:
        change(value)
    return to_bytes(value)


def cell_of(value: Notebook, grade_id: str) -> Cell:
    found: Cell = next(
        cell
        for cell in value["cells"]
        if cell["metadata"].get("nbgrader", {}).get("grade_id") == grade_id
    )
    return found
