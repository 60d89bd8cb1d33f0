"""Watches one running sandbox from the keeper: limits, signals, output, and the final report."""

import contextlib
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable

from lms.outposts.broker import usage
from lms.outposts.broker.cgroups import Group
from lms.outposts.broker.spec import Spec

_TAIL_BYTES = 16 << 10
_LOG_BYTES = 5 << 20
_CONNECTION_BYTES = 4 << 20
_CONNECTION_ENTRIES = 200
_SCRATCH = "/tmp"  # noqa: S108 - the sandbox's own

#: A memory bomb fills some 2 GB a second: without a control group look often.
_TICK_WATCHDOG_SECONDS = 0.05
_TICK_SECONDS = 0.2


class Output:
    """What the program writes to stdout and stderr: counted, its tail kept or appended to a log."""

    def __init__(self, source: int, *, log: tuple[int, str] | None) -> None:
        os.set_blocking(source, False)
        self.source = source
        self.count = 0
        self.tail = b""
        self._log = log
        self._file: int | None = None

    def drain(self) -> bool:
        """Take what is there; False once every writer has gone."""
        while True:
            try:
                data = os.read(self.source, 1 << 16)
            except BlockingIOError:
                return True
            if not data:
                return False
            self.count += len(data)
            self.tail = (self.tail + data)[-_TAIL_BYTES:]
            if self._log is not None:
                self._append(data)

    def _append(self, data: bytes) -> None:
        # A log that cannot be written must not end a server.
        with contextlib.suppress(OSError):
            if self._file is None:
                self._file = self._open()
            elif os.fstat(self._file).st_size > _LOG_BYTES:
                os.close(self._file)
                self._file = None
                self._rotate()
                self._file = self._open()
            os.write(self._file, data)

    def _open(self) -> int:
        folder, name = self._log or (-1, "")
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        return os.open(name, flags, 0o600, dir_fd=folder)

    def _rotate(self) -> None:
        folder, name = self._log or (-1, "")
        os.rename(name, f"{name}.1", src_dir_fd=folder, dst_dir_fd=folder)


class Handles:
    """Descriptors that the keeper holds on a started sandbox."""

    def __init__(
        self, *, first: int, group: Group | None, status: int, output: Output | None
    ) -> None:
        self.first = first
        self.first_fd = os.pidfd_open(first)
        self.group = group
        self.status = status
        self.output = output
        #: The connection folder, when there is one.
        self.connection: int | None = None
        #: The folder of a program without a sandbox, removed at its end.
        self.scratch = ""
        #: Folder and name of the report file, when one is wanted.
        self.report: tuple[int, str] | None = None
        #: The program's pid as /proc here shows it; 0 when the first process died at once.
        self.program = read_pid(status)
        self.program_fd: int | None = None
        if self.program:
            with contextlib.suppress(OSError):
                self.program_fd = os.open(f"/proc/{self.program}", os.O_DIRECTORY)
        #: The program is no child of the first process: its end must be waited for.
        self.hosted = False
        #: Its pid when it is our own child.
        self.child = 0

    def host(self, child: int) -> None:
        """Take the program as one that was put beside the first process."""
        self.hosted, self.child = True, child
        if self.program_fd is not None:
            os.close(self.program_fd)
            self.program_fd = None
        # Its pid is as we count, not as the sandbox does; when it has gone already, so may all.
        try:
            self.program_fd = os.pidfd_open(self.program)
        except OSError:
            self.end()

    def end(self) -> None:
        """End the first process, and with it the sandbox."""
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self.first_fd, signal.SIGKILL)


