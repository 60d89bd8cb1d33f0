"""nbgrader's Execute preprocessor, driving a sandboxed kernel it does not trust.

nbclient's timing rules stay (an interrupted cell scores as in nbgrader); what is new is a wall
limit, a cap on what the kernel may make us hold, and a reason for every way a run can end.
"""

import asyncio
import contextlib
import logging
from typing import Any, cast

from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError
from nbformat import NotebookNode
from nbgrader.preprocessors import Execute

from lms.outposts.broker.launcher import Verdict
from lms.outposts.runner import endings
from lms.outposts.runner.collected import LANGUAGE_INFO
from lms.outposts.runner.endings import Ending
from lms.outposts.runner.errors import KernelStartError, RunnerError, RunStoppedError
from lms.outposts.runner.kernel import SandboxKernel
from lms.outposts.runner.outputs import OutputBudget
from lms.outposts.runner.program import TAIL, cell_name
from lms.outposts.runner.quiet import QUIET
from lms.protocol.grading import Limits
from lms.protocol.sentences import sentence

_ALIVE_SECONDS = 0.25
_LOG = logging.getLogger("lms.runner")


class SandboxExecute(Execute):
    """Runs a notebook's code cells in `kernel`; raises RunStoppedError when the run ended early."""

    def __init__(self, kernel: SandboxKernel, limits: Limits) -> None:
        super().__init__(
            timeout=limits.cell_seconds, record_timing=False, store_widget_state=False, log=QUIET
        )
        self._kernel = kernel
        self._limits = limits
        self._budget = OutputBudget(limits.output_bytes)
        self._wall_is_up = False
        self._is_hushed = False
        self._current = ""
        self._tail = ""
        #: Why the run is not a plain one although it went to its end: the first stopped cell.
        self.stopped: Ending | None = None

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
        nb.metadata["language_info"] = NotebookNode(LANGUAGE_INFO)
        try:
            asyncio.run(self._execute_all(nb))
        except RunnerError:
            raise
        except Exception as error:  # a process edge: the kernel may send us anything at all
            why = self._why(error).at(self._current, self._tail)
            raise RunStoppedError(why.status, why.sentence, why.detail) from error
        if self.stopped is not None:
            self.stopped = self.stopped.at("", self._tail)
        return nb, resources

    async def _execute_all(self, nb: NotebookNode) -> None:
        self.kc = self._kernel.client()
        loop = asyncio.get_running_loop()
        wall = loop.call_later(self._limits.wall_seconds, self._stop_at_wall)
        try:
            await self.kc.ready()
            for index, cell in enumerate(nb.cells):
                self._budget.next_cell()
                self._is_hushed = False
                self._current = self._cell_name(cell)
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
        self._note(endings.cell_too_slow(self._cell_name(cell), timeout))
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
        if self._budget.is_flooding and not self._is_hushed:
            self._is_hushed = True
            self._note(endings.cell_too_loud(self._cell_name(cell), self._limits))
            self._kernel.interrupt()
        if admitted is None:
            return None
        if admitted["msg_type"] == "stream":
            self._tail = (self._tail + admitted["content"]["text"][-TAIL:])[-TAIL:]
        taken: NotebookNode | None = super().process_message(admitted, cell, cell_index)
        return taken

    def handle_comm_msg(
        self, outs: list[NotebookNode], msg: dict[str, Any], cell_index: int
    ) -> None:
        """Ignore widgets: nobody is there to use them, and their state is the kernel's to fill."""

    def _note(self, ending: Ending) -> None:
        if self.stopped is None:
            self.stopped = ending

    def _cell_name(self, cell: NotebookNode | None) -> str:
        if cell is None:
            return "?"
        return cell_name(self.nb, cell)

    def _why(self, error: Exception) -> Ending:
        """Say why the run ended; raises KernelStartError when it was our doing."""
        if self._wall_is_up:
            return endings.notebook_too_slow(self._limits)
        if self._kernel.is_drowned:
            return endings.notebook_too_loud(self._limits)
        if self._kernel.is_alive():
            if isinstance(error, CellTimeoutError):
                return self.stopped or endings.cell_unstoppable()
            _LOG.warning("a kernel's messages could not be read: %.300r", error)
            _LOG.debug("where it was noticed", exc_info=error)
            return endings.unreadable()
        usage = self._kernel.usage()
        if usage.verdict is Verdict.ABANDONED:
            raise KernelStartError(
                sentence("The sandbox was taken away while the notebook ran."),
            ) from error
        return endings.kernel_ended(usage, self._limits)
