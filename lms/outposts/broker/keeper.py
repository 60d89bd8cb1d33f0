"""The keeper: a small process outside each sandbox that builds it, watches it and takes it away.

Started as its own program: a fresh single-threaded interpreter may unshare and fork safely, a
grading worker with threads may not. Reads a Spec on stdin; talks to whoever asked for the sandbox
over a SEQPACKET socket, one JSON object a message: it says `started` or `failed`, takes `signal`
and `kill`, and last says `ended`. When that socket closes, the sandbox ends.
"""

import contextlib
import fcntl
import json
import os
import random
import signal
import socket
import sys

from lms.outposts.broker import cgroups, inside, rootfs, syscalls
from lms.outposts.broker.forks import JOIN, KEEP, NO_ZYGOTE, can_join, without_zygote
from lms.outposts.broker.records import RefusedError, State, write_record
from lms.outposts.broker.spec import Spec
from lms.outposts.broker.watch import Handles, Output, Watch

_SPEC_BYTES = 1 << 24


class LostError(Exception):
    """The zygote died with the program in its hands; another will do."""


class Source:
    """Where a sandbox's program comes from, when it is not executed."""

    def __init__(
        self,
        *,
        channel: int | None = None,
        zygote: socket.socket | None = None,
    ) -> None:
        self.channel = channel
        #: Puts a program into a sandbox; None: the keeper is itself a fork of a zygote.
        self.zygote = zygote

    def ask(self, spec: Spec, pipes: inside.Pipes, first: int, groups: list[int]) -> None:
        """Ask the zygote for the program; `let_go` once it has said how that went."""
        if self.zygote is None or pipes.output is None:
            raise RefusedError("there is no zygote to ask")
        # As a file, since what the zygote reads its later forks could find.
        written = os.memfd_create("spec", os.MFD_CLOEXEC)
        os.write(written, json.dumps(spec).encode())
        channel = [] if self.channel is None else [self.channel]
        given = [written, first, pipes.status, pipes.problem, pipes.output]
        with self.zygote as line:
            kind = JOIN + b"c" if channel else JOIN
            socket.send_fds(line, [kind], [*given, *channel, *groups])
        os.close(written)

    def let_go(self) -> None:
        """Close the channel: only the program holds it, so that its end can be seen."""
        if self.channel is not None:
            os.close(self.channel)
            self.channel = None


class Lease:
    """A uid that no other live sandbox has, held by the lock on a file, which ends with us."""

    def __init__(self, first: int, end: int) -> None:
        folder = _lease_folder()
        numbers = list(range(first, end))
        # Not always the lowest: an ended run's uid should rest.
        start = random.SystemRandom().randrange(len(numbers))
        for uid in numbers[start:] + numbers[:start]:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            holder = os.open(str(uid), flags, 0o600, dir_fd=folder)
            try:
                fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(holder)
                continue
            os.close(folder)
            self._holder = holder
            self.uid = uid
            return
        raise RefusedError(f"every uid from {first} to {end - 1} is in use")


