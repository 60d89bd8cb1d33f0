"""What every kernel launcher owes its caller: run on this process's own and on the broker's."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

from lms.outposts.broker.launcher import (
    BrokerLauncher,
    DirectLauncher,
    KernelLauncher,
    KernelRequest,
    SandboxUnavailableError,
    Verdict,
)
from lms.protocol.grading import Limits
from tests.integration.broker.conftest import broker, connection_dir

pytestmark = pytest.mark.sandbox
__all__ = ["broker", "connection_dir"]


@pytest.fixture(params=["direct", "broker"])
def launcher(request: pytest.FixtureRequest) -> KernelLauncher:
    if request.param == "direct":
        return DirectLauncher()
    return BrokerLauncher(request.getfixturevalue("broker").socket)


def python(source: str, folder: Path, *, files: Path | None = None) -> KernelRequest:
    return KernelRequest(
        argv=(sys.executable, "-c", source),
        env={"GIVEN": "yes", "HOME": "/etc"},
        connection_dir=str(folder),
        files_dir=None if files is None else str(files),
        limits=Limits(memory_bytes=512 << 20),
    )


@pytest.mark.kernel
def test_real_kernel_answers_is_interrupted_and_ends(
    launcher: KernelLauncher, connection_dir: Path
) -> None:
    path, _ = write_connection_file(
        str(connection_dir / "kernel.json"),
        ip=str(connection_dir / "k"),
        transport="ipc",
        shell_port=1,
        iopub_port=2,
        stdin_port=3,
        hb_port=4,
        control_port=5,
        key=b"secret",
    )
    process = launcher.launch(
        KernelRequest(
            argv=(sys.executable, "-m", "ipykernel_launcher", "-f", path),
            connection_dir=str(connection_dir),
        )
    )
    client = BlockingKernelClient(connection_file=path)
    client.load_connection_file()
    # The client gives up on a kernel that is silent for a second, which a busy machine may need.
    end = time.monotonic() + 60
    while len(list(connection_dir.glob("k-*"))) < 5 and time.monotonic() < end:
        time.sleep(0.02)
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        assert client.execute("1 + 1", reply=True, timeout=30)["content"]["status"] == "ok"
        client.execute("import time; time.sleep(60)")
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert client.get_shell_msg(timeout=30)["content"]["ename"] == "KeyboardInterrupt"
        assert process.poll() is None
    finally:
        client.stop_channels()
        client.context.destroy(0)
    process.kill()
    assert process.wait(10) == -signal.SIGKILL
    assert process.usage().verdict is Verdict.KILLED
    assert process.usage().memory_peak_bytes > 0
    assert [entry.name for entry in connection_dir.iterdir()] == ["kernel.json"]


def test_program_gets_its_variables_and_the_sandbox_keeps_its_own(
    launcher: KernelLauncher, connection_dir: Path
) -> None:
    source = "import os, json; print(json.dumps([os.environ['GIVEN'], os.environ['HOME']]))"
    process = launcher.launch(python(source, connection_dir))
    assert process.wait(30) == 0
    assert json.loads(process.usage().output_tail) == ["yes", "/home/student"]


def test_files_are_where_the_program_starts(
    launcher: KernelLauncher, connection_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("1")
    process = launcher.launch(python("print(open('a.csv').read())", connection_dir, files=tmp_path))
    assert process.wait(30) == 0
    assert process.usage().output_tail == "1\n"


def test_wait_that_runs_out_leaves_it_running(
    launcher: KernelLauncher, connection_dir: Path
) -> None:
    process = launcher.launch(python("import time; time.sleep(600)", connection_dir))
    with pytest.raises(TimeoutError):
        process.wait(0.2)
    assert process.poll() is None
    assert process.usage().verdict is None
    process.kill()
    assert process.wait(10) == -signal.SIGKILL
    assert process.poll() == -signal.SIGKILL
    process.kill()  # twice is harmless
    process.send_signal(signal.SIGINT)


def test_program_that_does_not_exist_is_said_at_launch(
    launcher: KernelLauncher, connection_dir: Path
) -> None:
    request = KernelRequest(argv=("/usr/bin/no-such",), connection_dir=str(connection_dir))
    with pytest.raises(SandboxUnavailableError, match="No such file"):
        launcher.launch(request)


@pytest.mark.skipif(os.geteuid() != 0, reason="as an ordinary user every folder is one's own")
def test_connection_folder_of_somebody_else_is_refused(
    launcher: KernelLauncher, connection_dir: Path
) -> None:
    os.chown(connection_dir, 200_001, 200_001)
    with pytest.raises(SandboxUnavailableError, match="belongs to uid 200001"):
        launcher.launch(python("print(1)", connection_dir))


def test_connection_folder_behind_a_link_is_refused(
    launcher: KernelLauncher, connection_dir: Path, tmp_path: Path
) -> None:
    (connection_dir / "link").symlink_to(tmp_path)
    with pytest.raises(SandboxUnavailableError):
        launcher.launch(python("print(1)", connection_dir / "link"))
