"""`lms bench kernel`: from a start to the first result, against stock on the same cores."""

import asyncio
import json
import os
import platform
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

from lms.cli.bench.machine import describe, machine
from lms.outposts.broker.launcher import DirectLauncher, KernelRequest, SandboxUnavailableError
from lms.outposts.broker.zygotes import ZygoteError, shared_zygote
from lms.outposts.kernels.open import pool
from lms.protocol.grading import Limits

_STOCK = (sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}")
_ANSWER_SECONDS = 120
#: What a zygote's descendants have used is counted when they have been reaped.
_SETTLE_SECONDS = 0.3
_POOL_SIZE = 2
_TICKS = os.sysconf("SC_CLK_TCK")
_UTIME, _CSTIME = 11, 15


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option(
    "--runs", default=20, show_default=True, type=click.IntRange(1, 1000), help="Of each kind."
)
def kernel(*, as_json: bool, runs: int) -> None:
    """Start kernels and run 1+1: a stock one, a cold fork and one of the pool, in turn.

    The same client waits for all of them, by the first message of the output channel instead of
    jupyter_client's fixed pause. Besides: the private memory of a kernel that waits, and the CPU
    time of an empty sandbox.
    """
    try:
        shared_zygote.warm_up()
        measured = asyncio.run(_measure(runs))
        sandbox = _sandbox_seconds(runs)
    except (ZygoteError, SandboxUnavailableError) as error:
        raise click.ClickException(f"{error}.") from error
    finally:
        pool.close()
    figures = _figures(measured, sandbox)
    facts = machine()
    if as_json:
        report = {"figures": figures, "machine": facts, "versions": _versions(facts)}
        click.echo(json.dumps(report, indent=2))
        return
    for figure in figures:
        click.echo(_line(figure))
    click.echo(describe(facts))


async def _measure(runs: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"stock": [], "cold": [], "pool": [], "memory": []}
    for _ in range(runs):
        for kind in ("stock", "cold", "pool"):
            if kind == "pool":
                pool.fill(_POOL_SIZE, dict(os.environ))  # noqa: TID251 - what a server would do
                if not await asyncio.to_thread(pool.wait_until_started, _ANSWER_SECONDS):
                    raise ZygoteError("no kernel of the pool became ready")
            seconds, memory = await _first_result(kind)
            found[kind].append(seconds)
            if kind == "pool":
                found["memory"].append(memory)
    return found


async def _first_result(kind: str) -> tuple[float, float]:
    """Return the seconds from a start to the first result, and the kernel's private megabytes."""
    manager = _manager(kind)
    begin = time.perf_counter()
    await manager.start_kernel()
    client = manager.client()
    client.start_channels(stdin=False, hb=False)
    try:
        await _until(client, "iopub_welcome")
        client.execute("1+1")
        result = await _until(client, "execute_result")
        seconds = time.perf_counter() - begin
        if result["content"]["data"]["text/plain"] != "2":
            raise click.ClickException("A kernel cannot add.")
        client.execute("import numpy, pandas; print(numpy.__name__)")
        await _until(client, "stream")
        provisioner: Any = manager.provisioner
        return seconds, _private_megabytes(provisioner.pid)
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(now=True)


async def _until(client: Any, kind: str) -> dict[str, Any]:  # noqa: ANN401 - jupyter_client has no types
    while True:
        message: dict[str, Any] = await client.iopub_channel.get_msg(timeout=_ANSWER_SECONDS)
        if message["msg_type"] == kind:
            return message


def _manager(kind: str) -> AsyncKernelManager:
    manager = AsyncKernelManager(kernel_name="python3")
    metadata: dict[str, Any] = {}
    if kind == "stock":
        manager.transport = "ipc"
    else:
        size = _POOL_SIZE if kind == "pool" else 0
        metadata = {
            "kernel_provisioner": {
                "provisioner_name": "seodang-zygote",
                "config": {"pool_size": size, "wait_seconds": _ANSWER_SECONDS},
            }
        }
    manager._kernel_spec = KernelSpec(  # noqa: SLF001 - a kernelspec without a folder
        argv=list(_STOCK), language="python", display_name=kind, metadata=metadata
    )
    return manager


def _private_megabytes(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    private = [int(line.split()[1]) for line in lines if line.startswith("Private_")]
    return sum(private) / 1024


def _sandbox_seconds(runs: int) -> float:
    """Return the CPU seconds of one empty sandbox: started, ready for cells, and ended."""
    _run_empty()
    time.sleep(_SETTLE_SECONDS)
    begin = _used_seconds()
    for _ in range(runs):
        _run_empty()
    time.sleep(_SETTLE_SECONDS)
    return (_used_seconds() - begin) / runs


def _run_empty() -> None:
    with tempfile.TemporaryDirectory(prefix="k-") as folder, _channel() as (ours, theirs):
        request = KernelRequest(
            program="cells", argv=("cells",), connection_dir=folder, limits=Limits()
        )
        process = DirectLauncher().launch(request, theirs)
        ours.settimeout(_ANSWER_SECONDS)
        ours.recv(1)
        process.kill()
        process.wait(_ANSWER_SECONDS)


@contextmanager
def _channel() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def _used_seconds() -> float:
    """Return what this process, the nursery, the zygote and all they have reaped have used."""
    nursery = shared_zygote.pid or 0
    children = Path(f"/proc/{nursery}/task/{nursery}/children").read_text(encoding="ascii")
    own = time.process_time()
    return own + sum(_process_seconds(pid) for pid in (nursery, *map(int, children.split())))


def _process_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return sum(int(field) for field in fields[_UTIME:_CSTIME]) / _TICKS


def _figures(measured: dict[str, list[float]], sandbox: float) -> list[dict[str, Any]]:
    stock = measured["stock"]
    return [
        _figure("cold_fork_seconds", measured["cold"], stock),
        _figure("pool_seconds", measured["pool"], stock),
        _figure("idle_private_megabytes", measured["memory"], None, unit="MB"),
        _figure("empty_sandbox_cpu_seconds", [sandbox], None),
    ]


def _figure(
    name: str, values: list[float], peer: list[float] | None, *, unit: str = "s"
) -> dict[str, Any]:
    value = statistics.median(values)
    against = None if peer is None else statistics.median(peer)
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "low": min(values),
        "high": max(values),
        "peer": None if peer is None else "stock",
        "peer_value": against,
        "peer_low": None if peer is None else min(peer),
        "peer_high": None if peer is None else max(peer),
        "ratio": None if against is None else against / value,
        "runs": len(values),
    }


def _versions(facts: dict[str, object]) -> dict[str, object]:
    versions = facts.get("versions")
    named = dict(versions) if isinstance(versions, dict) else {}
    return {"python": platform.python_version(), **named}


def _line(figure: dict[str, Any]) -> str:
    text = (
        f"{figure['name']:28} {figure['value']:.4f} {figure['unit']} "
        f"({figure['low']:.4f} to {figure['high']:.4f})"
    )
    if figure["peer"] is None:
        return text
    return f"{text}, stock {figure['peer_value']:.4f} {figure['unit']}: {figure['ratio']:.1f} times"
