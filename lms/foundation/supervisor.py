"""Starts the parts of a system in order, restarts one that crashes, ends them with their trees.

A part is any program. As root it runs in a view of its own (lms.outposts.broker.view), whose end is
the end of everything in it; otherwise it is a plain process whose children are found again by a
mark in their environment, also after this process was killed.

    supervisor = Supervisor([Part(name="web", argv=("gunicorn", …), ready=probe)], run_dir, log_dir)
    supervisor.run()        # returns after Ctrl-C or SIGTERM
"""

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

from lms.foundation.errors import ConflictError, UnavailableError
from lms.outposts.broker.processes import ProcessName, end_marked
from lms.outposts.broker.view import View, start_in_view
from lms.protocol.sentences import sentence

#: Set in every plain part and so in all it starts: names the supervisor it belongs to.
MARK = "SUPERVISED_BY"
_TICK_SECONDS = 0.1
_BACKOFF_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
#: A part that ran this long starts its backoff anew.
_SETTLED_SECONDS = 60.0
#: Crashes before a part was ever ready that make `run` give up.
_FIRST_TRIES = 3
_LOG_BYTES = 50 << 20
_LOG_LOOK_SECONDS = 60.0
_TAIL_BYTES = 2000


class Stage(StrEnum):
    """What happened to a part."""

    STARTING = "starting"
    READY = "ready"
    CRASHED = "crashed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One program to keep running."""

    #: Also names its log and its process file.
    name: str
    argv: tuple[str, ...]
    #: Its whole environment (a view adds PATH, LANG and HOME).
    env: Mapping[str, str] = field(default_factory=dict)
    #: Needs root; None runs a plain process of our own user.
    view: View | None = None
    #: Returns None once the part answers, else why not yet; asked ten times a second.
    ready: Callable[[], str | None] | None = None
    ready_seconds: float = 60.0
    #: Where a plain process starts; a view starts in its own home.
    cwd: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    #: From the polite signal to the kill.
    stop_seconds: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something a person at the terminal may want to read."""

    part: str
    stage: Stage
    #: The exit code of a crash; seconds until the next start.
    exit_code: int | None = None
    wait_seconds: float = 0.0


class AlreadyRunningError(ConflictError):
    """Another supervisor holds this run folder."""


class _Child:
    """One part with its process and its history."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0
        self.crashes = 0
        self.restarts = -1
        self.start_at = 0.0
        self.is_ready = False


