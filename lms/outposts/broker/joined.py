"""Keeps a kernel that joins a notebook server's sandbox: its files, its processes, its limits.

The keeper builds nothing. It asks the zygote to put the kernel beside the server, makes it a
control group of its own inside the server's, and watches it: signals come over the control line,
whose end is the kernel's end. When the kernel ends, whatever it has started ends too; when the
server ends, its first process takes all of this with it.
"""

import contextlib
import json
import os
import select
import signal
import socket

from lms.outposts.broker import cgroups, devices, inside
from lms.outposts.broker.keeper import Source, read_problem, say
from lms.outposts.broker.records import RefusedError, State, started_ticks
from lms.outposts.broker.signals import send_to_group
from lms.outposts.broker.spec import Spec
from lms.outposts.broker.watch import Output, catch_signals, read_pid

_PARENT_FIELD = 1


class Joined:
    """One kernel, from its start to its end."""

    def __init__(self, spec: Spec, source: Source) -> None:
        self._spec = spec
        self._source = source
        self._state = State(spec["state_path"])
        self._server = os.pidfd_open(spec["joins"])
        if _parent_of(spec["joins"]) != spec["joins_keeper"]:
            raise RefusedError("the server has ended")
        self._group = self._make_group()
        self._log = _open_log(spec["output"])
        self._program = 0
        self._program_fd = -1
        self._status = -1
        self._output: Output | None = None
        #: The mounts of the kernel's own namespace, when it has one.
        self._mounts: set[int] = set()
        self._was_killed = False

    def start(self) -> None:
        """Have the kernel put in; raises RefusedError."""
        problem_read, problem_write = os.pipe()
        self._status, status_write = os.pipe()
        output_read, output_write = os.pipe()
        pipes = inside.Pipes(go=-1, problem=problem_write, status=status_write, output=output_write)
        groups = [] if self._group is None else self._group.open_doors()
        trees = devices.open_trees(self._spec["devices"])
        self._source.ask(self._spec, pipes, self._server, [*groups, *trees])
        for descriptor in (problem_write, status_write, output_write, *groups, *trees):
            os.close(descriptor)
        problem = read_problem(problem_read)
        os.close(problem_read)
        self._source.let_go()
        if problem:
            raise RefusedError(problem)
        self._output = Output(output_read, log=self._log)
        self._program = read_pid(self._status)
        try:
            self._program_fd = os.pidfd_open(self._program)
            started = started_ticks(self._program)
        except (OSError, ValueError):
            raise RefusedError("the kernel ended at once") from None
        if self._spec["devices"]:
            self._mounts = devices.mount_ids(self._program)
        self._state.write(self._spec, self._program, started=started, mounts=self._mounts)

    def watch(self, control: socket.socket) -> dict[str, object]:
        """Do what the control line says until the kernel has ended; return how it did."""
        wake, handlers = catch_signals(), {}
        handlers[self._program_fd] = lambda: False
        handlers[self._server] = lambda: False
        handlers[control.fileno()] = lambda: self._on_control(control)
        handlers[wake] = lambda: self._end_by_signal(wake)
        poll = select.poll()
        for descriptor in handlers:
            poll.register(descriptor, select.POLLIN)
        if self._output is not None:
            poll.register(self._output.source, select.POLLIN)
        goes_on = True
        while goes_on:
            for descriptor, _ in poll.poll():
                if descriptor in handlers:
                    goes_on = handlers[descriptor]() and goes_on
                elif self._output is not None and not self._output.drain():
                    poll.unregister(descriptor)
        return self._finish()

    def give_up(self) -> None:
        """Undo what a failed start has made."""
        self._signal(signal.SIGKILL)
        self._tidy()

    def _make_group(self) -> cgroups.Group | None:
        hierarchy = cgroups.detect()
        name = cgroups.find_group(hierarchy, self._spec["joins_keeper"])
        if name is None:
            # Without groups the server's keeper counts the memory of all that is in the sandbox.
            self._spec["watched_memory"] = hierarchy.version == "none"
            return None
        within = {kind: os.path.join(path, name) for kind, path in hierarchy.folders.items()}
        parts = cgroups.Hierarchy(hierarchy.version, within)
        return cgroups.Group(parts, f"kernel-{os.getpid()}")

    def _on_control(self, control: socket.socket) -> bool:
        try:
            data = control.recv(4096)
        except OSError:
            data = b""
        message: object = {}
        with contextlib.suppress(ValueError, RecursionError):
            message = json.loads(data) if data else {"kill": True}
        if not isinstance(message, dict):
            return True
        if message.get("kill"):
            self._signal(signal.SIGKILL)
        elif isinstance(message.get("signal"), int):
            self._signal(message["signal"])
        return bool(data)

    def _end_by_signal(self, wake: int) -> bool:
        os.read(wake, 64)
        self._signal(signal.SIGKILL)
        return True

    def _signal(self, number: int) -> None:
        """Signal the kernel and its process group, as a stock provisioner does."""
        self._was_killed = self._was_killed or number in {signal.SIGKILL, signal.SIGTERM}
        with contextlib.suppress(OSError, ValueError, OverflowError):
            send_to_group(self._program_fd, self._program, number)

    def _finish(self) -> dict[str, object]:
        was_killed = self._was_killed
        self._signal(signal.SIGKILL)
        # The zygote reaps it and says how it ended, unless the zygote has ended itself.
        status = os.read(self._status, 64).strip()
        code = os.waitstatus_to_exitcode(int(status)) if status else -signal.SIGKILL
        verdict = self._verdict(code, was_killed=was_killed)
        self._tidy()
        if self._spec["lease"]:
            self._state.write_end(self._spec["lease"], verdict)
        tail = self._output.tail.decode(errors="replace") if self._output else ""
        return {"exit": code, "verdict": verdict, "output_tail": tail}

    def _verdict(self, code: int, *, was_killed: bool) -> str:
        if was_killed or not _lives(self._spec["joins"]):
            return "killed"
        # What the kernel had started may have ended so, and the kernel by itself long after.
        if code == -signal.SIGKILL and self._group is not None and self._group.oom_kills():
            return "out_of_memory"
        # Whoever sent a signal: it may have been the person, who would get the hours back.
        return "exited"

    def _tidy(self) -> None:
        if self._group is not None:
            self._group.kill()
            self._group.remove()
        if self._mounts:
            # What does not end is the broker's to wait for: it gives the devices to nobody else.
            with contextlib.suppress(TimeoutError):
                devices.end_holders(self._spec["uid"], self._mounts, [])
        self._state.remove()


def keep(spec: Spec, control: socket.socket | None, source: Source) -> int:
    """Keep the kernel of `spec` from start to end."""
    if control is None:
        return inside.EXEC_FAILED
    joined: Joined | None = None
    try:
        joined = Joined(spec, source)
        joined.start()
    except (OSError, ValueError, RefusedError) as error:
        if joined is not None:
            joined.give_up()
        say(control, {"failed": str(error)})
        return inside.EXEC_FAILED
    say(control, {"started": {"pid": os.getpid(), "uid": spec["uid"]}})
    say(control, {"ended": joined.watch(control)})
    return 0


def _lives(pid: int) -> bool:
    try:
        _parent_of(pid)
    except OSError:
        return False
    return True


def _parent_of(pid: int) -> int:
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return int(file.read().rpartition(")")[2].split()[_PARENT_FIELD])


def _open_log(path: str) -> tuple[int, str]:
    return os.open(os.path.dirname(path), os.O_DIRECTORY), os.path.basename(path)
