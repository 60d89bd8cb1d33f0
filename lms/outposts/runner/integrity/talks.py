"""The worker between the two sides of a split run: passes questions on, and trusts neither.

The tests' side speaks; whatever the student's side says without being asked is either output of a
thread, which is dropped, or evidence.
"""

import json
import logging
import select
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from lms.outposts.kernels.frames import Header, Line, LineBrokenError, LineError
from lms.outposts.runner.errors import RunStoppedError
from lms.outposts.runner.program import CellProgram

_LOG = logging.getLogger("lms.runner")
_SEND_SECONDS = 30.0
_MOST_NESTED = 30

Blobs = Sequence[bytes]
_Message = dict[str, Any]


class TestsEndedError(Exception):
    """The tests' side is gone, or did not answer in time."""


@dataclass(slots=True)
class StudentSide:
    """The student's side: the program, and what became of it."""

    program: CellProgram
    #: How long one call may take.
    seconds: float
    #: Why it can no longer be asked.
    ended: str = ""
    #: Codes of what only somebody who forges does.
    evidence: list[str] = field(default_factory=list)

    def begin(self) -> None:
        """Let it answer questions from here on, and show nothing."""
        question = json.dumps({"op": "begin"}).encode()
        if self.ask([question], monotonic() + _SEND_SECONDS):
            self.hear(monotonic() + _SEND_SECONDS)

    def run(self, source: str, seconds: int) -> None:
        """Run one of the student's cells; a run that stopped is an end, not an error."""
        self.look()
        if self.ended:
            return
        try:
            self.program.execute(source, seconds)
        except RunStoppedError as error:
            self._end(f"stopped: {error}")

    def _end(self, why: str) -> None:
        _LOG.info("the student's side of a split run ended: %s", why)
        self.ended = why
        self.program.kill()

    def ask(self, blobs: Blobs, deadline: float) -> bool:
        """Put a question; False when nobody is there to answer."""
        if self.ended:
            return False
        try:
            self._drop_waiting()
            self.program.line.send({"do": "ask"}, blobs, timeout=_left(deadline, _SEND_SECONDS))
        except (LineError, TimeoutError) as error:
            self._lost(error)
        return not self.ended

    def tell(self, blobs: Blobs, deadline: float) -> None:
        """Give back what one of the tests' functions returned."""
        try:
            self.program.line.send(
                {"do": "returned"}, blobs, timeout=_left(deadline, _SEND_SECONDS)
            )
        except (LineError, TimeoutError) as error:
            self._lost(error)

    def hear(self, deadline: float) -> tuple[str, Blobs]:
        """Return "answer" or "callback" with its content, or "gone"."""
        deadline = min(deadline, monotonic() + self.seconds)
        while not self.ended:
            try:
                header, blobs = self.program.line.receive(_left(deadline))
            except (LineError, TimeoutError) as error:
                self._lost(error)
                break
            kind = _kind(header)
            if kind in {"answer", "callback"}:
                return kind, blobs
            if kind != "output":
                self._lost(LineBrokenError("neither an answer nor an output"))
        return "gone", ()

    def _drop_waiting(self) -> None:
        """Take in what was said since the last answer: outputs of threads, or evidence."""
        line = self.program.line
        while line.has_more or _is_readable(line):
            header, _ = line.receive(_SEND_SECONDS)
            if _kind(header) != "output":
                self.evidence.append("unasked")
                self._end("it answered what nobody had asked")
                return

    def look(self) -> None:
        """Look once more for answers that nobody asked for."""
        if not self.ended:
            try:
                self._drop_waiting()
            except (LineError, TimeoutError) as error:
                self._lost(error)

    def _lost(self, error: Exception) -> None:
        if isinstance(error, LineBrokenError):
            self.evidence.append("line")
        self._end(f"{type(error).__name__}: {error}")


@dataclass(slots=True)
class Talk:
    """A conversation that the tests' side leads."""

    tests: CellProgram
    student: StudentSide
    _depth: int = 0

    def request(
        self, header: Header, until: str, seconds: float, outputs: list[_Message] | None = None
    ) -> Header:
        """Send one request to the tests' side and go on until its reply; raises TestsEndedError."""
        deadline = monotonic() + seconds
        try:
            self.tests.line.send(header, timeout=_SEND_SECONDS)
            reply, _ = self._hear(until, deadline, outputs)
        except (LineError, TimeoutError) as error:
            raise TestsEndedError(f"{type(error).__name__}: {error}") from error
        return reply

    def _hear(
        self, until: str, deadline: float, outputs: list[_Message] | None
    ) -> tuple[Header, Blobs]:
        while True:
            header, blobs = self.tests.line.receive(_left(deadline))
            if until in header:
                return header, blobs
            if "ask" in header:
                self._pass_on(blobs, deadline, outputs)
            elif outputs is not None and "msg_type" in header:
                outputs.append({**header, "parts": blobs})

    def _pass_on(self, question: Blobs, deadline: float, outputs: list[_Message] | None) -> None:
        line = self.tests.line
        self._depth += 1
        try:
            is_asked = self._depth <= _MOST_NESTED and self.student.ask(question, deadline)
            while is_asked:
                kind, blobs = self.student.hear(deadline)
                if kind == "gone":
                    break
                line.send({"do": kind}, blobs, timeout=_SEND_SECONDS)
                if kind == "answer":
                    return
                _, returned = self._hear("returned", deadline, outputs)
                self.student.tell(returned, deadline)
            line.send({"do": "gone"}, timeout=_SEND_SECONDS)
        finally:
            self._depth -= 1


def _kind(header: Header) -> str:
    if header.get("answer") is True:
        return "answer"
    if header.get("callback") is True:
        return "callback"
    return "output" if isinstance(header.get("msg_type"), str) else ""


def _left(deadline: float, most: float = 3600.0) -> float:
    return max(0.001, min(deadline - monotonic(), most))


def _is_readable(line: Line) -> bool:
    poll = select.poll()
    poll.register(line.fileno(), select.POLLIN)
    return bool(poll.poll(0))
