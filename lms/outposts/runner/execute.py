"""nbgrader's Execute preprocessor, driving a sandboxed kernel it does not trust.

nbclient's timing rules stay (an interrupted cell scores as in nbgrader); what is new is a wall
limit, a cap on what the kernel may make us hold, and a reason for every way a run can end.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, cast

from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbgrader.preprocessors import Execute

from lms.outposts.runner.errors import RunnerError, RunStoppedError
from lms.outposts.runner.kernel import SandboxKernel
from lms.outposts.runner.outputs import OutputBudget
from lms.protocol.grading import Limits, RunStatus
from lms.protocol.sentences import Sentence, sentence

#: Fixed, not asked of the kernel: feedback picks its highlighter by it.
_LANGUAGE_INFO = {
    "name": "python",
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "pygments_lexer": "ipython3",
}
_ALIVE_SECONDS = 0.25


class SandboxExecute(Execute):
    """Runs a notebook's code cells in `kernel`; raises RunStoppedError when the run ended early."""

    def __init__(self, kernel: SandboxKernel, limits: Limits) -> None:
        super().__init__(timeout=limits.cell_seconds, record_timing=False, store_widget_state=False)
        self._kernel = kernel
        self._limits = limits
        self._budget = OutputBudget(limits.output_bytes)
        self._wall_is_up = False
        #: Why the run is not a plain one although it went to its end: the first stopped cell.
        self.stopped: tuple[RunStatus, Sentence] | None = None

    def preprocess(
        self,
        nb: NotebookNode,
        resources: Any = None,  # noqa: ANN401 (nbconvert's signature)
        km: object = None,
    ) -> tuple[NotebookNode, Any]:
        """Execute every code cell of `nb` in place."""
        del km
        NotebookClient.__init__(self, nb, cast("KernelManager", self._kernel))
        self.reset_execution_trackers()
        self.resources = resources
        nb.metadata["language_info"] = NotebookNode(_LANGUAGE_INFO)
        try:
            asyncio.run(self._execute_all(nb))
        except RunnerError:
            raise
        except CellTimeoutError as error:
            raise self._ended(self._unresponsive()) from error
        except Exception as error:  # a process edge: the kernel may send us anything at all
            raise self._ended(self._crashed()) from error
        return nb, resources

    async def _execute_all(self, nb: NotebookNode) -> None:
        self.kc = self._kernel.client()
        loop = asyncio.get_running_loop()
        wall = loop.call_later(self._limits.wall_seconds, self._stop_at_wall)
        try:
            await self.kc.ready()
            for index, cell in enumerate(nb.cells):
                self._budget.next_cell()
                await self.async_execute_cell(cell, index, store_history=True)
        finally:
            wall.cancel()
            with contextlib.suppress(Exception):  # closing must not hide why we close
                await self.kc.aclose()

    def _stop_at_wall(self) -> None:
        self._wall_is_up = True
        self._kernel.kill()

    async def _async_handle_timeout(
        self,
        timeout: int,  # noqa: ASYNC109 (nbclient's signature)
        cell: NotebookNode | None = None,
    ) -> dict[str, Any] | None:
        self._note(
            RunStatus.TIMED_OUT,
            sentence(
                "The cell %(cell)s took longer than %(seconds)s seconds and was stopped.",
                cell=self._cell_name(cell),
                seconds=timeout,
            ),
        )
        reply: dict[str, Any] | None = await super()._async_handle_timeout(timeout, cell)
        return reply

    async def _async_poll_kernel_alive(self) -> None:
        # nbclient looks once a second; a dead kernel should not cost a second.
        while self._kernel.is_alive():  # noqa: ASYNC110 (a process tells nobody)
            await asyncio.sleep(_ALIVE_SECONDS)
        if self.task_poll_for_reply is not None:
            self.task_poll_for_reply.cancel()

    def process_message(
        self, msg: dict[str, Any], cell: NotebookNode, cell_index: int
    ) -> NotebookNode | None:
        """Take one message of the kernel, within the budget."""
        admitted = self._budget.admit(msg, cell)
        if self._budget.is_flooding:
            self._note(RunStatus.CRASHED, self._flooded(cell))
            self._kernel.interrupt()
        if self._budget.is_drowning:
            self._kernel.kill()
            raise DeadKernelError("Kernel killed")
        if admitted is None:
            return None
        taken: NotebookNode | None = super().process_message(admitted, cell, cell_index)
        return taken

    def handle_comm_msg(
        self, outs: list[NotebookNode], msg: dict[str, Any], cell_index: int
    ) -> None:
        """Ignore widgets: nobody is there to use them, and their state is the kernel's to fill."""

    def _note(self, status: RunStatus, reason: Sentence) -> None:
        if self.stopped is None:
            self.stopped = (status, reason)

    def _cell_name(self, cell: NotebookNode | None) -> str:
        if cell is None:
            return "?"
        nbgrader: Mapping[str, object] = cell.metadata.get("nbgrader", {})
        named = nbgrader.get("grade_id")
        return str(named) if named else f"[{self.nb.cells.index(cell) + 1}]"

    def _flooded(self, cell: NotebookNode) -> Sentence:
        return sentence(
            "The cell %(cell)s printed more than %(size)s MB and was stopped.",
            cell=self._cell_name(cell),
            size=self._limits.output_bytes >> 20,
        )

    def _ended(self, cause: tuple[RunStatus, Sentence]) -> RunStoppedError:
        return RunStoppedError(*cause)

    def _unresponsive(self) -> tuple[RunStatus, Sentence]:
        if self._wall_is_up or not self._kernel.is_alive():
            return self._crashed()
        return self.stopped or (
            RunStatus.TIMED_OUT,
            sentence("A cell could not be stopped, so the notebook was ended."),
        )

    def _crashed(self) -> tuple[RunStatus, Sentence]:
        if self._wall_is_up:
            return RunStatus.TIMED_OUT, sentence(
                "The notebook took longer than %(seconds)s seconds in all and was stopped.",
                seconds=self._limits.wall_seconds,
            )
        self._kernel.kill()
        usage = self._kernel.usage()
        if usage.oom_killed:
            return RunStatus.OUT_OF_MEMORY, sentence(
                "The notebook used more than %(size)s MB of memory and was stopped.",
                size=self._limits.memory_bytes >> 20,
            )
        return self.stopped or (
            RunStatus.CRASHED,
            sentence("The kernel died while the notebook ran."),
        )
