"""The trusted end of the cells program: one sandbox, one notebook, one cell after the other.

It stands for nbclient and the Jupyter client, with nbclient's and nbgrader's rules. Everything
that comes is hostile: frames are limited in size and number, contents are put into shape by
OutputBudget, and no wait is without an end.
"""

import contextlib
import logging
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Any, Self

from nbformat import NotebookNode

from lms.outposts.broker.launcher import (
    KernelLauncher,
    KernelRequest,
    Verdict,
)
from lms.outposts.kernels.frames import (
    Header,
    Line,
    LineClosedError,
    LineError,
    LineFloodError,
)
from lms.outposts.runner import endings
from lms.outposts.runner.collected import Collected, Collector, record_error
from lms.outposts.runner.endings import Ending
from lms.outposts.runner.errors import KernelStartError, RunStoppedError
from lms.outposts.runner.outputs import DROWN_FACTOR, OutputBudget
from lms.outposts.runner.place import environment, place
from lms.outposts.runner.sandboxed import SandboxedProcess
from lms.protocol.grading import Limits
from lms.protocol.sentences import sentence

_START_SECONDS = 60.0
#: A program that does not take its next cell in this time never will.
_SEND_SECONDS = 10.0
#: As nbclient's `iopub_timeout`: how long an interrupted cell may take to end.
_INTERRUPTED_SECONDS = 4.0
_END_SECONDS = 10.0
#: Characters kept of what cells print, for the instructor.
TAIL = 2000
#: As nbgrader's `error_on_timeout`.
_TIMEOUT_REPLY = {
    "ename": "CellTimeoutError",
    "evalue": "",
    "traceback": ["\x1b[0;31mCellTimeoutError\x1b[0m: No reply from kernel before timeout"],
}
_LOG = logging.getLogger("lms.runner")