def catch_signals() -> int:
    """Take the signals that a keeper is sent; return the descriptor that names them as bytes."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    os.set_blocking(wake_read, False)
    for number in (
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGHUP,
        signal.SIGUSR1,
        signal.SIGQUIT,
    ):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    return wake_read


def read_pid(status: int) -> int:
    """Read the first line of the status pipe and no byte more."""
    text = b""
    while (byte := os.read(status, 1)) not in {b"", b"\n"}:
        text += byte
    return int(text or b"0")


class Watch:
    """One sandbox under watch; `run` returns its report when it has ended."""

    def __init__(self, spec: Spec, handles: Handles, control: socket.socket | None) -> None:
        self._spec = spec
        self._handles = handles
        self._control = control
        self._verdict = ""
        self._started = time.monotonic()
        self._end_at: float | None = None
        self._memory_peak = 0
        self._disk_full = False
        self._handlers: dict[int, Callable[[], None]] = {}
        self._ended = False

    def run(self) -> dict[str, object]:
        """Watch until the first process has ended, then clean up and return the report."""
        poll = select.poll()
        wake_read = catch_signals()
        self._handlers = {
            self._handles.first_fd: self._on_end,
            wake_read: lambda: self._on_signals(os.read(wake_read, 64)),
        }
        if self._handles.hosted and self._handles.program_fd is not None:
            self._handlers[self._handles.program_fd] = lambda: self._on_program_end(poll)
        if self._control is not None:
            self._handlers[self._control.fileno()] = self._on_control
        if self._handles.output is not None:
            self._handlers[self._handles.output.source] = lambda: self._on_output(poll)
        for descriptor in self._handlers:
            poll.register(descriptor, select.POLLIN)
        while not self._ended:
            for descriptor, _ in poll.poll(self._wait_milliseconds()):
                self._handlers[descriptor]()
            self._check_limits()
        return self._finish()

    def _wait_milliseconds(self) -> int | None:
        spec, waits = self._spec, []
        if spec["memory_bytes"] and self._handles.group is None:
            waits.append(_TICK_WATCHDOG_SECONDS)
        # A group that ends single processes needs nobody to look.
        ends = spec["memory_bytes"] and spec["on_memory"] == "end"
        if ends or spec["wall_seconds"] or self._handles.connection is not None:
            waits.append(_TICK_SECONDS)
        if self._end_at is not None:
            waits.append(max(0.0, self._end_at - time.monotonic()))
        return int(min(waits) * 1000) + 1 if waits else None

    def _on_end(self) -> None:
        self._ended = True

    def _on_program_end(self, poll: select.poll) -> None:
        if self._handles.program_fd is not None:
            poll.unregister(self._handles.program_fd)
        self._handles.end()

    def _on_signals(self, numbers: bytes) -> None:
        for number in numbers:
            if number == signal.SIGQUIT:
                self._end("killed")
                continue
            self._signal_program(number)
            if number in (signal.SIGTERM, signal.SIGINT) and self._end_at is None:
                self._verdict = self._verdict or "killed"
                self._end_at = time.monotonic() + self._spec["grace_seconds"]

    def _on_control(self) -> None:
        if self._control is None:
            return
        try:
            data = self._control.recv(4096)
        except OSError:
            data = b""
        if not data:
            self._end("abandoned")
            return
        with contextlib.suppress(ValueError, RecursionError):
            message = json.loads(data)
            if not isinstance(message, dict):
                return
            if message.get("kill"):
                self._end("killed")
            elif isinstance(message.get("signal"), int):
                self._signal_program(message["signal"])

    def _on_output(self, poll: select.poll) -> None:
        output = self._handles.output
        if output is None:
            return
        if not output.drain():
            poll.unregister(output.source)
        if self._spec["output_bytes"] and output.count > self._spec["output_bytes"]:
            self._end("output_exceeded")

    def _signal_program(self, number: int) -> None:
        if self._handles.program_fd is not None:
            with contextlib.suppress(OSError, ValueError, OverflowError):
                signal.pidfd_send_signal(self._handles.program_fd, number)

    def _end(self, verdict: str) -> None:
        self._verdict = self._verdict or verdict
        if not self._spec["isolated"]:
            usage.kill_descendants(self._handles.first)
        self._handles.end()

    def _check_limits(self) -> None:
        now, spec, handles = time.monotonic(), self._spec, self._handles
        if self._ended:
            return
        if self._end_at is not None and now >= self._end_at:
            self._end("killed")
        if spec["wall_seconds"] and now - self._started > spec["wall_seconds"]:
            self._end("timed_out")
        if spec["memory_bytes"]:
            self._check_memory()
        if handles.connection is not None:
            self._disk_full = self._disk_full or usage.is_disk_full(_SCRATCH)
            if usage.exceeds(
                handles.connection,
                bytes_allowed=_CONNECTION_BYTES,
                entries_allowed=_CONNECTION_ENTRIES,
            ):
                self._end("disk_exceeded")

    def _check_memory(self) -> None:
        spec, group = self._spec, self._handles.group
        if group is not None:
            if spec["on_memory"] == "end" and group.oom_kills():
                self._end("out_of_memory")
            return
        if spec["isolated"]:
            pids, scratch = usage.list_pids(), usage.disk_used_bytes(_SCRATCH)
        else:
            pids, scratch = usage.list_descendants(self._handles.first), 0
        memory = usage.measure_memory(pids, scratch)
        total = memory.total_bytes
        if total > spec["memory_bytes"] and spec["program"]:
            # A fork holds all of the zygote at first; only a closer look tells what is its own.
            total = usage.measure_shares(pids, scratch)
        self._memory_peak = max(self._memory_peak, total)
        if total <= spec["memory_bytes"]:
            return
        if spec["on_memory"] == "end":
            self._end("out_of_memory")
        elif memory.largest_pid:
            with contextlib.suppress(OSError):
                process = os.open(f"/proc/{memory.largest_pid}", os.O_DIRECTORY)
                signal.pidfd_send_signal(process, signal.SIGKILL)
                os.close(process)

    def _read_exit(self) -> int:
        """Return the program's exit code, from whoever was its parent."""
        handles = self._handles
        if handles.child:
            return os.waitstatus_to_exitcode(os.waitpid(handles.child, 0)[1])
        status = os.read(handles.status, 64)
        if status.strip():
            return os.waitstatus_to_exitcode(int(status))
        if handles.hosted:  # the zygote died meanwhile, and nobody knows how the program ended
            self._verdict = self._verdict or "abandoned"
        return -signal.SIGKILL

    def _finish(self) -> dict[str, object]:
        spec, handles = self._spec, self._handles
        os.waitpid(handles.first, 0)
        if handles.output is not None:
            handles.output.drain()
        code = self._read_exit()
        oom = self._verdict == "out_of_memory"
        if handles.group is not None:
            oom = oom or handles.group.oom_kills() > 0
            self._memory_peak = handles.group.memory_peak_bytes()
            handles.group.remove()
        if oom and spec["on_memory"] == "end":
            self._verdict = "out_of_memory"
        if handles.connection is not None:
            self._disk_full = self._disk_full or usage.is_disk_full(_SCRATCH)
            if not spec["user_namespace"] and spec["isolated"]:
                usage.purge(handles.connection, keep_uid=spec["caller_uid"])
        if handles.scratch:
            usage.remove(handles.scratch)
        output = handles.output
        return {
            "exit": code,
            "verdict": self._verdict or "exited",
            "memory_peak_bytes": self._memory_peak,
            "oom_killed": oom,
            "output_exceeded": self._verdict == "output_exceeded",
            "disk_exceeded": self._disk_full or self._verdict == "disk_exceeded",
            "output_tail": output.tail.decode(errors="replace") if output else "",
        }
