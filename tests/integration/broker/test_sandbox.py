"""What code in a grading sandbox can and cannot do; every run is a real one."""

import json
import os
import socket
import sys
import threading
from pathlib import Path

import pytest

from lms.outposts.broker.launcher import DirectLauncher, KernelRequest, Verdict
from tests.integration.broker.conftest import RunInside

pytestmark = pytest.mark.sandbox


def test_program_sees_the_small_root_and_its_own_copies(
    run_inside: RunInside, connection_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "points.csv").write_text("1,2\n")
    (tmp_path / "secret").symlink_to("/etc/shadow")
    os.mkfifo(tmp_path / "pipe")
    outcome = run_inside(
        "import json, os\n"
        "print(json.dumps([sorted(os.listdir('.')), open('data/points.csv').read(),"
        " os.getcwd(), os.getuid(), os.getgroups(), os.listdir('/tmp')]))\n"
        "open('data/points.csv', 'a').write('mine')",
        files=tmp_path,
    )
    assert outcome.code == 0, outcome.said
    names, text, folder, uid, groups, strangers = json.loads(outcome.said)
    assert names == ["data"]
    assert text == "1,2\n"
    assert folder == "/home/student/work"
    assert 300_000 <= uid < 301_000
    assert groups == []
    # What is bound from under /tmp shows there: the connection folder, our program if it is one.
    bound = (connection_dir, Path(__file__), Path(sys.prefix), Path(sys.base_prefix))
    assert set(strangers) <= {path.parts[2] for path in bound if path.parts[1] == "tmp"}
    assert (tmp_path / "data" / "points.csv").read_text() == "1,2\n"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/shadow",
        "/root/.bashrc",
        "/proc/1/root/etc/passwd",
        "/proc/1/environ",
        "/dev/vda",
        "/sys/kernel",
        "/var/lib",
    ],
)
def test_rest_of_the_machine_cannot_be_read(run_inside: RunInside, path: str) -> None:
    outcome = run_inside(
        f"import os\ntry: os.open({path!r}, os.O_RDONLY)\nexcept OSError: print('no')"
    )
    assert outcome.said == "no\n"


def test_file_of_another_user_is_unreadable(run_inside: RunInside, tmp_path: Path) -> None:
    secret = tmp_path / "gradebook.db"
    secret.write_text("marks")
    outcome = run_inside(f"open({str(secret)!r})")
    assert outcome.code == 1
    assert "FileNotFoundError" in outcome.said


@pytest.mark.parametrize("path", [sys.prefix, sys.base_prefix, "/usr", "/", "/etc", "/dev"])
def test_system_and_environment_are_read_only(run_inside: RunInside, path: str) -> None:
    outcome = run_inside(f"open({path + '/planted.py'!r}, 'w')")
    assert outcome.code == 1
    assert "Read-only file system" in outcome.said or "Permission denied" in outcome.said


def test_environment_below_root_home_can_be_imported(run_inside: RunInside) -> None:
    # On the test machines the interpreter lies under /root, mode 0700.
    outcome = run_inside(
        "import sys, numpy, ipykernel; print(sys.prefix, int(numpy.ones(3).sum()))"
    )
    assert outcome.said.split() == [sys.prefix, "3"]


def test_network_is_cut_but_loopback_inside_works(run_inside: RunInside) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    outcome = run_inside(
        "import socket, errno\n"
        "try: socket.create_connection(('192.0.2.1', 80), 3); print('out')\n"
        "except OSError as e: print(errno.errorcode[e.errno])\n"
        f"try: socket.create_connection(('127.0.0.1', {port}), 3); print('host')\n"
        "except OSError as e: print(errno.errorcode[e.errno])\n"
        "own = socket.create_server(('127.0.0.1', 0)); "
        "socket.create_connection(own.getsockname(), 3); print('inside')"
    )
    server.close()
    assert outcome.said.split() == ["ENETUNREACH", "ECONNREFUSED", "inside"]


def test_host_sockets_without_a_path_are_out_of_reach(run_inside: RunInside) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0seodang-test-abstract")
        server.listen()
        outcome = run_inside(
            "import socket\nsocket.socket(socket.AF_UNIX).connect('\\0seodang-test-abstract')"
        )
    assert "ConnectionRefusedError" in outcome.said


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("libc.unshare(0x10000000)", "EPERM"),
        ("libc.mount(b'x', b'/tmp', b'tmpfs', 0, None)", "EPERM"),
        ("libc.ptrace(0, 0, 0, 0)", "EPERM"),
        ("libc.syscall(425, 8, None)", "EPERM"),  # io_uring_setup
        ("libc.syscall(435, None, 0)", "ENOSYS"),  # clone3
        ("libc.syscall(321, 0, None, 0)", "EPERM"),  # bpf
        ("libc.syscall(250, 0, 0)", "EPERM"),  # keyctl
        ("libc.syscall(323, 0)", "EPERM"),  # userfaultfd
        ("libc.syscall(56, 0x10000000 | 17, None, None, None, None)", "EPERM"),  # clone a user ns
        ("libc.socket(40, 1, 0)", "EAFNOSUPPORT"),  # vsock reaches the machine's host
        ("libc.ioctl(0, 0x5412, b'x')", "EPERM"),  # TIOCSTI
        ("libc.setuid(0)", "EPERM"),
        ("libc.kill(1, 9) or libc.kill(1, 0)", "EPERM"),
    ],
)
def test_dangerous_calls_are_refused(run_inside: RunInside, call: str, expected: str) -> None:
    outcome = run_inside(
        "import ctypes, errno\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        f"result = {call}\nprint(errno.errorcode.get(ctypes.get_errno()), result)"
    )
    assert outcome.said == f"{expected} -1\n"


