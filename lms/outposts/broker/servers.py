"""Starts, finds and ends the notebook servers; a folder of state files outlives the broker."""

import contextlib
import json
import os
import secrets
import signal
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lms.outposts.broker import layout
from lms.outposts.broker.processes import ProcessName
from lms.outposts.broker.spec import Bind, Spec, blank_spec
from lms.protocol.broker import ServerRequest, ServerState, Verdict

#: The only programs a server may be; the rest of its arguments is the Hub's.
SERVER_PROGRAMS = ((sys.executable, "-P", "-m", "jupyterhub.singleuser"),)
#: Kernels listen on files, not on ports: whoever connects to a port hears what a kernel prints.
SERVER_ARGUMENTS = ("--KernelManager.transport=ipc",)
#: Below this much free memory another server would only slow down those that run.
_ROOM_BYTES = 256 << 20
_SEED_BITS = 52
#: Where those files lie: in the server's own /tmp, for their paths end at 107 bytes.
_RUNTIME_DIR = "/tmp/jupyter"  # noqa: S108
_GRACE_SECONDS = 8.0
#: What a server that left no report is said to have ended with.
_UNKNOWN_EXIT = 1


class ServerRefusedError(Exception):
    """A server cannot be started as asked; the text says why."""


class NoRoomError(ServerRefusedError):
    """The machine is full; later it may not be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPlaces:
    """Where servers live, and whose they may be."""

    homes_dir: Path
    #: One state file and, after its end, one report a server; ours alone.
    state_dir: Path
    logs_dir: Path
    learner_first: int
    learner_end: int
    programs: tuple[tuple[str, ...], ...] = field(default=SERVER_PROGRAMS)
    #: Fork servers from a zygote; else each is executed afresh.
    forks: bool = True
    #: Where the environments lie that kernels may have; None: they have the default one.
    environments_dir: Path | None = None
    #: For each person a folder with the socket where servers ask for kernels; None: theirs start
    #: the stock way.
    asking_dir: Path | None = None


class Servers:
    """The notebook servers of one machine."""

    def __init__(self, places: ServerPlaces) -> None:
        self._places = places
        for folder in (places.state_dir, places.logs_dir):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        places.homes_dir.mkdir(parents=True, exist_ok=True, mode=0o711)

    def plan(self, request: ServerRequest) -> Spec:
        """Return the sandbox of a server that may start; raises ServerRefusedError.

        Its `program` is empty when it is to be executed, not forked.
        """
        if self.poll(request.username, request.server_name).running:
            raise ServerRefusedError(f"{request.username} already has such a server")
        argv = self._check_program(request.argv)
        self._check_uid(request.uid)
        _check_room(free_memory_bytes())
        home = self._make_home(request)
        state = self._state_path(request.username, request.server_name)
        report = state.with_suffix(".ended")
        report.unlink(missing_ok=True)
        log = self._places.logs_dir / f"{state.stem}.log"
        spec = _server_spec(request, argv, home, log=log, report=report)
        spec["state_path"] = str(state)
        # Only root can put a process into a sandbox that stands.
        if self._places.asking_dir is not None and os.geteuid() == 0:
            folder = str(self._places.asking_dir / str(request.uid))
            spec["binds"].append(Bind(path=folder, writable=False, optional=True))
            spec["env"]["LMS_KERNEL_BROKER"] = f"{folder}/broker.sock"
        if self._places.environments_dir is not None:
            _show_environments(spec, str(self._places.environments_dir))
        stock = SERVER_PROGRAMS[0]
        if self._places.forks and argv[: len(stock)] == stock:
            spec |= {"program": "server", "argv": list(argv[len(stock) :])}
            spec["seed"] = secrets.randbits(_SEED_BITS)
        return spec

    def poll(self, username: str, server_name: str) -> ServerState:
        """Return whether that server runs, and how it ended if it ran before."""
        state = self._state_path(username, server_name)
        process = _read_state(state)
        if process is None:
            return ServerState(running=False)
        if process.is_alive():
            return ServerState(running=True, pid=process.pid)
        try:
            report = json.loads(state.with_suffix(".ended").read_text())
            code, verdict = int(report["exit"]), Verdict(report["verdict"])
        except (OSError, ValueError, KeyError):
            return ServerState(running=False, pid=process.pid, exit_code=_UNKNOWN_EXIT)
        return ServerState(running=False, pid=process.pid, exit_code=code, verdict=verdict)

    def stop(self, username: str, server_name: str, *, now: bool) -> ServerState:
        """Ask that server to end, or end it `now`; `poll` tells when it has gone."""
        process = _read_state(self._state_path(username, server_name))
        if process is not None:
            process.send_signal(signal.SIGQUIT if now else signal.SIGTERM)
        return self.poll(username, server_name)

    def _state_path(self, username: str, server_name: str) -> Path:
        # Neither name may hold a tilde, so no two servers share a file.
        return self._places.state_dir / f"{username}~{server_name}.json"

    def _check_program(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        if not any(argv[: len(program)] == program for program in self._places.programs):
            raise ServerRefusedError(f"{argv[0]} is not a notebook server")
        return (*argv, *SERVER_ARGUMENTS)

    def _check_uid(self, uid: int) -> None:
        if not self._places.learner_first <= uid < self._places.learner_end:
            raise ServerRefusedError(f"uid {uid} is no learner's")

    def _make_home(self, request: ServerRequest) -> Path:
        """Return the learner's home, made when missing; another learner's is refused."""
        home = self._places.homes_dir / request.username
        if request.home != str(home):
            raise ServerRefusedError(f"the home of {request.username} is {home}")
        owner = request.uid if os.geteuid() == 0 else os.geteuid()
        with contextlib.suppress(FileExistsError):
            home.mkdir(mode=0o700)
            if os.geteuid() == 0:
                os.chown(home, owner, owner)
        status = home.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != owner:
            raise ServerRefusedError(f"{home} does not belong to uid {owner}")
        return home


def _show_environments(spec: Spec, folder: str) -> None:
    """Let a server find the kernels of every environment, those built later as well."""
    spec["binds"].append(Bind(path=folder, writable=False, optional=True))
    before = spec["env"].get("JUPYTER_PATH")
    spec["env"]["JUPYTER_PATH"] = f"{before}:{folder}" if before else folder


def end_servers(state_dir: Path, *, seconds: float = 10.0) -> int:
    """End every server that `state_dir` knows, politely first; return how many there were."""
    running = [process for process in _processes(state_dir) if process.send_signal(signal.SIGTERM)]
    for process in running:
        if not process.wait_for_end(seconds):
            process.send_signal(signal.SIGKILL)
            process.wait_for_end(seconds)
    return len(running)


def _processes(state_dir: Path) -> Iterator[ProcessName]:
    for path in state_dir.glob("*.json"):
        process = _read_state(path)
        if process is not None:
            yield process


def _read_state(path: Path) -> ProcessName | None:
    try:
        state = json.loads(path.read_text())
        return ProcessName(int(state["pid"]), int(state["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def free_memory_bytes() -> int:
    """Return how much memory programs could still be given here."""
    with open("/proc/meminfo", encoding="ascii") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return 1 << 62  # the machine does not say


def _check_room(free: int) -> None:
    if free < _ROOM_BYTES:
        raise NoRoomError(
            f"this machine has only {free >> 20} MB of memory left, too little for another server"
        )


def _server_spec(
    request: ServerRequest, argv: tuple[str, ...], home: Path, *, log: Path, report: Path
) -> Spec:
    is_root, limits = os.geteuid() == 0, request.limits
    env = {
        "PATH": layout.search_path(),
        "LANG": "C.UTF-8",
        "SHELL": "/bin/bash",
        **request.env,
        "HOME": str(home),
        "JUPYTER_RUNTIME_DIR": _RUNTIME_DIR,
        "USER": request.username,
        "LOGNAME": request.username,
    }
    return blank_spec() | {
        "argv": list(argv),
        "env": env,
        "cwd": str(home),
        "user": request.username,
        "home": str(home),
        "uid": request.uid,
        "gid": request.uid,
        "user_namespace": not is_root,
        "network": True,
        "terminals": True,
        "detached": True,
        "binds": [*layout.program_binds(), Bind(path=str(home), writable=True, optional=False)],
        "scratch_bytes": limits.scratch_bytes,
        "memory_bytes": limits.memory_bytes,
        "processes": limits.processes,
        "cpu_percent": limits.cpu_percent,
        "on_memory": "largest",
        "output": str(log),
        "grace_seconds": _GRACE_SECONDS,
        "report_path": str(report),
    }
