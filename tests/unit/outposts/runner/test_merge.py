"""Putting a student's answers into the released notebook."""

import pytest
from nbformat import NotebookNode

from lms.outposts.runner.errors import SubmissionError
from lms.outposts.runner.merge import merge
from lms.outposts.runner.notebooks import SubmittedCell
from lms.outposts.runner.release import build
from lms.outposts.runner.source import AssignmentSource
from tests.factories.notebooks import (
    checked,
    notebook,
    plain,
    read_only,
    solution,
    to_bytes,
)


@pytest.fixture(scope="module")
def released() -> NotebookNode:
    value = notebook(
        read_only("setup", "import math"),
        solution("a", "### BEGIN SOLUTION\nx = 1\n### END SOLUTION"),
        plain("x", tags=["keep"]),
        checked("t", 1, "assert x == 1\n### BEGIN HIDDEN TESTS\nx + 0\n### END HIDDEN TESTS"),
        solution("b", "### BEGIN SOLUTION\ny = 1\n### END SOLUTION"),
    )
    return build(AssignmentSource(name="p", files={"n.ipynb": to_bytes(value)})).released["n"]


def known(grade_id: str, source: str = "?", cell_type: str = "code") -> SubmittedCell:
    return SubmittedCell(cell_type=cell_type, source=source, grade_id=grade_id)


def own(source: str, cell_type: str = "code") -> SubmittedCell:
    return SubmittedCell(cell_type=cell_type, source=source)


def sources(released: NotebookNode, *cells: SubmittedCell) -> list[str]:
    return [cell.source for cell in merge(released, cells).notebook.cells]


def test_answers_are_taken_and_everything_else_is_the_release(released: NotebookNode) -> None:
    merged = merge(
        released,
        [known("setup", "evil"), known("a", "x = 2"), known("t", "pass"), known("b", "y = 3")],
    )
    assert [cell.source for cell in merged.notebook.cells] == [
        "import math",
        "x = 2",
        "assert x == 1",
        "y = 3",
    ]
    assert merged.remarks == ()


def test_own_cells_stay_behind_the_cell_they_followed(released: NotebookNode) -> None:
    cells = [own("first"), known("setup"), known("a", "x"), own("after a"), known("t"), known("b")]
    assert sources(released, *cells) == [
        "first",
        "import math",
        "x",
        "after a",
        "assert x == 1",
        "?",
    ]


def test_the_release_decides_the_order(released: NotebookNode) -> None:
    cells = [known("t"), own("mine"), known("a", "x = 1"), known("setup"), known("b", "y")]
    assert sources(released, *cells) == ["import math", "x = 1", "assert x == 1", "mine", "y"]


def test_the_last_of_doubled_cells_is_the_answer(released: NotebookNode) -> None:
    cells = [known("setup"), known("a", "old"), known("a", "new"), known("t"), known("b")]
    merged = merge(released, cells)
    assert [cell.source for cell in merged.notebook.cells][1:3] == ["old", "new"]
    assert "nbgrader" not in merged.notebook.cells[1].metadata
    assert "more than once" in str(merged.remarks[0])


def test_a_missing_answer_stays_missing_and_what_stood_behind_it_stays(
    released: NotebookNode,
) -> None:
    merged = merge(released, [known("setup"), own("mine"), known("t"), known("b", "y = 1")])
    assert [cell.source for cell in merged.notebook.cells] == [
        "import math",
        "mine",
        "assert x == 1",
        "y = 1",
    ]
    assert str(merged.remarks[0]) == "The answer cell a was missing from the notebook."


def test_a_missing_test_comes_back_as_released(released: NotebookNode) -> None:
    merged = merge(released, [known("a", "x = 1")])
    assert [cell.source for cell in merged.notebook.cells] == [
        "import math",
        "x = 1",
        "assert x == 1",
    ]
    assert "setup was missing" in str(merged.remarks[0])


def test_an_unchanged_cell_of_the_release_keeps_its_tags_and_others_get_none(
    released: NotebookNode,
) -> None:
    cells = [known("setup"), known("a"), own("x"), own("x + 1"), known("t"), known("b")]
    merged = merge(released, cells).notebook.cells
    assert [cell.metadata.get("tags") for cell in merged[2:4]] == [["keep"], None]


def test_ignored_tags_are_named(released: NotebookNode) -> None:
    tagged = SubmittedCell(cell_type="code", source="", grade_id="t", is_tagged=True)
    merged = merge(released, [known("setup"), known("a"), tagged, known("b")])
    assert "tags on the cell t" in str(merged.remarks[0])


def test_every_cell_has_an_id_of_its_own(released: NotebookNode) -> None:
    cells = [own("same"), own("same"), known("setup"), own("x"), own("x"), known("a")]
    ids = [cell.id for cell in merge(released, cells).notebook.cells]
    assert len(ids) == len(set(ids))
    again = [cell.id for cell in merge(released, cells).notebook.cells]
    assert ids == again


def test_a_notebook_without_any_known_cell_belongs_elsewhere(released: NotebookNode) -> None:
    with pytest.raises(SubmissionError, match="another assignment"):
        merge(released, [own("x"), known("other")])


def test_the_released_notebook_is_not_touched(released: NotebookNode) -> None:
    before = str(released)
    merge(released, [known("a", "x = 2")]).notebook.cells[1].source = "changed"
    assert str(released) == before