def test_memory_bomb_is_reported_as_out_of_memory(run_inside: RunInside) -> None:
    outcome = run_inside(
        "held = []\nwhile True: held.append(bytearray(8 << 20))", memory_bytes=150 << 20
    )
    assert outcome.usage.verdict is Verdict.OUT_OF_MEMORY
    assert outcome.usage.oom_killed
    assert outcome.code != 0


def test_memory_bomb_in_a_child_ends_the_whole_run(run_inside: RunInside) -> None:
    outcome = run_inside(
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    held = []\n"
        "    while True: held.append(bytearray(8 << 20))\n"
        "time.sleep(30)",
        memory_bytes=150 << 20,
    )
    assert outcome.usage.verdict is Verdict.OUT_OF_MEMORY


def test_fork_bomb_is_contained(run_inside: RunInside) -> None:
    outcome = run_inside(
        "import os, time\n"
        "count = 0\n"
        "try:\n"
        "    while True:\n"
        "        if os.fork() == 0: time.sleep(60)\n"
        "        count += 1\n"
        "except OSError: print(count)",
        processes=40,
    )
    assert 20 <= int(outcome.said) <= 42


def test_flood_of_output_ends_the_run(run_inside: RunInside) -> None:
    outcome = run_inside("import os\nwhile True: os.write(1, b'x' * 65536)", output_bytes=1 << 20)
    assert outcome.usage.verdict is Verdict.OUTPUT_EXCEEDED
    assert outcome.usage.output_exceeded
    assert len(outcome.said) <= 16 << 10


def test_full_disk_is_an_error_inside_and_noted_outside(run_inside: RunInside) -> None:
    outcome = run_inside(
        "import errno\n"
        "try:\n"
        "    with open('/tmp/big', 'wb') as f:\n"
        "        while True: f.write(b'x' * (1 << 20))\n"
        "except OSError as e: print(errno.errorcode[e.errno])",
        disk_bytes=16 << 20,
    )
    assert outcome.said == "ENOSPC\n"
    assert outcome.usage.disk_exceeded


def test_tmp_home_and_shared_memory_share_one_limit(run_inside: RunInside) -> None:
    outcome = run_inside(
        "import os\n"
        "for path in ('/tmp/a', '/dev/shm/b', os.path.expanduser('~/c')):\n"
        "    try: open(path, 'wb').write(b'x' * (7 << 20)); print('kept')\n"
        "    except OSError: print('full')",
        disk_bytes=16 << 20,
    )
    assert outcome.said.split() == ["kept", "kept", "full"]


def test_flood_of_the_connection_folder_ends_the_run(
    run_inside: RunInside, connection_dir: Path
) -> None:
    outcome = run_inside(
        "import time, sys\n"
        f"open({str(connection_dir / 'big')!r}, 'wb').write(b'x' * (20 << 20)); time.sleep(30)"
    )
    assert outcome.usage.verdict is Verdict.DISK_EXCEEDED
    assert not list(connection_dir.iterdir())


def test_deep_folders_left_in_the_connection_folder_are_removed(
    run_inside: RunInside, connection_dir: Path
) -> None:
    (connection_dir / "kernel.json").write_text("{}")
    outcome = run_inside(
        f"import os\nos.chdir({str(connection_dir)!r})\n"
        "for _ in range(3000): os.mkdir('d'); os.chdir('d')"
    )
    assert outcome.code in (0, -9)
    assert [path.name for path in connection_dir.iterdir()] == ["kernel.json"]


def test_run_past_its_wall_time_is_timed_out(run_inside: RunInside) -> None:
    outcome = run_inside("import time; time.sleep(60)", wall_seconds=1)
    assert outcome.usage.verdict is Verdict.TIMED_OUT


def test_exit_code_and_signal_of_the_program_are_told(run_inside: RunInside) -> None:
    assert run_inside("raise SystemExit(7)").code == 7
    crashed = run_inside("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert crashed.code == -11
    assert crashed.usage.verdict is Verdict.EXITED


@pytest.mark.skipif(os.geteuid() != 0, reason="leases are root's")
def test_strangers_cannot_hold_the_uids_of_runs(run_inside: RunInside) -> None:
    # Names that anyone may bind would let a student's server stop all grading.
    outcome = run_inside("print(1)")
    folder = Path("/run/seodang-leases")
    assert outcome.code == 0
    assert folder.stat().st_uid == 0
    assert folder.stat().st_mode & 0o077 == 0


def test_two_runs_at_once_never_share_a_uid(connection_dir: Path) -> None:
    uids: list[str] = []

    def run(number: int) -> None:
        folder = connection_dir / str(number)
        folder.mkdir()
        process = DirectLauncher().launch(
            KernelRequest(
                argv=(
                    sys.executable,
                    "-I",
                    "-S",
                    "-c",
                    "import os, time; print(os.getuid()); time.sleep(2)",
                ),
                connection_dir=str(folder),
            )
        )
        process.wait(60)
        uids.append(process.usage().output_tail)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(uids)) == 8
