"""The supervisor with real small programs: order, restarts, and that nothing is left behind."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lms.foundation.errors import UnavailableError
from lms.foundation.supervisor import AlreadyRunningError, Event, Part, Stage, Supervisor
from lms.outposts.broker.processes import ProcessName
from lms.outposts.broker.view import View

SLEEPER = "import time; time.sleep(600)"
#: Forks a grandchild in a session of its own, which a process group kill does not reach.
NEST = (
    "import os, sys, time\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    if os.fork(): os._exit(0)\n"
    "    open(sys.argv[1], 'w').write(str(os.getpid()))\n"
    "time.sleep(600)"
)
#: Nobody else's, also when the whole system runs on this machine.
WEB_UID = 191_000 + os.getpid() % 9_000
#: A supervisor of its own: `python -c SUPERVISOR source note folder`.
SUPERVISOR = (
    "import sys; from pathlib import Path\n"
    "from lms.foundation.supervisor import Part, Supervisor\n"
    "source, note, folder = sys.argv[1:]\n"
    "part = Part(name='nest', argv=(sys.executable, '-I', '-S', '-c', source, note))\n"
    "Supervisor([part], Path(folder, 'run'), Path(folder, 'logs')).run()"
)


def python(name: str, source: str, *arguments: str, **more: object) -> Part:
    argv = (sys.executable, "-I", "-S", "-c", source, *arguments)
    return Part(name=name, argv=argv, **more)  # type: ignore[arg-type]


def until(claim: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


class Running:
    """A supervisor in a thread, with everything it said."""

    def __init__(self, folder: Path, parts: list[Part]) -> None:
        self.events: list[Event] = []
        self.folder = folder
        self.supervisor = Supervisor(parts, folder / "run", folder / "logs", say=self.events.append)
        self.problem: Exception | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.supervisor.run()
        except UnavailableError as error:
            self.problem = error

    def seen(self, part: str, stage: Stage) -> int:
        return sum(event.part == part and event.stage is stage for event in self.events)

    def pid(self, part: str) -> int:
        state = json.loads((self.folder / "run" / "supervisor.json").read_text())
        return int(state["parts"][part]["pid"] or 0)

    def log(self, part: str) -> str:
        path = self.folder / "logs" / f"{part}.log"
        return path.read_text() if path.exists() else ""

    def stop(self) -> None:
        if self._thread.is_alive():
            self.supervisor.stop()
        self._thread.join(30)
        assert not self._thread.is_alive()


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    made: list[Running] = []

    def run(*parts: Part) -> Running:
        made.append(Running(tmp_path, list(parts)))
        return made[-1]

    yield run
    for running in made:
        running.stop()


def test_parts_start_in_order_once_the_one_before_is_ready(start: Start, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    first = python(
        "first",
        f"import time; time.sleep(0.3); open({str(flag)!r}, 'w'); time.sleep(600)",
        ready=lambda: None if flag.exists() else "no flag yet",
    )
    second = python(
        "second", f"import os; print(os.path.exists({str(flag)!r}), flush=True)\n" + SLEEPER
    )
    running = start(first, second)
    until(lambda: running.seen("second", Stage.READY) == 1)
    until(lambda: running.log("second") == "True\n")


def test_crashed_part_restarts_alone(start: Start) -> None:
    running = start(python("steady", SLEEPER), python("fragile", SLEEPER))
    until(lambda: running.seen("fragile", Stage.READY) == 1)
    steady, fragile = running.pid("steady"), running.pid("fragile")
    os.kill(fragile, signal.SIGKILL)
    until(lambda: running.seen("fragile", Stage.READY) == 2)
    assert running.pid("steady") == steady
    assert running.pid("fragile") != fragile
    assert running.seen("steady", Stage.STARTING) == 1


def test_waits_grow_with_each_crash(start: Start, tmp_path: Path) -> None:
    flag = tmp_path / "ready"
    flag.touch()
    running = start(python("fragile", "raise SystemExit(3)", ready=lambda: None))
    until(lambda: running.seen("fragile", Stage.CRASHED) >= 3)
    crashes = [event for event in running.events if event.stage is Stage.CRASHED]
    assert [event.wait_seconds for event in crashes[:3]] == [0.5, 1.0, 2.0]
    assert crashes[0].exit_code == 3


def test_part_that_never_starts_is_one_sentence_with_its_log(start: Start, tmp_path: Path) -> None:
    running = start(
        python("steady", SLEEPER),
        python("broken", "raise SystemExit('no such thing')", ready=lambda: "not there"),
    )
    until(lambda: running.problem is not None)
    assert "broken did not start (no such thing)" in str(running.problem)
    assert str(tmp_path / "logs" / "broken.log") in str(running.problem)
    assert running.seen("steady", Stage.STOPPED) == 1


def test_stop_ends_grandchildren_in_sessions_of_their_own(start: Start, tmp_path: Path) -> None:
    note = tmp_path / "grandchild"
    running = start(python("nest", NEST, str(note)))
    until(lambda: note.exists() and note.read_text() != "")
    grandchild = ProcessName.of(int(note.read_text()))
    assert grandchild is not None
    running.stop()
    assert not grandchild.is_alive()


def test_stubborn_part_is_killed_after_its_time(start: Start) -> None:
    stubborn = (
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('deaf', flush=True)\ntime.sleep(600)"
    )
    running = start(python("stubborn", stubborn, stop_seconds=0.5))
    until(lambda: running.log("stubborn") == "deaf\n")
    running.stop()
    stopped = [event for event in running.events if event.stage is Stage.STOPPED]
    assert stopped[0].exit_code == -signal.SIGKILL


def test_log_that_grew_is_cut_while_its_part_goes_on_writing(start: Start, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    with (tmp_path / "logs" / "chatty.log").open("wb") as log:
        log.truncate((50 << 20) + 1)
    chatter = "import time\nwhile True: print('hello', flush=True); time.sleep(0.05)"
    running = start(python("chatty", chatter))
    until(lambda: running.log("chatty").startswith("hello\n"))
    assert (tmp_path / "logs" / "chatty.log.1").stat().st_size > 50 << 20


def test_second_supervisor_of_the_same_folder_is_refused(start: Start, tmp_path: Path) -> None:
    running = start(python("steady", SLEEPER))
    until(lambda: running.seen("steady", Stage.READY) == 1)
    with pytest.raises(AlreadyRunningError, match="already running"):
        Supervisor([], tmp_path / "run", tmp_path / "logs").run()


def test_next_start_ends_what_a_killed_supervisor_left(start: Start, tmp_path: Path) -> None:
    note = tmp_path / "grandchild"
    killed = subprocess.Popen([sys.executable, "-c", SUPERVISOR, NEST, str(note), str(tmp_path)])
    until(lambda: note.exists() and note.read_text() != "")
    left = ProcessName.of(int(note.read_text()))
    assert left is not None
    killed.kill()
    killed.wait()
    assert left.is_alive()
    running = start(python("nest", SLEEPER))
    until(lambda: running.seen("nest", Stage.READY) == 1)
    assert not left.is_alive()


def test_ctrl_c_in_a_terminal_ends_everything_and_exits_0(tmp_path: Path) -> None:
    note = tmp_path / "grandchild"
    process = subprocess.Popen([sys.executable, "-c", SUPERVISOR, NEST, str(note), str(tmp_path)])
    until(lambda: note.exists() and note.read_text() != "")
    left = ProcessName.of(int(note.read_text()))
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    assert left is not None
    assert not left.is_alive()


@pytest.mark.sandbox
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a part a uid of its own")
class TestViews:
    """Parts in views: an own uid, the folders they were given, and nothing else."""

    def test_part_sees_only_its_folders_and_can_write_home(
        self, start: Start, tmp_path: Path
    ) -> None:
        mine, shared, other = tmp_path / "mine", tmp_path / "shared", tmp_path / "other"
        for folder in (mine, shared, other):
            folder.mkdir()
        (shared / "note").write_text("hello")
        os.chown(mine, WEB_UID, 190_000)
        mine.chmod(0o700)
        tmp_path.chmod(0o700)
        source = (
            "import os\n"
            f"os.chdir({str(mine)!r})\n"
            f"text = open({str(shared / 'note')!r}).read()\n"
            "open(os.path.expanduser('~/socket'), 'w').close()\n"
            f"try: open({str(shared / 'note')!r}, 'w')\n"
            "except OSError as error: text += ' ' + type(error).__name__\n"
            f"print(text, os.path.exists({str(other)!r}), flush=True)\n"
            "print(os.getuid(), os.getgid(), os.getgroups(), flush=True)\n"
            "open('done', 'w').write('')\n"
        ) + SLEEPER
        view = View(uid=WEB_UID, gid=190_000, read_write=(mine,), read_only=(shared,))
        running = start(python("web", source, view=view))
        until((mine / "done").exists)
        log = running.log("web")
        assert log == f"hello OSError False\n{WEB_UID} 190000 []\n"
        assert (mine / "done").stat().st_uid == WEB_UID

    def test_stop_and_kill_leave_nothing_in_the_view(self, start: Start) -> None:
        view = View(uid=WEB_UID, gid=190_000)
        running = start(python("web", NEST, "pid", view=view))
        until(lambda: running.seen("web", Stage.READY) == 1)
        until(lambda: len(_of_uid(WEB_UID)) >= 2)
        os.kill(running.pid("web"), signal.SIGKILL)
        until(lambda: running.seen("web", Stage.READY) == 2)
        until(lambda: len(_of_uid(WEB_UID)) == 2)
        running.stop()
        assert _of_uid(WEB_UID) == []

    def test_missing_folder_is_named_in_the_log(self, start: Start, tmp_path: Path) -> None:
        gone = tmp_path / "gone"
        view = View(uid=WEB_UID, gid=190_000, read_only=(gone,))
        running = start(python("web", SLEEPER, view=view, ready=lambda: "no answer"))
        until(lambda: running.problem is not None)
        assert str(gone) in str(running.problem)


def _of_uid(uid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if entry.stat().st_uid == uid and ProcessName.of(int(entry.name)):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