class Supervisor:
    """Runs `parts`; `say` hears of every change, `after_stop` runs when all have ended.

    `before_start` runs once nothing of an earlier run is left: what it raises, `run` raises.

    `run_dir` gets process files and `supervisor.json` (for a status command), `log_dir` one log a
    part.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        run_dir: Path,
        log_dir: Path,
        *,
        say: Callable[[Event], None] = lambda _: None,
        before_start: Callable[[], None] = lambda: None,
        after_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self._children = [_Child(part) for part in parts]
        self._run_dir = run_dir
        self._log_dir = log_dir
        self._say = say
        self._before_start = before_start
        self._after_stop = after_stop
        self._mark = sha256(os.fsencode(run_dir.resolve())).hexdigest()[:16]
        self._signals = 0
        self._wake = os.pipe()
        self._look_at_logs_at = 0.0

    def run(self) -> None:
        """Start all parts, keep them running, and end them on SIGINT or SIGTERM.

        Raises AlreadyRunningError, and UnavailableError naming a part that does not start.
        """
        self._run_dir.mkdir(parents=True, exist_ok=True)
        self._log_dir.mkdir(parents=True, exist_ok=True)
        with self._lock(), self._catch_signals():
            self._end_leftovers()
            self._before_start()
            try:
                self._start_all()
                while not self._signals:
                    self._tick()
            finally:
                self._stop_all()
                self._after_stop()
                self._write_state()

    def stop(self) -> None:
        """Make `run` end all parts and return; may be called from another thread."""
        self._signals += 1
        os.write(self._wake[1], b"s")

    def _start_all(self) -> None:
        for child in self._children:
            if self._signals:
                return
            self._start(child)
            end = time.monotonic() + child.part.ready_seconds
            while self._is_awaited(child):
                if child.crashes >= _FIRST_TRIES or time.monotonic() > end:
                    raise self._did_not_start(child)
                self._tick()

    def _is_awaited(self, child: _Child) -> bool:
        return not child.is_ready and not self._signals

    def _tick(self) -> None:
        poll = select.poll()
        poll.register(self._wake[0], select.POLLIN)
        if poll.poll(_TICK_SECONDS * 1000):
            os.read(self._wake[0], 64)
        now = time.monotonic()
        if now >= self._look_at_logs_at:
            self._look_at_logs_at = now + _LOG_LOOK_SECONDS
            for child in self._children:
                _rotate(self.log_path(child.part.name))
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                self._take_crash(child, now)
            elif child.process is not None and not child.is_ready:
                self._ask(child)
            elif child.process is None and child.restarts >= 0 and now >= child.start_at:
                self._start(child)
        _reap_strangers({child.process.pid for child in self._children if child.process})

    def _ask(self, child: _Child) -> None:
        if child.part.ready is None or child.part.ready() is None:
            child.is_ready = True
            self._tell(Event(part=child.part.name, stage=Stage.READY))

    def _take_crash(self, child: _Child, now: float) -> None:
        process = child.process
        if process is None:
            return
        if now - child.started_at > _SETTLED_SECONDS:
            child.crashes = 0
        wait = _BACKOFF_SECONDS[min(child.crashes, len(_BACKOFF_SECONDS) - 1)]
        child.crashes += 1
        child.process, child.is_ready, child.start_at = None, False, now + wait
        # What it started must not hold its port or its lock against the next one.
        end_marked(MARK, self._mark_of(child.part))
        self._tell(
            Event(
                part=child.part.name,
                stage=Stage.CRASHED,
                exit_code=process.returncode,
                wait_seconds=wait,
            )
        )

    def _start(self, child: _Child) -> None:
        part = child.part
        path = self.log_path(part.name)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        log = os.open(path, flags, 0o600)
        try:
            child.process = self._launch(part, log)
        finally:
            os.close(log)
        child.started_at = time.monotonic()
        child.restarts += 1
        name = ProcessName.of(child.process.pid)
        if name is not None:
            self._process_path(part).write_text(json.dumps([name.pid, name.started]))
        self._tell(Event(part=part.name, stage=Stage.STARTING))

    def _launch(self, part: Part, log: int) -> "subprocess.Popen[bytes]":
        if part.view is not None:
            return start_in_view(part.argv, part.env, part.view, log=log)
        try:
            return subprocess.Popen(
                part.argv,
                env={**part.env, MARK: self._mark_of(part)},
                cwd=part.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        except OSError as error:
            raise UnavailableError(
                sentence(
                    "%(part)s cannot be started: %(reason)s.", part=part.name, reason=str(error)
                )
            ) from error

    def _stop_all(self) -> None:
        for child in reversed(self._children):
            if child.process is not None:
                self._stop(child)
        for child in self._children:
            # Also what a part left behind before it crashed.
            end_marked(MARK, self._mark_of(child.part))

    def _stop(self, child: _Child) -> None:
        process, part = child.process, child.part
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(part.stop_signal)
        end = time.monotonic() + part.stop_seconds
        asked_before = self._signals
        # A second Ctrl-C means: at once.
        while process.poll() is None and time.monotonic() < end and self._signals <= asked_before:
            time.sleep(_TICK_SECONDS / 4)
        if process.poll() is None:
            process.kill()
            process.wait()
        end_marked(MARK, self._mark_of(part))
        child.process, child.is_ready = None, False
        self._process_path(part).unlink(missing_ok=True)
        self._tell(Event(part=part.name, stage=Stage.STOPPED, exit_code=process.returncode))

    def _end_leftovers(self) -> None:
        """End what a killed supervisor of the same run folder left running."""
        left: list[ProcessName] = []
        for path in self._run_dir.glob("*.process"):
            with contextlib.suppress(OSError, ValueError, TypeError):
                pid, started = json.loads(path.read_text())
                process = ProcessName(pid, started)
                if process.send_signal(signal.SIGTERM):
                    left.append(process)
            path.unlink(missing_ok=True)
        end = time.monotonic() + max(
            (child.part.stop_seconds for child in self._children), default=0
        )
        for process in left:
            if not process.wait_for_end(max(0.0, end - time.monotonic())):
                process.send_signal(signal.SIGKILL)
                process.wait_for_end(5.0)
        for child in self._children:
            end_marked(MARK, self._mark_of(child.part))

    def _did_not_start(self, child: _Child) -> UnavailableError:
        part = child.part
        why = part.ready() if part.ready is not None and child.process is not None else None
        return UnavailableError(
            sentence(
                "%(part)s did not start (%(reason)s). Its log is %(log)s.",
                part=part.name,
                reason=why or _last_line(self.log_path(part.name)) or "it ended at once",
                log=str(self.log_path(part.name)),
            )
        )

    def log_path(self, part_name: str) -> Path:
        """Return where the part of that name writes."""
        return self._log_dir / f"{part_name}.log"

    def _process_path(self, part: Part) -> Path:
        return self._run_dir / f"{part.name}.process"

    def _mark_of(self, part: Part) -> str:
        return f"{self._mark}:{part.name}"

    def _tell(self, event: Event) -> None:
        self._write_state()
        self._say(event)

    def _write_state(self) -> None:
        parts = {
            child.part.name: {
                "pid": child.process.pid if child.process else None,
                "ready": child.is_ready,
                "restarts": max(0, child.restarts),
            }
            for child in self._children
        }
        path = self._run_dir / "supervisor.json"
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps({"pid": os.getpid(), "parts": parts}))
        draft.replace(path)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        with (self._run_dir / "supervisor.lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise AlreadyRunningError(
                    sentence(
                        "The system in %(folder)s is already running. Stop it first, or set "
                        "another data folder.",
                        folder=str(self._run_dir.parent),
                    )
                ) from error
            yield

    @contextlib.contextmanager
    def _catch_signals(self) -> Iterator[None]:
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {}
        with contextlib.suppress(ValueError):  # not the main thread: `stop` is the way then
            before = {number: signal.signal(number, lambda *_: self.stop()) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _reap_strangers(ours: set[int]) -> None:
    """Reap orphans that came to us because we are the first process of a container."""
    if os.getpid() != 1:
        return
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid in ours:
            return
        os.waitpid(found.si_pid, os.WNOHANG)


def _rotate(path: Path) -> None:
    """Keep one earlier log; whoever writes appends, and so goes on at the new beginning."""
    with contextlib.suppress(OSError):
        if path.stat().st_size > _LOG_BYTES:
            earlier = path.with_suffix(".log.1")
            shutil.copyfile(path, earlier)
            earlier.chmod(0o600)
            os.truncate(path, 0)


def _last_line(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""
