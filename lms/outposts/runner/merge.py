"""The notebook that is graded: the release's cells with the student's answers in them.

Order, tests, points, metadata and tags come from the release. From the submission come the source
of cells the release lets a student edit, found by grade_id, and the student's own cells, in their
places. For an honest submission the result is what nbgrader would have graded.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nbformat import NotebookNode

from lms.outposts.runner.copies import copied
from lms.outposts.runner.errors import SubmissionError
from lms.outposts.runner.notebooks import SubmittedCell, stable_id
from lms.protocol.sentences import Sentence, sentence

_MINOR_WITH_IDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """The notebook to grade, and what was odd about the submission."""

    notebook: NotebookNode
    remarks: tuple[Sentence, ...] = ()


def merge(released: NotebookNode, submitted: Sequence[SubmittedCell]) -> Merged:
    """Put a student's answers and own cells into the released notebook.

    Raises SubmissionError when the submission has none of the release's cells.
    """
    known = {grade_id: cell for cell in released.cells if (grade_id := _known_id(cell))}
    last: dict[str | None, int] = {
        cell.grade_id: index for index, cell in enumerate(submitted) if cell.grade_id in known
    }
    if known and not last:
        raise SubmissionError(
            sentence("This notebook belongs to another assignment: none of its cells are known."),
        )
    own = _own_cells(submitted, last)
    plain = {(cell.cell_type, cell.source): cell for cell in released.cells if not _known_id(cell)}
    cells: list[NotebookNode] = [_own(cell, plain) for cell in own.get(None, ())]
    for grade_id, cell in known.items():
        if grade_id in last:
            cells.append(_answered(cell, submitted[last[grade_id]].source))
        elif not _is_answer_alone(cell):
            cells.append(copied(cell))
        cells += [_own(extra, plain) for extra in own.get(grade_id, ())]
    merged = copied(NotebookNode({**released, "cells": []}))
    merged.cells = cells
    _number(merged)
    return Merged(notebook=merged, remarks=tuple(_remarks(submitted, known, last)))


def _known_id(cell: NotebookNode) -> str | None:
    """Return the grade_id of a cell that nbgrader records, else None."""
    from nbgrader import utils

    if utils.is_grade(cell) or utils.is_solution(cell) or utils.is_locked(cell):
        return str(cell.metadata.nbgrader["grade_id"])
    return str(cell.metadata.nbgrader["grade_id"]) if utils.is_task(cell) else None


def _own_cells(
    submitted: Sequence[SubmittedCell], last: dict[str | None, int]
) -> dict[str | None, list[SubmittedCell]]:
    """Return the student's own cells by the known cell they stand behind.

    Where an id occurs more than once the last cell bears it, as in nbgrader's DeduplicateIds, and
    the others are cells of the student's own.
    """
    anchor: str | None = None
    own: dict[str | None, list[SubmittedCell]] = {}
    for index, cell in enumerate(submitted):
        if last.get(cell.grade_id) == index:
            anchor = cell.grade_id
        else:
            own.setdefault(anchor, []).append(cell)
    return own


def _is_answer_alone(cell: NotebookNode) -> bool:
    """Say whether a cell is the student's and earns nothing itself.

    Where a student took it out, it stays out, as in nbgrader: put back, its unanswered form would
    define what the student did not. Tests, and answers that earn points, are put back.
    """
    from nbgrader import utils

    return bool(utils.is_solution(cell) and not utils.is_grade(cell) and not utils.is_task(cell))


def _answered(cell: NotebookNode, answer: str) -> NotebookNode:
    from nbgrader import utils

    cell = copied(cell)
    if not utils.is_locked(cell):
        cell.source = answer
    return cell


def _own(cell: SubmittedCell, plain: dict[tuple[str, str], NotebookNode]) -> NotebookNode:
    """Return a student's own cell, bare; an unchanged cell of the release keeps its own tags."""
    unchanged = plain.get((cell.cell_type, cell.source))
    if unchanged is not None:
        return copied(unchanged)
    node = NotebookNode(cell_type=cell.cell_type, metadata=NotebookNode(), source=cell.source)
    if cell.cell_type == "code":
        node.outputs = []
        node.execution_count = None
    return node


def _number(notebook: NotebookNode) -> None:
    """Give cells without an id, or with one already taken, an id that depends on nothing else."""
    if notebook.nbformat_minor < _MINOR_WITH_IDS:
        return
    seen: set[str] = set()
    for index, cell in enumerate(notebook.cells):
        if cell.get("id") in {None, *seen}:
            cell.id = stable_id("own", str(index), cell.source)
        seen.add(cell.id)


def _remarks(
    submitted: Iterable[SubmittedCell],
    known: dict[str, NotebookNode],
    last: dict[str | None, int],
) -> Iterable[Sentence]:
    missing = {grade_id: cell for grade_id, cell in known.items() if grade_id not in last}
    put_back = [grade_id for grade_id, cell in missing.items() if not _is_answer_alone(cell)]
    if put_back:
        yield sentence(
            "The cell %(cell)s was missing from the notebook; it was put back as released.",
            cell=put_back[0],
        )
    elif missing:
        yield sentence(
            "The answer cell %(cell)s was missing from the notebook.", cell=next(iter(missing))
        )
    for cell in submitted:
        if cell.is_tagged and cell.grade_id in last:
            yield sentence(
                "The tags on the cell %(cell)s were ignored.",
                cell=str(cell.grade_id),
            )
            break
    for index, cell in enumerate(submitted):
        if cell.grade_id in last and last[cell.grade_id] != index:
            yield sentence(
                "The cell %(cell)s was there more than once; the last one was graded.",
                cell=str(cell.grade_id),
            )
            return
