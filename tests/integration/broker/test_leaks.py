"""After many runs, ended in every way there is, nothing of them is left on the machine."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from lms.outposts.broker import cgroups
from lms.outposts.broker.launcher import DirectLauncher, KernelProcess, KernelRequest
from lms.outposts.broker.processes import ProcessName
from lms.protocol.grading import Limits

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(os.geteuid() != 0, reason="counts the uids of runs, which need root"),
]

#: A program with a daemon, a file on every disk and a deaf ear.
MESSY = (
    "import os, signal, time, sys\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    if os.fork() == 0: time.sleep(600)\n"
    "    os._exit(0)\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "for path in ('/tmp/x', '/dev/shm/x', sys.argv[1] + '/x'): open(path, 'wb').write(b'x' * 99)\n"
    "print('messy', flush=True)\n"
)
ENDINGS = {
    "exit": "raise SystemExit(0)",
    "crash": "os.kill(os.getpid(), signal.SIGSEGV)",
    "kill": "time.sleep(600)",
    "signal": "signal.signal(signal.SIGTERM, signal.SIG_DFL)\ntime.sleep(600)",
    "keeper": "time.sleep(600)",
    "memory": "held = []\nwhile True: held.append(bytearray(8 << 20))",
}


def end(process: KernelProcess, how: str) -> None:
    if how == "kill":
        process.kill()
    elif how == "signal":
        time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        process.kill()
    elif how == "keeper":
        os.kill(process.pid, signal.SIGKILL)
    process.wait(30)


def state_of_the_machine(folder: str) -> dict[str, object]:
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return {
        "processes": [pid for pid in pids if _names(pid, folder)],
        "mounts": Path("/proc/self/mounts").read_text().count("\n"),
        "groups": _groups(),
        "temporary files": sorted(
            entry.name for entry in Path(tempfile.gettempdir()).glob("lms-unsafe-*")
        ),
        "open files": len(list(Path("/proc/self/fd").iterdir())),
    }


def _names(pid: int, folder: str) -> bool:
    """Tell whether the command of `pid` names our folder, as all processes of our runs do."""
    try:
        return folder in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False


def _groups() -> list[str]:
    """Return our groups whose keeper has gone; other tests may run sandboxes meanwhile."""
    return [
        entry.name
        for folder in set(cgroups.detect().folders.values())
        for entry in Path(folder).iterdir()
        if entry.is_dir() and not Path("/proc", entry.name.partition("-")[0]).exists()
    ]


@pytest.mark.parametrize("rounds", [6, pytest.param(50, marks=pytest.mark.slow)])
def test_nothing_is_left_after_many_runs(rounds: int) -> None:
    launcher = DirectLauncher()
    with tempfile.TemporaryDirectory(prefix="k-") as folder:
        before = state_of_the_machine(folder)
        for _ in range(rounds):
            for how, ending in ENDINGS.items():
                process = launcher.launch(
                    KernelRequest(
                        argv=(sys.executable, "-I", "-S", "-c", MESSY + ending, folder),
                        connection_dir=folder,
                        limits=Limits(memory_bytes=100 << 20),
                    )
                )
                end(process, how)
                assert [path.name for path in Path(folder).iterdir()] in ([], ["x"])
        _settle(folder)
        cgroups.sweep(cgroups.detect())
        assert state_of_the_machine(folder) == before


def test_killed_launcher_takes_its_sandboxes_with_it() -> None:
    source = (
        "import sys, tempfile, os\n"
        "from lms.outposts.broker.launcher import DirectLauncher, KernelRequest\n"
        "process = DirectLauncher().launch(KernelRequest(argv=(sys.executable, '-I', '-S', '-c',"
        " 'import time; time.sleep(600)'), connection_dir=sys.argv[1]))\n"
        "print(process.pid, flush=True)\n"
        "import time; time.sleep(600)"
    )
    with tempfile.TemporaryDirectory(prefix="k-") as folder:
        launcher = subprocess.Popen(
            [sys.executable, "-c", source, folder], stdout=subprocess.PIPE, text=True
        )
        assert launcher.stdout is not None
        keeper = ProcessName.of(int(launcher.stdout.readline()))
        assert keeper is not None
        launcher.kill()
        launcher.communicate()
        assert keeper.wait_for_end(10)


def _settle(folder: str) -> None:
    """Wait for the processes of a killed keeper, which end a moment after it."""
    end_at = time.monotonic() + 5
    while state_of_the_machine(folder)["processes"] and time.monotonic() < end_at:
        time.sleep(0.05)
