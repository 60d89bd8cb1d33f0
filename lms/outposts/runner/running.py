"""nbgrader's Execute step: plain cells where that is the same, a Jupyter kernel where it is not."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nbformat import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor

from lms.outposts.broker.launcher import KernelLauncher, SandboxUnavailableError
from lms.outposts.runner.collected import LANGUAGE_INFO
from lms.outposts.runner.endings import Ending
from lms.outposts.runner.fallback import kernel_need
from lms.outposts.runner.program import CellProgram, Executed, UnfitError, cell_name
from lms.outposts.runner.quiet import QUIET
from lms.protocol.grading import Limits

_SKIP = "skip-execution"
_LOG = logging.getLogger("lms.runner")


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What a notebook is started with."""

    launcher: KernelLauncher
    files: Mapping[str, bytes]
    limits: Limits
    seed: int = 0
    fonts: Mapping[str, bytes]


class NotebookExecute(NbGraderPreprocessor):
    """Runs a notebook's code cells; raises RunStoppedError when the run ended early."""

    def __init__(self, start: Started) -> None:
        super().__init__(log=QUIET)
        self._start = start
        #: Why the run is not a plain one although it went to its end: the first stopped cell.
        self.stopped: Ending | None = None
        #: What the notebook needed a Jupyter kernel for; None when its cells ran without.
        self.need: str | None = None

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:  # noqa: ANN401 (nbconvert's signature)
        """Execute every code cell of `nb` in place."""
        self.need = kernel_need(nb)
        if self.need is None:
            try:
                self._run_cells(nb)
            except (UnfitError, SandboxUnavailableError) as error:
                # Without a zygote nothing forks cells; a kernel can be executed afresh.
                self.need = str(error) or "something else"
            else:
                return nb, resources
        _LOG.info("a notebook needs a Jupyter kernel: %s", self.need)
        return self._run_kernel(nb, resources)

    def _run_cells(self, nb: NotebookNode) -> None:
        start = self._start
        program = CellProgram(start.launcher, start.files, start.limits, start.seed, start.fonts)
        with program:
            nb.metadata["language_info"] = NotebookNode(LANGUAGE_INFO)
            for cell in nb.cells:
                if _is_executed(cell):
                    # nbclient empties a cell only when it has sent it off.
                    cell.outputs = []
                    seconds, name = start.limits.cell_seconds, cell_name(nb, cell)
                    self._note(cell, program.execute(cell.source, seconds, name, cell.outputs))

    def _note(self, cell: NotebookNode, executed: Executed) -> None:
        if executed.execution_count is not None:
            cell["execution_count"] = executed.execution_count
        if self.stopped is None:
            self.stopped = executed.ending

    def _run_kernel(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:  # noqa: ANN401 (nbconvert's signature)
        from lms.outposts.runner.execute import SandboxExecute
        from lms.outposts.runner.kernel import SandboxKernel

        start = self._start
        kernel = SandboxKernel(start.launcher, start.files, start.limits, start.seed, start.fonts)
        executing = SandboxExecute(kernel, start.limits)
        try:
            with kernel:
                done: tuple[NotebookNode, Any] = executing(nb, resources)
        finally:
            self.stopped = executing.stopped
        return done


def _is_executed(cell: NotebookNode) -> bool:
    """Say whether nbclient would run `cell`."""
    return (
        cell.cell_type == "code"
        and bool(cell.source.strip())
        and _SKIP not in cell.metadata.get("tags", [])
    )
