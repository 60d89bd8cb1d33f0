"""Kernels that are jobs of a real Slurm, with simulated GPUs: ipc, CurveZMQ, restart, loss."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from lms.outposts.kernels import slurm_jobs
from lms.outposts.kernels.srun import LEASE_VARIABLE, KernelRefusedError
from tests.fakes.slurm import Slurm

pytestmark = pytest.mark.kernel


def _specs(folder: Path, slurm: Slurm, **config: object) -> KernelSpecManager:
    spec = {
        "argv": [
            sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}",
            "--HistoryManager.hist_file=:memory:",
        ],
        "display_name": "GPU",
        "language": "python",
        "metadata": {
            "kernel_provisioner": {
                "provisioner_name": "seodang-srun",
                "config": {"munge_socket": str(slurm.munge_socket), "minutes": 5, **config},
            }
        },
    }  # fmt: skip
    (folder / "gpu").mkdir(parents=True)
    (folder / "gpu" / "kernel.json").write_text(json.dumps(spec))
    return KernelSpecManager(kernel_dirs=[str(folder)], ensure_native_kernel=False)


@contextmanager
def _kernel(
    folder: Path, slurm: Slurm, lease: str = "lease1", **config: object
) -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    manager = KernelManager(
        kernel_name="gpu",
        kernel_spec_manager=_specs(folder / "kernels", slurm, **config),
        connection_file=str(folder / "connection.json"),
    )
    env = {**os.environ, LEASE_VARIABLE: lease, "SECRET": "only the kernel's"}
    manager.start_kernel(env=env, cwd=str(folder))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        yield manager, client
    finally:
        client.stop_channels()
        if manager.has_kernel:
            manager.shutdown_kernel(now=True)


def _run(client: BlockingKernelClient, source: str) -> str:
    printed: list[str] = []

    def take(message: dict[str, Any]) -> None:
        content = message["content"]
        printed.append(content.get("text") or content.get("evalue") or "")

    client.execute_interactive(source, timeout=60, output_hook=take)
    return "".join(printed)


def _until(done: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


_SHOW = """
import json, os
file = get_ipython().kernel.config.IPKernelApp.connection_file
from pathlib import Path
print(json.dumps({
    "devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
    "secret": os.environ["SECRET"],
    "cwd": os.getcwd(),
    "connection": json.loads(Path(file).read_text()),
}))
"""


def test_a_kernel_is_a_job_that_holds_its_gpu_and_ends_with_it(
    slurm: Slurm, tmp_path: Path
) -> None:
    with _kernel(tmp_path, slurm, gpus=1) as (manager, client):
        (job,) = slurm_jobs.list_kernel_jobs()
        assert (job.lease, job.state) == ("lease1", "RUNNING")
        shown = slurm.run("scontrol", "show", "job", job.id)
        assert "gres/gpu=1" in shown
        assert "TimeLimit=00:05:00" in shown
        seen = json.loads(_run(client, _SHOW))
        assert seen["devices"] in {"0", "1", "2", "3"}
        assert seen["secret"] == "only the kernel's"
        assert seen["cwd"] == str(tmp_path)
        # This node is this machine.
        assert seen["connection"]["transport"] == "ipc"
        manager.shutdown_kernel()
    _until(lambda: not slurm_jobs.list_kernel_jobs(), 10)


def test_another_node_is_reached_encrypted_and_asks_for_input(slurm: Slurm, tmp_path: Path) -> None:
    with _kernel(tmp_path, slurm, transport="tcp") as (_, client):
        connection = json.loads(_run(client, _SHOW))["connection"]
        assert connection["transport"] == "tcp"
        assert len(connection["curve_secretkey"]) == 40
        answered: list[object] = []

        def answer(message: dict[str, Any]) -> None:
            answered.append(message["content"]["prompt"])
            client.input("42")

        client.execute_interactive("x = int(input('n? '))", stdin_hook=answer, timeout=30)
        assert answered == ["n? "]
        assert _run(client, "print(x)") == "42\n"
        # Somebody on the network who knows no key hears and does nothing.
        assert _overheard(connection) == []


def _overheard(connection: dict[str, Any]) -> list[bytes]:
    import zmq

    with zmq.Context() as context, context.socket(zmq.SUB) as spy:
        spy.subscribe(b"")
        spy.linger = 0
        spy.connect(f"tcp://{connection['ip']}:{connection['iopub_port']}")
        return spy.recv_multipart() if spy.poll(700) else []


def test_an_interrupt_and_a_restart_keep_the_job(slurm: Slurm, tmp_path: Path) -> None:
    with _kernel(tmp_path, slurm) as (manager, client):
        message = client.execute("import time; x = 1; time.sleep(60)")
        _until(lambda: client.get_iopub_msg(timeout=30)["msg_type"] == "execute_input")
        manager.interrupt_kernel()
        assert client._recv_reply(message, timeout=20)["content"]["ename"] == "KeyboardInterrupt"
        (before,) = slurm_jobs.list_kernel_jobs()
        manager.restart_kernel(now=True)
        client.wait_for_ready(timeout=60)
        assert "not defined" in _run(client, "x")
        (after,) = slurm_jobs.list_kernel_jobs()
        assert after.id == before.id


def test_a_lost_node_is_told_in_the_cell_and_the_next_kernel_is_found(
    slurm: Slurm, tmp_path: Path
) -> None:
    with _kernel(tmp_path, slurm, lost_seconds=6.0) as (manager, client):
        client.execute("import time; time.sleep(60)")
        _until(lambda: client.get_iopub_msg(timeout=30)["msg_type"] == "execute_input")
        (job,) = slurm_jobs.list_kernel_jobs()
        _kill_steps(slurm, job.id)
        told = client.get_iopub_msg(timeout=30)
        assert told["parent_header"]["msg_type"] == "execute_request"
        assert told["content"]["name"] == "stderr"
        for words in (
            f"노드({job.node})를 잃었어요",
            f"The node {job.node} of this kernel was lost",
        ):
            assert words in told["content"]["text"]
        _until(lambda: not manager.is_alive())
        # As jupyter_client's restarter does.
        manager.restart_kernel(now=True)
        client.wait_for_ready(timeout=60)
        assert _run(client, "print(6 * 7)") == "42\n"
        (other,) = slurm_jobs.list_kernel_jobs()
        assert other.id != job.id


def _kill_steps(slurm: Slurm, job_id: str) -> None:
    """Kill the node's side of the job as a power cut would."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            environment = (folder / "environ").read_bytes()
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        is_step = command.startswith(f"slurmstepd: [{job_id}.".encode())
        is_inside = f"SLURM_JOB_ID={job_id}\0".encode() in environment
        if is_step or is_inside:
            os.kill(int(folder.name), signal.SIGKILL)


