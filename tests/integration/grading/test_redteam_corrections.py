"""A student who hands in a copy of the release before a correction is graded by the correction."""

import json

import pytest

from lms.outposts.broker.launcher import DirectLauncher
from lms.outposts.notebook.cells import read_notebook, write_notebook
from lms.outposts.notebook.notice import with_notice
from lms.outposts.notebook.patch import patch_notebook
from lms.outposts.runner.grade import grade_submission
from lms.outposts.runner.release import build
from lms.outposts.runner.source import AssignmentSource
from lms.protocol.grading import Limits
from tests.factories.notebooks import answered, cell_of, checked, notebook, solution, to_bytes

pytestmark = [pytest.mark.kernel, pytest.mark.sandbox]

FIRST = notebook(
    solution("a", "def one():\n    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION"),
    checked("t", 2, "assert one() == 2"),
)


def test_an_old_copy_and_a_corrected_one_get_the_corrected_tests_score(
    launcher: DirectLauncher,
) -> None:
    value = json.loads(json.dumps(FIRST))
    cell_of(value, "t")["source"] = "assert one() == 1"
    cell_of(value, "t")["metadata"]["nbgrader"]["points"] = 5
    old, new = (
        AssignmentSource(name="ps1", files={"n.ipynb": to_bytes(v)}) for v in (FIRST, value)
    )
    released = [build(source).student_files["n.ipynb"] for source in (old, new)]
    copy = answered(released[0], {"a": "def one():\n    return 1"})
    patched = patch_notebook(released[0], released[1], copy)
    read = read_notebook(patched.content)
    assert read is not None
    noted = write_notebook(with_notice(read, 2, patched.changes, patched.conflicts, "n.before"))
    for content in (copy, noted):
        (outcome,) = grade_submission(new, {"n.ipynb": content}, limits=Limits(), launcher=launcher)
        assert (outcome.result.score, outcome.result.max_score) == (5, 5)