class UnfitError(Exception):
    """The program says, before anything ran, that this notebook needs a Jupyter kernel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """How one cell went."""

    outputs: list[NotebookNode]
    #: "ok" or "error".
    status: str
    execution_count: int | None
    #: Why the cell was interrupted, if it was.
    ending: Ending | None = None


@dataclass(slots=True)
class _Running:
    """The cell under way."""

    number: int
    name: str
    collected: Collected
    seconds: int
    deadline: float
    ending: Ending | None = None
    is_interrupted: bool = False
    is_hushed: bool = False


class CellProgram(SandboxedProcess):
    """A program that runs cells in a sandbox; on leaving, it and its folders are gone."""

    def __init__(
        self,
        launcher: KernelLauncher,
        files: Mapping[str, bytes],
        limits: Limits,
        seed: int,
        fonts: Mapping[str, bytes],
        *,
        line_bytes: int = 0,
    ) -> None:
        self._launcher = launcher
        self._files = files
        self._limits = limits
        self._seed = seed
        self._fonts = fonts
        self._line_bytes = line_bytes or DROWN_FACTOR * limits.output_bytes
        self._stack = ExitStack()
        self._line: Line | None = None
        self._number = 0
        self._budget = OutputBudget(limits.output_bytes)
        self._collector = Collector()
        self._tail = ""
        self._wall = 0.0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folders = stack.enter_context(place(self._files, self._fonts))
            request = KernelRequest(
                argv=("cells",),
                program="cells",
                seed=self._seed,
                env=environment(self._seed, folders.fonts),
                connection_dir=str(folders.connection),
                files_dir=str(folders.files),
                limits=self._limits,
            )
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            self._line = Line(ours, limit_bytes=self._line_bytes)
            stack.callback(self._line.close)
            self._wall = monotonic() + self._limits.wall_seconds
            with theirs:
                self._process = self._launcher.launch(request, theirs)
            stack.callback(self.kill)
            self._await_ready()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def line(self) -> Line:
        """The line to the program."""
        if self._line is None:
            raise KernelStartError(sentence("The kernel is not running."))
        return self._line

    @property
    def last_output(self) -> str:
        """The end of what the cells have printed."""
        return self._tail

    def execute(
        self,
        source: str,
        seconds: int,
        name: str = "?",
        outputs: list[NotebookNode] | None = None,
    ) -> Executed:
        """Run one cell; raises RunStoppedError when it ended the run.

        What it gives back is put into `outputs` while it runs.
        """
        self._number += 1
        self._budget.next_cell()
        running = _Running(
            number=self._number,
            name=name,
            collected=self._collector.next_cell([] if outputs is None else outputs),
            seconds=seconds,
            deadline=monotonic() + seconds,
        )
        try:
            reply = self._run(running, source)
        except RunStoppedError:
            raise
        except Exception as error:  # a process edge: the program may send us anything at all
            why = self._why(running, error).at(name, self._tail)
            raise RunStoppedError(why.status, why.sentence, why.detail) from error
        if reply is not None:
            record_error(running.collected.outputs, reply)
        ending = running.ending
        return Executed(
            outputs=running.collected.outputs,
            status="ok" if reply is None else "error",
            execution_count=running.collected.execution_count,
            ending=None if ending is None else ending.at(name, self._tail),
        )

    def _await_ready(self) -> None:
        try:
            header, _ = self.line.receive(_START_SECONDS)
        except TimeoutError:
            raise KernelStartError(sentence("The kernel did not answer in time.")) from None
        except LineError:
            raise KernelStartError(sentence("The kernel ended before it was ready.")) from None
        if header.get("ready") is not True:
            raise UnfitError(str(header.get("why", ""))[:200])

    def _run(self, running: _Running, source: str) -> dict[str, Any] | None:
        """Run the cell to its end; returns the error it ended with, if any."""
        request = {"do": "execute", "id": running.number, "source": source}
        self.line.send(request, timeout=_SEND_SECONDS)
        while True:
            left = min(running.deadline, self._wall) - monotonic()
            if left <= 0:  # looked at between any two frames: a flood must not postpone it
                self._out_of_time(running)
                continue
            try:
                header, blobs = self.line.receive(left)
            except TimeoutError:
                continue
            if header.get("id") != running.number:
                _check_late(header, running.number)
            elif "done" in header:
                return _reply(header["done"], interrupted=running.is_interrupted)
            else:
                self._take(running, header, blobs)

    def _out_of_time(self, running: _Running) -> None:
        if monotonic() >= self._wall or running.is_interrupted or not self.is_alive():
            raise TimeoutError
        running.is_interrupted = True
        if running.ending is None:
            running.ending = endings.cell_too_slow(running.name, running.seconds)
        self.interrupt()
        running.deadline = monotonic() + _INTERRUPTED_SECONDS

    def _take(self, running: _Running, header: Header, blobs: list[bytes]) -> None:
        message = {"msg_type": _text(header.get("msg_type")), "content": header.get("content")}
        _put_texts(message["content"], header.get("texts", []), blobs)
        cell = NotebookNode(outputs=running.collected.outputs)
        admitted = self._budget.admit(message, cell)
        if self._budget.is_flooding and not running.is_hushed:
            running.is_hushed = True
            if running.ending is None:
                running.ending = endings.cell_too_loud(running.name, self._limits)
            self.interrupt()
        if admitted is None:
            return
        kind, content = admitted["msg_type"], admitted["content"]
        if kind == "stream":
            self._tail = (self._tail + content["text"][-TAIL:])[-TAIL:]
        self._collector.take(kind, content)

    def _why(self, running: _Running, error: Exception) -> Ending:
        """Say why the run ended, and end the program; raises KernelStartError if it was us."""
        if isinstance(error, LineClosedError):
            # Who closes the line goes away at once, or means no good.
            with contextlib.suppress(TimeoutError):
                self.process.wait(_END_SECONDS / 2)
        is_alive = self.is_alive()
        self.kill()
        if isinstance(error, LineFloodError):
            return endings.notebook_too_loud(self._limits)
        if monotonic() >= self._wall:
            return endings.notebook_too_slow(self._limits)
        if is_alive:
            if isinstance(error, TimeoutError) and running.is_interrupted:
                return running.ending or endings.cell_unstoppable()
            _LOG.warning("a program's messages could not be read: %.300r", error)
            return endings.unreadable()
        usage = self.usage()
        if usage.verdict is Verdict.ABANDONED:
            raise KernelStartError(
                sentence("The sandbox was taken away while the notebook ran."),
            ) from error
        return endings.kernel_ended(usage, self._limits)


def _check_late(header: Header, number: int) -> None:
    """Take what a thread of an earlier cell prints, which nbclient drops; nothing else."""
    late = header.get("id")
    if not isinstance(late, int) or not 0 <= late < number or "msg_type" not in header:
        raise ValueError("a frame that nobody asked for")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("a name that is no text")  # noqa: TRY004 (malformed, like the rest)
    return value


def _put_texts(content: object, places: object, blobs: list[bytes]) -> None:
    """Put large texts, which came as blobs, back where they belong."""
    if not isinstance(places, list) or len(places) != len(blobs):
        raise ValueError("texts without a place")
    for path, blob in zip(places, blobs, strict=True):
        holder: Any = content
        for name in path[:-1]:
            holder = holder[name]
        if not isinstance(holder, dict):
            raise ValueError("a text without a place")  # noqa: TRY004 (malformed)
        holder[_text(path[-1])] = blob.decode("utf-8", "replace")


def _reply(done: object, *, interrupted: bool) -> dict[str, Any] | None:
    """Return the error of a cell's reply in shape, or None when the cell went well."""
    if interrupted:
        return dict(_TIMEOUT_REPLY)
    if not isinstance(done, dict) or done.get("status") not in {"ok", "error"}:
        raise ValueError("a reply that is none")
    if done["status"] == "ok":
        return None
    trace = done.get("traceback")
    return {
        "ename": str(done.get("ename", ""))[:TAIL],
        "evalue": str(done.get("evalue", "")),
        "traceback": [str(line) for line in trace] if isinstance(trace, list) else [],
    }


def cell_name(notebook: NotebookNode, cell: NotebookNode) -> str:
    """Return the cell's grade_id, or its place such as `[3]`."""
    marks: Mapping[str, object] = cell.metadata.get("nbgrader", {})
    named = marks.get("grade_id")
    return str(named) if named else f"[{notebook.cells.index(cell) + 1}]"
