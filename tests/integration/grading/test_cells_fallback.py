"""A notebook that needs a Jupyter kernel gets one, and its scores are the same."""

from collections.abc import Iterator

import pytest

from lms.outposts.runner.grade import NotebookOutcome, grade_submission, prepared
from lms.outposts.runner.source import AssignmentSource, load_source
from lms.protocol.broker import KernelRequest
from lms.protocol.grading import Limits, RunStatus
from tests.factories.notebooks import Notebook, answered, plain
from tests.fakes.forking import ForkingLauncher
from tests.integration.grading import kinds

pytestmark = pytest.mark.kernel

VARIANTS = ("right", "raises", "stderr", "negative", "displays")


class NotingLauncher(ForkingLauncher):
    """Notes which programs were asked for."""

    def __init__(self) -> None:
        super().__init__("numpy")
        self.programs: list[str] = []

    def launch(self, request: KernelRequest, channel: object = None):  # type: ignore[no-untyped-def] # noqa: ANN201
        self.programs.append(request.program)
        return super().launch(request, channel)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def noting() -> Iterator[NotingLauncher]:
    with NotingLauncher() as it:
        yield it


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> AssignmentSource:
    course = tmp_path_factory.mktemp("course")
    kinds.make_course(course)
    return load_source(course / "source" / "kinds")


def _look_for_the_kernel(value: Notebook) -> None:
    value["cells"].append(plain("import ipykernel"))


def _graded(
    launcher: NotingLauncher, source: AssignmentSource, variant: str, *, needing: bool = False
) -> NotebookOutcome:
    released = prepared(source).student_files["kinds.ipynb"]
    changes = [_look_for_the_kernel] if needing else []
    content = answered(released, kinds.VARIANTS[variant], *changes)
    (outcome,) = grade_submission(
        source, {"kinds.ipynb": content}, limits=Limits(), launcher=launcher
    )
    return outcome


@pytest.mark.parametrize("variant", VARIANTS)
def test_scores_are_the_same_with_a_jupyter_kernel(
    variant: str, noting: NotingLauncher, source: AssignmentSource
) -> None:
    noting.programs.clear()
    fast = _graded(noting, source, variant).result
    assert noting.programs[0] == "cells"
    noting.programs.clear()
    kernel = _graded(noting, source, variant, needing=True).result
    assert noting.programs[0] != "cells"
    scores = [(cell.grade_id, cell.auto_score, cell.needs_manual) for cell in fast.cells]
    assert scores == [(cell.grade_id, cell.auto_score, cell.needs_manual) for cell in kernel.cells]
    assert (fast.score, fast.status) == (kernel.score, kernel.status)


@pytest.mark.parametrize("needing", [False, True])
def test_the_instructor_reads_where_a_run_ended(
    needing: bool,  # noqa: FBT001
    noting: NotingLauncher,
    source: AssignmentSource,
) -> None:
    released = prepared(source).student_files["kinds.ipynb"]
    dying = (
        "def double(x):\n    import os, time\n    print('epoch 7', flush=True)\n"
        "    time.sleep(0.5)\n    os._exit(1)"
    )
    content = answered(released, {"double": dying}, *([_look_for_the_kernel] if needing else []))
    (outcome,) = grade_submission(
        source, {"kinds.ipynb": content}, limits=Limits(), launcher=noting
    )
    assert outcome.result.status is RunStatus.CRASHED
    assert outcome.result.detail is not None
    # The cell that calls it is the student's copy of a plain one, which has a place but no name.
    assert outcome.result.detail.cell.startswith("[")
    assert "epoch 7" in outcome.result.detail.last_output
