"""The program that runs a notebook's cells: a shell of ipykernel's on a socket instead of ZMQ.

It may be hostile from the first cell on: nothing it says is believed. `prepare` is called in the
zygote, `run` in a fork of it, inside the sandbox. Other verbs than `execute` are added to HANDLERS
by VERBS when they are first asked for.
"""

import asyncio
import contextlib
import importlib
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tornado.ioloop import IOLoop

from lms.outposts.kernels import shell as shells
from lms.outposts.kernels.frames import Header, LineClosedError, LineError
from lms.outposts.kernels.streams import ProgramLine

#: What the trusted side may send in all; it is no attacker.
_LIMIT_BYTES = 1 << 40


@dataclass(frozen=True, slots=True)
class Session:
    """What a verb has at hand."""

    kernel: shells.CellKernel
    line: ProgramLine

    @property
    def shell(self) -> Any:  # noqa: ANN401 (IPython has no types)
        """IPython's shell; the notebook's names are its `user_ns`."""
        return self.kernel.shell


Handler = Callable[[Session, Header, list[bytes]], None]

#: Verb -> what it does, in the main thread, between cells.
HANDLERS: dict[str, Handler] = {}
#: Verb -> where its handler is, for those that are not in HANDLERS.
VERBS = {
    "ask": "lms.outposts.kernels.answers:answer",
    "bind": "lms.outposts.kernels.stubs:bind",
    "settle": "lms.outposts.kernels.stubs:settle",
}

_KERNEL: list[shells.CellKernel] = []


def prepare() -> None:
    """Make what every fork shares: the shell, without thread, socket or file."""
    if _KERNEL:
        return
    folder = Path(tempfile.mkdtemp(prefix="cells-"))
    try:
        _KERNEL.append(shells.make(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Let modules find a kernel around them at import, as some do; for the zygote's imports."""
    prepare()
    shell: Any = _KERNEL[0].shell
    with shell.builtin_trap:
        yield


def discard() -> None:
    """Forget what `prepare` made: another program wants to be the one kernel of this process."""
    _KERNEL.clear()
    shells.discard()


def run(channel: socket.socket | None, argv: list[str]) -> int:
    """Run the cells that come over `channel` until it is closed; returns the exit code."""
    del argv
    if channel is None:
        raise ValueError("cells need a channel")
    prepare()
    line = ProgramLine(channel, limit_bytes=_LIMIT_BYTES)
    session = Session(_KERNEL[0], line)
    shells.renew(session.kernel, line)
    line.send({"ready": True})
    try:
        asyncio.new_event_loop().run_until_complete(_serve(session))
    except LineError:
        return 0
    return 0


async def _serve(session: Session) -> None:
    """Take one request after the other; what a cell left running in the loop runs in between."""
    loop = asyncio.get_running_loop()
    asyncio.set_event_loop(loop)
    session.kernel.io_loop = IOLoop.current()
    master = os.getpid()
    readable = asyncio.Event()
    loop.add_reader(session.line.fileno(), readable.set)
    while True:
        if not session.line.has_more:
            readable.clear()
            await readable.wait()
        header, blobs = session.line.receive()
        loop.remove_reader(session.line.fileno())
        await _do(session, header, blobs)
        if os.getpid() != master:
            os._exit(0)  # a child that a cell forked and let go on
        loop.add_reader(session.line.fileno(), readable.set)


async def _do(session: Session, header: Header, blobs: list[bytes]) -> None:
    verb = str(header.get("do"))
    if verb == "execute":
        await _execute(session, int(header["id"]), str(header["source"]))
        return
    if verb not in HANDLERS and verb in VERBS:
        module, name = VERBS[verb].split(":")
        HANDLERS[verb] = getattr(importlib.import_module(module), name)
    handler = HANDLERS.get(verb)
    # Late answers to a question that an interrupt ended have no handler.
    if handler is not None:
        handler(session, header, blobs)


async def _execute(session: Session, number: int, source: str) -> None:
    kernel = session.kernel
    if kernel.leaving.next_cell(is_asked=session.shell.exit_now):
        os._exit(0)
    publisher = kernel.publisher
    publisher.look(now=True)  # what was written since the last cell is the last cell's
    kernel.line_session.reply = None
    kernel.line_session.errors = set()
    parent = _request(number, source)
    kernel.set_parent([], parent)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        await kernel.execute_request(None, [], parent)
    except LineClosedError:
        raise
    except asyncio.CancelledError:
        return  # ipykernel never answers after an interrupt of a cell that awaits
    except BaseException as error:  # noqa: BLE001 (the cell is over, whatever went wrong)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        kernel.line_session.reply = {
            "status": "error",
            "ename": type(error).__name__,
            "evalue": "",
            "traceback": [],
        }
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    publisher.look(now=True)
    session.line.send({"id": number, "done": _done(kernel)})


def _done(kernel: shells.CellKernel) -> dict[str, Any]:
    """Return what the trusted side needs of the reply; a traceback only if it was not shown."""
    reply = kernel.line_session.reply
    if reply is None or reply["status"] == "ok":
        return {"status": "ok"}
    done = {name: str(reply.get(name, "")) for name in ("status", "ename", "evalue")}
    if done["ename"] in kernel.line_session.errors:
        return done
    return {**done, "traceback": [str(text) for text in reply.get("traceback", [])]}


def _request(number: int, source: str) -> dict[str, Any]:
    head = {"msg_id": str(number), "msg_type": "execute_request", "username": "", "session": ""}
    return {
        "header": head,
        "msg_id": head["msg_id"],
        "msg_type": "execute_request",
        "parent_header": {},
        "metadata": {},
        "buffers": [],
        "content": {
            "code": source,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": False,
        },
    }