def _lease_folder() -> int:
    """Open the machine's folder of leases; only root can enter it, or lock what is in it."""
    for parent in ("/run", "/var/tmp"):  # noqa: S108 - owner and mode are checked
        path = f"{parent}/seodang-leases"
        with contextlib.suppress(OSError):
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o700)
            folder = os.open(path, os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            status = os.fstat(folder)
            if status.st_uid == os.geteuid() and not status.st_mode & 0o077:
                return folder
            os.close(folder)
    raise RefusedError("no folder for leases: neither /run nor /var/tmp can be written")


class Keeper:
    """Builds one sandbox step by step, so that a failure can undo what was made."""

    def __init__(self, spec: Spec, source: Source | None = None) -> None:
        self._spec = spec
        self._source = source or Source()
        self._lease: Lease | None = None
        self._group: cgroups.Group | None = None
        self._connection: int | None = None
        self._scratch = ""
        self._state: State | None = None

    def start(self) -> Handles:
        """Build the sandbox and start its program; raises RefusedError or OSError."""
        spec = self._spec
        if spec["lease_end"] > spec["lease_first"]:
            self._lease = Lease(spec["lease_first"], spec["lease_end"])
            spec["uid"] = spec["gid"] = self._lease.uid
        # Folders of the host are opened before its root is left.
        self._state = State(spec["state_path"]) if spec["state_path"] else None
        report = _open_parent(spec["report_path"])
        log = _open_parent(spec["output"] if "/" in spec["output"] else "")
        try:
            self._make_group()
            if spec["isolated"]:
                enter_namespaces(spec)
                self._connection = rootfs.enter_root(spec).connection
            else:
                self._scratch = rootfs.make_plain_scratch(spec)
            handles = self._host(log) if self._source.zygote is not None else self._fork(log)
        except BaseException:
            if self._group is not None:
                self._group.remove()
            raise
        handles.report = report
        handles.connection = self._connection
        handles.scratch = self._scratch
        if self._state is not None:
            self._state.write(spec, handles.first)
        return handles

    def _make_group(self) -> None:
        spec = self._spec
        if not spec["memory_bytes"]:
            return
        hierarchy = cgroups.detect()
        if hierarchy.version == "none":
            spec["watched_memory"] = True
            return
        # Two more than the program may start: the first process, and one to spare.
        name = f"{os.getpid()}-{spec['uid']}"
        self._group = cgroups.Group(hierarchy, name, has_parts=spec["on_memory"] == "largest")
        self._group.limit(memory_bytes=spec["memory_bytes"], processes=spec["processes"] + 2)
        self._group.limit_cpu(spec["cpu_percent"])

    def _fork(self, log: tuple[int, str] | None) -> Handles:
        go_read, go_write = os.pipe()
        problem_read, problem_write = os.pipe()
        status_read, status_write = os.pipe()
        output_read = output_write = None
        if self._spec["output"] != "inherit":
            output_read, output_write = os.pipe()
        first = os.fork()
        if first == 0:
            os.close(go_write)
            pipes = inside.Pipes(
                go=go_read,
                problem=problem_write,
                status=status_write,
                output=output_write,
                channel=self._source.channel,
            )
            inside.run_first(self._spec, pipes)
        for descriptor in (go_read, problem_write, status_write, output_write):
            if descriptor is not None:
                os.close(descriptor)
        self._source.let_go()
        if self._group is not None:
            self._group.add(first)
        os.write(go_write, b"g")
        problem = os.read(problem_read, 4096).decode(errors="replace")
        if problem:
            os.waitpid(first, 0)
            raise RefusedError(problem)
        output = None if output_read is None else Output(output_read, log=log)
        return Handles(first=first, group=self._group, status=status_read, output=output)

    def _host(self, log: tuple[int, str] | None) -> Handles:
        """Start a first process and let the zygote put the program beside it."""
        host_read, host_write = os.pipe()
        problem_read, problem_write = os.pipe()
        status_read, status_write = os.pipe()
        output_read, output_write = os.pipe()
        first = os.fork()
        if first == 0:
            os.close(host_read)
            unused = inside.Pipes(go=host_write, problem=problem_write, status=-1, output=None)
            inside.run_host(unused)
        os.close(host_write)
        first_fd = os.pidfd_open(first)
        try:
            pipes = inside.Pipes(
                go=host_read, problem=problem_write, status=status_write, output=output_write
            )
            child = self._place_program(pipes, problem_read, first_fd)
        except BaseException:
            signal.pidfd_send_signal(first_fd, signal.SIGKILL)
            os.waitpid(first, 0)
            raise
        for descriptor in (host_read, problem_read, status_write, output_write, first_fd):
            os.close(descriptor)
        output = Output(output_read, log=log)
        handles = Handles(first=first, group=self._group, status=status_read, output=output)
        if not handles.program:
            handles.end()
            os.waitpid(first, 0)
            raise LostError
        handles.host(child)
        return handles

    def _place_program(self, pipes: inside.Pipes, problem_read: int, first_fd: int) -> int:
        """Have the program put in; returns its pid when it is our own child, else 0."""
        if not os.read(pipes.go, 1):
            os.close(pipes.problem)
            raise RefusedError(read_problem(problem_read))
        groups = [] if self._group is None else self._group.open_doors()
        self._source.ask(self._spec, pipes, first_fd, groups)
        os.close(pipes.problem)
        problem = read_problem(problem_read)
        self._source.let_go()
        child = 0
        if problem.startswith(NO_ZYGOTE):
            spec = without_zygote(self._spec)
            if spec is None:
                raise RefusedError(problem)
            child = self._execute(spec, pipes, groups)
        elif problem:
            raise RefusedError(problem)
        for group in groups:
            os.close(group)
        return child

    def _execute(self, spec: Spec, pipes: inside.Pipes, groups: list[int]) -> int:
        """Do what the zygote would have done, for a program that can be executed instead."""
        problem_read, pipes.problem = os.pipe()
        child = os.fork()
        if child == 0:
            for group in groups:
                os.write(group, b"0")
            inside.run_program(spec, pipes)
        os.close(pipes.problem)
        problem = read_problem(problem_read)
        os.close(problem_read)
        if problem:
            raise RefusedError(problem)
        os.write(pipes.status, f"{child}\n".encode())
        return child


def read_problem(source: int) -> str:
    """Return the words about a failed start; empty when it went well."""
    text = b""
    while data := os.read(source, 4096):
        text += data
    return text.decode(errors="replace")


def enter_namespaces(spec: Spec) -> None:
    """Put this process into the namespaces of `spec`; the pid namespace begins with its child."""
    if spec["caller_pid"]:
        view = os.open(f"/proc/{spec['caller_pid']}/ns/mnt", os.O_RDONLY)
        syscalls.setns(view, syscalls.CLONE_NEWNS)
        os.close(view)
    flags = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWIPC
    flags |= syscalls.CLONE_NEWUTS
    if not spec["network"]:
        flags |= syscalls.CLONE_NEWNET
    if spec["user_namespace"]:
        outer_uid, outer_gid = os.geteuid(), os.getegid()
        syscalls.unshare(flags | syscalls.CLONE_NEWUSER)
        # One line: the only user inside is the one who started us.
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{spec['uid']} {outer_uid} 1")
        _write("/proc/self/gid_map", f"{spec['gid']} {outer_gid} 1")
    else:
        syscalls.unshare(flags)
    if not spec["network"]:
        inside.raise_loopback()
        socket.sethostname("sandbox")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _open_parent(path: str) -> tuple[int, str] | None:
    if not path:
        return None
    return os.open(os.path.dirname(path), os.O_DIRECTORY), os.path.basename(path)


def say(control: socket.socket | None, message: dict[str, object]) -> None:
    """Tell whoever asked for the sandbox, if they still listen."""
    if control is not None:
        with contextlib.suppress(OSError):
            control.send(json.dumps(message).encode())


def main(control_number: int | None) -> int:
    """Keep one sandbox from start to end and return the program's exit code, shell style."""
    spec: Spec = json.loads(sys.stdin.buffer.read())
    control = None
    if control_number is not None:
        os.set_inheritable(control_number, False)  # noqa: FBT003 - has no keyword
        control = socket.socket(fileno=control_number)
    return keep(spec, control)


def keep_given(descriptors: list[int], zygote: socket.socket | None) -> int:
    """Keep the sandbox of a launch: the caller's control line, the spec and perhaps a channel."""
    number, written, *channel = descriptors
    spec: Spec = json.loads(os.pread(written, _SPEC_BYTES, 0))
    if zygote is not None and not can_join(spec):
        # Only a fork of the zygote itself can make such a sandbox for its own fork.
        socket.send_fds(zygote, [KEEP], descriptors)
        return 0
    os.close(written)
    source = Source(channel=channel[0] if channel else None, zygote=zygote)
    return keep(spec, socket.socket(fileno=number), source)


def keep_executed(descriptors: list[int], problem: str) -> int:
    """Keep the sandbox of a launch for which there is no zygote, because of `problem`."""
    number, written, *_ = descriptors
    control = socket.socket(fileno=number)
    spec = without_zygote(json.loads(os.pread(written, _SPEC_BYTES, 0)))
    if spec is None:
        say(control, {"failed": problem})
        return inside.EXEC_FAILED
    return keep(spec, control)


def keep(spec: Spec, control: socket.socket | None, source: Source | None = None) -> int:
    """Keep the sandbox of `spec`, whose program may come from a zygote."""
    if spec["joins"]:
        from lms.outposts.broker import joined

        return joined.keep(spec, control, source or Source())
    try:
        handles = Keeper(spec, source).start()
    except LostError:
        return inside.EXEC_FAILED  # without a word: the caller tries again
    except (OSError, ValueError, RefusedError) as error:
        say(control, {"failed": str(error)})
        if control is None:
            sys.stderr.write(f"sandbox: {error}\n")
        return inside.EXEC_FAILED
    say(control, {"started": {"pid": os.getpid(), "uid": spec["uid"]}})
    if spec["detached"] and control is not None:
        control.close()
        control = None
    report = Watch(spec, handles, control).run()
    say(control, {"ended": report})
    if handles.report is not None:
        write_record(handles.report, report)
    code = report["exit"]
    return code if isinstance(code, int) and code >= 0 else 128 + abs(int(str(code)))