_SERVER = """
import sys, time
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager
specs = KernelSpecManager(kernel_dirs=[sys.argv[1]], ensure_native_kernel=False)
KernelManager(kernel_name="gpu", kernel_spec_manager=specs).start_kernel()
print("started", flush=True)
time.sleep(600)
"""


def test_a_killed_server_leaves_no_job(slurm: Slurm, tmp_path: Path) -> None:
    _specs(tmp_path / "kernels", slurm, gpus=1)
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(tmp_path / "kernels")], stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    with server.stdout:
        assert server.stdout.readline() == b"started\n"
        (job,) = slurm_jobs.list_kernel_jobs()
        assert not slurm_jobs.is_orphan(job.mark)
        server.kill()
        server.wait()
    assert slurm_jobs.is_orphan(job.mark)
    _until(lambda: not slurm_jobs.list_kernel_jobs(), 15)


def test_a_killed_srun_leaves_no_job_that_holds_a_gpu(slurm: Slurm, tmp_path: Path) -> None:
    with _kernel(tmp_path, slurm, gpus=1) as (manager, _):
        os.kill(cast("Any", manager.provisioner)._step._srun.pid, signal.SIGKILL)
        _until(lambda: not manager.is_alive())
        _until(lambda: not slurm_jobs.list_kernel_jobs(), 15)


def test_jobs_without_a_lease_or_a_server_are_found_and_ended(slurm: Slurm, tmp_path: Path) -> None:
    # No process of that number and start.
    dead = f"{slurm_jobs.own_mark().rpartition(':')[0]}:1"
    for lease, mark in (("kept", slurm_jobs.own_mark()), ("gone", dead), ("other", "x:1:2:3")):
        name = f"--job-name={slurm_jobs.PREFIX}{lease}"
        slurm.run("sbatch", name, f"--comment={mark}", "--output=/dev/null", "--wrap=sleep 300")
    _until(lambda: len(slurm_jobs.list_kernel_jobs()) == 3)
    assert [job.lease for job in slurm_jobs.cancel_orphans()] == ["gone"]
    _until(lambda: len(slurm_jobs.list_kernel_jobs()) == 2)
    assert [job.lease for job in slurm_jobs.reconcile(["kept"])] == ["other"]
    _until(lambda: [job.lease for job in slurm_jobs.list_kernel_jobs()] == ["kept"])


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"partition": "gpu-a100"}, "no partition"),
        ({"gpus": 1, "gres": "gpu:h900"}, "no GPU|No node"),
        ({"gpus": 90}, "No node"),
    ],
)
def test_a_gpu_or_partition_that_is_not_there_is_told_in_one_sentence(
    slurm: Slurm, tmp_path: Path, config: dict[str, Any], said: str
) -> None:
    with (
        pytest.raises(KernelRefusedError, match=said) as raised,
        _kernel(tmp_path, slurm, **config),
    ):
        pass
    assert "클러스터에 없어요" in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert not slurm_jobs.list_kernel_jobs()


def test_no_place_in_time_says_why_and_leaves_no_job(slurm: Slurm, tmp_path: Path) -> None:
    slurm.run(
        "sbatch",
        "--gres=gpu:4",
        "--exclusive",
        "--nodes=4",
        "--output=/dev/null",
        "--wrap=sleep 300",
    )
    _until(lambda: len(slurm.jobs()) == 1)
    started = pytest.raises(RuntimeError, match=r"no place for this kernel yet \((Resources|Prio)")
    with started, _kernel(tmp_path, slurm, gpus=1, queue_seconds=3.0):
        pass
    _until(lambda: not slurm_jobs.list_kernel_jobs(), 10)
