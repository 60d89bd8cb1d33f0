"""The provisioner under stock jupyter_client and stock nbclient, as users run them."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from lms.outposts.broker.processes import ProcessName
from lms.outposts.broker.zygotes import shared_zygote
from lms.outposts.kernels.open import OpenKernel, pool
from lms.outposts.kernels.provisioner import SandboxedKernel, ZygoteProvisioner
from tests.integration.broker.conftest import BrokerProcess, broker

pytestmark = [pytest.mark.kernel, pytest.mark.sandbox]
__all__ = ["broker"]

_SECONDS = 60
STOCK = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]


@pytest.fixture(autouse=True)
def empty_pool() -> Iterator[None]:
    shared_zygote.warm_up()
    yield
    pool.close()


def manager(**config: object) -> AsyncKernelManager:
    """Return a stock manager whose kernelspec names our provisioner."""
    metadata = {"kernel_provisioner": {"provisioner_name": "seodang-zygote", "config": config}}
    found = AsyncKernelManager(kernel_name="python3")
    found._kernel_spec = KernelSpec(
        argv=STOCK, language="python", display_name="fork", metadata=metadata
    )
    return found


async def say(client: Any, source: str) -> str:  # noqa: ANN401 - jupyter_client has no types
    """Execute a cell and return what it printed, or the name of its error."""
    request = client.execute(source)
    said = ""
    while True:
        message = await client.iopub_channel.get_msg(timeout=_SECONDS)
        content = message["content"]
        if message["parent_header"].get("msg_id") == request:
            said += str(content.get("text", "")) + str(content.get("ename", ""))
            if content.get("execution_state") == "idle":
                return said.strip()


async def started(found: AsyncKernelManager, **options: Any) -> Any:  # noqa: ANN401
    await found.start_kernel(**options)
    client = found.client()
    client.start_channels()
    await client.wait_for_ready(timeout=_SECONDS)
    return client


def kernel_of(found: AsyncKernelManager) -> Any:  # noqa: ANN401
    provisioner = found.provisioner
    assert isinstance(provisioner, ZygoteProvisioner)
    return provisioner.process


def test_a_kernel_lives_is_interrupted_restarted_and_gone(tmp_path: Path) -> None:
    async def story() -> None:
        found = manager(pool_size=0)
        client = await started(found, cwd=str(tmp_path), env={**os.environ, "GIVEN": "yes"})
        kernel = kernel_of(found)
        assert isinstance(kernel, OpenKernel)
        name = ProcessName.of(kernel.pid)
        assert name is not None
        said = await say(client, "import os; print(os.getcwd(), os.environ['GIVEN'], os.getuid())")
        assert said == f"{tmp_path} yes {os.getuid()}"
        request = asyncio.create_task(say(client, "import time; time.sleep(600)"))
        await asyncio.sleep(0.5)
        await found.interrupt_kernel()
        assert await request == "KeyboardInterrupt"
        await found.restart_kernel(now=True)
        await client.wait_for_ready(timeout=_SECONDS)
        assert await say(client, "print(6 * 7)") == "42"
        assert name.wait_for_end(10)
        second, folder = kernel_of(found), kernel_of(found).connection.folder
        client.stop_channels()
        await found.shutdown_kernel(now=True)
        assert not folder.exists()
        assert ProcessName.of(second.pid) is None
        assert found.has_kernel is False

    asyncio.run(story())


def test_a_hung_kernel_is_killed_with_its_children(tmp_path: Path) -> None:
    async def story() -> None:
        found = manager(pool_size=0)
        client = await started(found, cwd=str(tmp_path))
        pid = int(
            await say(
                client,
                "import os; a = os.fork()\nif a == 0: import time; time.sleep(600)\nprint(a)",
            )
        )
        child = ProcessName.of(pid)
        assert child is not None
        client.execute("import signal; signal.pthread_sigmask(0, range(1, 65))\nwhile True: pass")
        await asyncio.sleep(0.3)
        client.stop_channels()
        begin = time.monotonic()
        await found.shutdown_kernel(now=True)
        assert time.monotonic() - begin < 10
        assert child.wait_for_end(10)

    asyncio.run(story())


def test_an_end_is_noticed_at_once(tmp_path: Path) -> None:
    async def story() -> float:
        found = manager(pool_size=0)
        client = await started(found, cwd=str(tmp_path))
        provisioner = found.provisioner
        assert provisioner is not None
        ended = asyncio.create_task(provisioner.wait())
        await asyncio.sleep(0)
        client.execute("import os; os._exit(7)")
        begin = time.monotonic()
        assert await asyncio.wait_for(ended, _SECONDS) == 7
        client.stop_channels()
        await found.cleanup_resources()
        return time.monotonic() - begin

    assert asyncio.run(story()) < 10


def test_a_kernel_of_the_pool_becomes_what_is_asked(tmp_path: Path) -> None:
    async def story() -> None:
        pool.fill(1, dict(os.environ))
        assert pool.wait_until_started(_SECONDS)
        (waiting,) = pool.pids()
        found = manager(pool_size=1)
        client = await started(
            found, cwd=str(tmp_path), env={**os.environ, "JPY_SESSION_NAME": "n.ipynb"}
        )
        assert kernel_of(found).pid == waiting
        said = await say(client, "import os; print(os.getcwd(), __session__, os.getpid())")
        assert said == f"{tmp_path} n.ipynb {waiting}"
        # What it ran while it waited left no trace.
        said = await say(client, "print(In, Out, get_ipython().execution_count)")
        assert said.endswith("{} 3"), said
        assert said.startswith("['', 'import os;"), said
        # Another waits soon, in the background.
        end = time.monotonic() + _SECONDS
        while not pool.pids():
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
        assert waiting not in pool.pids()
        client.stop_channels()
        await found.shutdown_kernel(now=True)

    asyncio.run(story())


def test_a_dead_kernel_of_the_pool_is_passed_over(tmp_path: Path) -> None:
    async def story() -> None:
        pool.fill(1, dict(os.environ))
        assert pool.wait_until_started(_SECONDS)
        (waiting,) = pool.pids()
        name = ProcessName.of(waiting)
        assert name is not None
        name.send_signal(9)
        assert name.wait_for_end(10)
        found = manager(pool_size=1)
        client = await started(found, cwd=str(tmp_path))
        assert kernel_of(found).pid != waiting
        assert await say(client, "print(6 * 7)") == "42"
        client.stop_channels()
        await found.shutdown_kernel(now=True)

    asyncio.run(story())


def test_random_numbers_differ_between_kernels(tmp_path: Path) -> None:
    async def story() -> set[str]:
        drawn = set()
        for _ in range(2):
            found = manager(pool_size=0)
            client = await started(found, cwd=str(tmp_path))
            drawn.add(await say(client, "import numpy; print(numpy.random.rand())"))
            client.stop_channels()
            await found.shutdown_kernel(now=True)
        return drawn

    assert len(asyncio.run(story())) == 2


def test_a_kernelspec_of_another_interpreter_starts_the_stock_way(tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)

    async def story() -> None:
        found = manager()
        assert found.kernel_spec is not None
        found.kernel_spec.argv = [str(other), *STOCK[1:]]
        client = await started(found, cwd=str(tmp_path))
        assert isinstance(kernel_of(found), subprocess.Popen)
        assert await say(client, "print(6 * 7)") == "42"
        client.stop_channels()
        await found.shutdown_kernel(now=True)

    asyncio.run(story())


def install_spec(folder: Path, monkeypatch: pytest.MonkeyPatch, **config: object) -> None:
    """Put a kernelspec named `fork` where stock tools find it."""
    spec = folder / "kernels" / "fork"
    spec.mkdir(parents=True)
    metadata = {"kernel_provisioner": {"provisioner_name": "seodang-zygote", "config": config}}
    text = {"argv": STOCK, "display_name": "f", "language": "python", "metadata": metadata}
    (spec / "kernel.json").write_text(json.dumps(text))
    monkeypatch.setenv("JUPYTER_PATH", str(folder))


def test_stock_nbclient_runs_a_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_spec(tmp_path, monkeypatch, pool_size=0)
    notebook = new_notebook(
        cells=[
            new_code_cell("import numpy as np, os\nprint(os.getcwd())"),
            new_code_cell("np.arange(3).sum()"),
            new_code_cell("import matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()"),
            new_code_cell("1 / 0", metadata={"tags": ["raises-exception"]}),
        ]
    )
    NotebookClient(
        notebook, kernel_name="fork", timeout=_SECONDS, resources={"metadata": {"path": tmp_path}}
    ).execute()
    outputs = [cell.outputs for cell in notebook.cells]
    assert outputs[0][0].text.strip() == str(tmp_path)
    assert "3" in outputs[1][0].data["text/plain"]
    assert "image/png" in outputs[2][0].data
    assert outputs[3][0].ename == "ZeroDivisionError"
    nbformat.validate(notebook)


@pytest.mark.skipif(os.geteuid() != 0, reason="a sandbox with an own uid needs root")
def test_with_a_broker_the_kernel_is_in_its_sandbox(tmp_path: Path, broker: BrokerProcess) -> None:
    (tmp_path / "data.csv").write_text("1,2")

    async def story() -> None:
        found = manager(broker_socket=str(broker.socket))
        client = await started(found, cwd=str(tmp_path))
        kernel = kernel_of(found)
        assert isinstance(kernel, SandboxedKernel)
        said = await say(client, "import os; print(os.getuid() >= 300000, open('data.csv').read())")
        assert said == "True 1,2"
        await found.restart_kernel(now=True)
        await client.wait_for_ready(timeout=_SECONDS)
        assert await say(client, "print(6 * 7)") == "42"
        client.stop_channels()
        folder = kernel.connection.folder
        await found.shutdown_kernel(now=True)
        assert not folder.exists()

    asyncio.run(story())


def test_kernels_end_with_a_killed_owner(tmp_path: Path) -> None:
    source = (
        "import os, sys, time\n"
        "from lms.outposts.broker.zygotes import shared_zygote\n"
        "from lms.outposts.kernels.open import Connection, OpenKernel\n"
        "shared_zygote.warm_up()\n"
        "connection = Connection()\n"
        "kernel = OpenKernel(connection, dict(os.environ), sys.argv[1])\n"
        "kernel.start()\n"
        "print(kernel.pid, connection.folder, flush=True)\n"
        "time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", source, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        pid, folder = owner.stdout.readline().split()
        kernel = ProcessName.of(int(pid))
        assert kernel is not None
        owner.kill()
    assert kernel.wait_for_end(20)
    shutil.rmtree(folder)


def test_without_a_broker_a_kernel_called_python_needs_no_path(tmp_path: Path) -> None:
    async def story() -> None:
        found = manager(server_socket=str(tmp_path / "nobody.sock"))
        assert found.kernel_spec is not None
        found.kernel_spec.argv = ["python", *STOCK[1:]]
        client = await started(found, cwd=str(tmp_path), env={**os.environ, "PATH": "/nowhere"})
        assert isinstance(kernel_of(found), subprocess.Popen)
        assert await say(client, "import sys; print(sys.executable)") == sys.executable
        client.stop_channels()
        await found.shutdown_kernel(now=True)

    asyncio.run(story())
