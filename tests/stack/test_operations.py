"""What an operator relies on: start, stop, crash, restart, keep."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack import Stack, free_ports, running, start, wait_until, wait_until_well

pytestmark = pytest.mark.stack


def _processes_naming(folder: Path) -> list[str]:
    """Return the command lines and environments on this machine that name `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            text = command + (entry / "environ").read_bytes()
        except OSError:
            continue
        if os.fsencode(folder) in text:
            found.append(f"{entry.name} {command[:200]!r}")
    return found


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("operations") / "data") as stack:
        yield stack


def test_healthz_lists_every_part_once_all_work(stack: Stack) -> None:
    status, parts = stack.health()
    assert status == 200
    assert parts == dict.fromkeys(("database", "blobs", "hub", "worker", "sandbox"), True)


def test_credentials_are_for_the_operators_eyes_alone(stack: Stack) -> None:
    assert (stack.data / "credentials.txt").stat().st_mode & 0o777 == 0o600
    assert set(stack.passwords()) == {"admin", "teacher", "student"}
    for password in stack.passwords().values():
        assert password in stack.output.read_text()


def test_no_secret_stands_in_a_log(stack: Stack) -> None:
    secrets = [
        path.read_text().strip() for path in (stack.data / "keys").rglob("*") if path.is_file()
    ]
    secrets += stack.passwords().values()
    for log in (stack.data / "logs").glob("*.log"):
        text = log.read_text(errors="replace")
        assert not [secret for secret in secrets if secret in text], log.name


@pytest.mark.skipif(os.geteuid() != 0, reason="own uids need root")
def test_only_the_broker_keeps_root(stack: Stack) -> None:
    from lms.foundation.settings import Uids

    uids = Uids()
    seen: dict[int, list[str]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "environ").read_bytes() if entry.is_dir() else b""
                uid = entry.stat().st_uid
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if os.fsencode(stack.data) in text:
                seen.setdefault(uid, []).append(command)
    assert {uids.web, uids.hub, uids.worker, uids.proxy} <= set(seen)
    for command in seen.get(0, []):
        assert not any(word in command for word in ("gunicorn", "jupyterhub", "configurable"))


def test_status_command_says_the_same_as_healthz(stack: Stack) -> None:
    result = stack.lms("status")
    assert result.stdout.count(" ok") == 5


def test_hub_down_is_told_and_it_comes_back_alone(stack: Stack) -> None:
    web = stack.pid_of("web")
    os.kill(stack.pid_of("hub"), signal.SIGKILL)
    wait_until(lambda: stack.health()[1].get("hub") is False, 30, "the Hub to be reported down")
    assert stack.health()[0] == 503
    wait_until(lambda: stack.health()[0] == 200, 60, "the Hub to come back")
    assert stack.pid_of("web") == web


def test_second_system_in_the_same_folder_is_refused(stack: Stack) -> None:
    result = stack.lms("up", check=False)
    assert result.returncode != 0
    assert "already running" in result.stderr
    assert stack.health()[0] == 200


def test_backup_of_the_running_system_starts_again_elsewhere(stack: Stack, tmp_path: Path) -> None:
    archive = tmp_path / "backup.tar.gz"
    stack.lms("backup", str(archive))
    other = Stack(tmp_path / "restored", *free_ports(), stack.process, stack.output)
    assert "restored" in other.lms("restore", str(archive)).stdout
    restored = start(other.data, (other.lms_port, other.hub_port))
    try:
        wait_until_well(restored)
        # The accounts came along, so no new passwords were made.
        assert not (other.data / "credentials.txt").exists()
        people = restored.lms("person", "list", "--json").stdout
        assert people == stack.lms("person", "list", "--json").stdout
    finally:
        restored.stop()


def test_port_in_use_is_one_clear_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        stack = start(tmp_path / "data", (port, free_ports()[1]))
        assert stack.process.wait(60) != 0
    printed = stack.output.read_text()
    assert f"Port {port} is in use by another program" in printed
    assert "LMS_PORT" in printed
    assert "Traceback" not in printed


def test_interrupt_leaves_no_orphan_and_the_next_start_keeps_the_data(tmp_path: Path) -> None:
    stack = start(tmp_path / "data")
    wait_until_well(stack)
    passwords = stack.passwords()
    stack.lms("person", "add", "minseo", "--name", "김민서")
    printed = stack.stop()
    assert stack.process.returncode == 0, printed
    assert "Traceback" not in printed
    assert _processes_naming(tmp_path) == []

    again = start(stack.data, (stack.lms_port, stack.hub_port))
    wait_until_well(again)
    assert again.passwords() == passwords
    assert "minseo" in again.lms("person", "list").stdout
    # Killed without a word, it leaves its parts; the next start ends them and goes on.
    again.process.kill()
    again.process.wait()
    third = start(stack.data, (stack.lms_port, stack.hub_port))
    try:
        wait_until_well(third)
    finally:
        third.stop()
    assert _processes_naming(tmp_path) == []


def test_unknown_address_of_the_hub_is_refused_before_anything_starts(tmp_path: Path) -> None:
    lms_port, hub_port = free_ports()
    stack = start(
        tmp_path / "data", (lms_port, hub_port), {"HUB_URL": f"http://127.0.0.1:{hub_port}"}
    )
    assert stack.process.wait(60) == 2
    assert "two host names" in stack.output.read_text()


def test_bad_setting_is_one_sentence(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "lms.cli", "status"],
        env={**os.environ, "LMS_DATA": str(tmp_path), "LMS_PORT": "eighty"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert (
        result.stderr.strip()
        == "lms: LMS_PORT is eighty; it must be a whole number from 1 to 65533."
    )
