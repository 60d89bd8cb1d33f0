"""The cell at the top of a corrected notebook: what changed, in both languages."""

from collections.abc import Iterable, Mapping, Sequence

from lms.outposts.notebook.cells import Cell, Notebook
from lms.outposts.notebook.patch import Change, Conflict

_KEY = "seodang"
_MINOR_WITH_IDS = 5
_CHANGES = {
    "changed": "바뀐 칸 · Changed",
    "added": "더해진 칸 · Added",
    "removed": "빠진 칸 · Removed",
}
_CONFLICTS = {
    "answer kept": (
        "{what}: 답 칸의 시작 코드가 바뀌었지만 당신의 답을 그대로 두었어요. · "
        "The starting code of this answer has changed; your answer was kept."
    ),
    "answer left over": (
        "{what}: 더는 채점하지 않는 칸이에요. 당신의 답은 그대로 두었어요. · "
        "This cell is no longer graded; your answer was kept."
    ),
    "text kept": (
        "“{what}”: 이 글이 고쳐졌지만 당신이 바꾼 칸이라 그대로 두었어요. · "
        "This text was corrected, but you had changed it, so yours was kept."
    ),
    "file kept": (
        "{what}: 이 파일이 고쳐졌지만 당신이 바꾼 파일이라 그대로 두었어요. · "
        "This file was corrected, but you had changed it, so yours was kept."
    ),
}


def with_notice(
    notebook: Notebook,
    number: int,
    changes: Sequence[Change],
    conflicts: Iterable[Conflict],
    backup: str,
) -> Notebook:
    """Return the notebook with one cell on top that tells of a correction; an older one goes."""
    cells = [cell for cell in notebook["cells"] if not is_notice(cell)]
    return {**notebook, "cells": [_cell(notebook, number, changes, conflicts, backup), *cells]}


def is_notice(cell: Cell) -> bool:
    """Say whether a cell is a notice of ours."""
    metadata = cell.get("metadata")
    ours = metadata.get(_KEY) if isinstance(metadata, Mapping) else None
    return isinstance(ours, Mapping) and "correction" in ours


def _cell(
    notebook: Notebook,
    number: int,
    changes: Sequence[Change],
    conflicts: Iterable[Conflict],
    backup: str,
) -> Cell:
    lines = ["**과제가 고쳐졌어요 · This assignment was corrected**", ""]
    for kind, title in _CHANGES.items():
        named = ", ".join(_code(change.what) for change in changes if change.kind == kind)
        if named:
            lines.append(f"- {title}: {named}")
    lines += [
        f"- {_CONFLICTS[conflict.kind].format(what=_code(conflict.what))}"
        for conflict in conflicts
        if conflict.kind in _CONFLICTS
    ]
    lines += [
        "",
        "답과 직접 만든 칸은 그대로예요. 바뀐 칸을 다시 실행해 주세요.",
        f"고치기 전의 파일: {_code(backup)}",
        "",
        "Your answers and your own cells are as they were. Run the changed cells again.",
        f"The file from before: {_code(backup)}",
    ]
    cell: Cell = {
        "cell_type": "markdown",
        "metadata": {_KEY: {"correction": number}},
        "source": "\n".join(lines),
    }
    minor = notebook.get("nbformat_minor", 0)
    if isinstance(minor, int) and minor >= _MINOR_WITH_IDS:
        cell["id"] = f"seodang-correction-{number}"
    return cell


def _code(text: str) -> str:
    """Quote a name so that nothing in it is read as Markdown."""
    return f"`{text.replace('`', ' ')}`"
