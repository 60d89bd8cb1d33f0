"""The run apart: the notebook as the student has it, with the tests that students see.

No hidden test is in its sandbox, so that its outputs may be shown. Where it can, the split run goes
on in it as the student's side.
"""

import contextlib
import copy
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

from nbformat import NotebookNode

from lms.outposts.broker.launcher import SandboxUnavailableError
from lms.outposts.runner.errors import RunStoppedError
from lms.outposts.runner.fallback import kernel_need
from lms.outposts.runner.integrity.shown import ShowPlan
from lms.outposts.runner.program import CellProgram, UnfitError
from lms.outposts.runner.running import NotebookExecute, Started

#: A split run's lines carry data, not only what people read.
LINE_BYTES = 1 << 30
_LOG = logging.getLogger("lms.runner")


@dataclass(slots=True, kw_only=True)
class Apart:
    """What came of the run apart."""

    outputs: dict[int, list[NotebookNode]] = field(default_factory=dict)
    #: Its program after it went to its end; None when it did not, or was no plain one.
    program: CellProgram | None = None
    #: How many of the student's cells it has executed: all but tests.
    done: int = 0


def open_program(start: Started) -> CellProgram:
    """Return the program of one side of a split run, to be entered."""
    return CellProgram(
        start.launcher,
        start.files,
        start.limits,
        start.seed,
        start.fonts,
        line_bytes=LINE_BYTES,
    )


@contextlib.contextmanager
def run_apart(plan: ShowPlan, start: Started) -> Iterator[Apart]:
    """Make what `plan` wants; the program lives on inside. Raises KernelStartError."""
    with ExitStack() as stack:
        apart = Apart()
        if plan.wanted and kernel_need(plan.merged) is None:
            try:
                program = stack.enter_context(open_program(start))
                _run_cells(apart, plan, program, start)
            except (UnfitError, SandboxUnavailableError):
                _run_notebook(apart, plan, start)
        elif plan.wanted:
            _run_notebook(apart, plan, start)
        yield apart


def _run_cells(apart: Apart, plan: ShowPlan, program: CellProgram, start: Started) -> None:
    try:
        for place, source, is_test in plan.sources():
            outputs = apart.outputs.setdefault(place, [])
            program.execute(source, start.limits.cell_seconds, outputs=outputs)
            apart.done += not is_test
    except RunStoppedError as error:
        _LOG.info("a run apart ended: %s", error)
    else:
        apart.program = program


def _run_notebook(apart: Apart, plan: ShowPlan, start: Started) -> None:
    """Run it as any notebook is run, with a Jupyter kernel where it needs one."""
    notebook = copy.copy(plan.merged)
    notebook.cells = [copy.copy(plan.merged.cells[place]) for place in plan.places]
    for cell in notebook.cells:
        cell.outputs = []
    with contextlib.suppress(RunStoppedError):
        NotebookExecute(start)(notebook, {})
    apart.outputs |= dict(zip(plan.places, (cell.outputs for cell in notebook.cells), strict=True))
