"""`lms bench spawn`: notebook servers by stock JupyterHub and by ours, in turn, in one run."""

import asyncio
import json
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import requests
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from lms.cli.bench.machine import describe, machine
from lms.cli.bench.spawn_hubs import Hub, our_hub, stock_hub
from lms.cli.bench.spawn_page import MISSING, Seen, find_chromium, put_notebook, visit

_CELL_SECONDS = 120
_SETTLE_SECONDS = 0.5
_GIGABYTE = 1 << 30
#: What a browser adds: the figure's name, where it stands, its unit.
_SEEN = (
    ("click_to_first_cell_in_page", "total", "s"),
    ("page_share", "page", "s"),
    ("page_bytes", "weight", "bytes"),
    ("page_requests", "requests", "requests"),
    ("page_again", "again", "s"),
    ("page_again_bytes", "again_weight", "bytes"),
    ("page_again_requests", "again_requests", "requests"),
)
_LIBRARIES = "import numpy, pandas; print(numpy.array([1, 2]).sum())"


@dataclass
class Measured:
    """What the servers of one Hub took; seconds and bytes."""

    ready: list[float] = field(default_factory=list)
    first_cell: list[float] = field(default_factory=list)
    private: list[float] = field(default_factory=list)
    private_libraries: list[float] = field(default_factory=list)
    #: What a browser saw; empty where there is none.
    seen: Seen = field(default_factory=Seen)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option("--runs", default=5, show_default=True, type=click.IntRange(1, 50), help="Of each.")
def spawn(*, as_json: bool, runs: int) -> None:
    """Start servers by SimpleLocalProcessSpawner and by our zygote spawner, in turn.

    Each behind a real Hub and proxy: seconds until the Hub says ready, private memory of server
    and kernel after one cell, seconds from the click to the first cell's result: without a page,
    and in a Chromium, whose share is told by itself. Needs root, since limits and own users are on;
    a server without its limits ends the measurement.
    """
    if os.geteuid() != 0:
        raise click.ClickException("Servers have their limits only where the broker runs as root.")
    stock, ours = Measured(), Measured()
    chromium = find_chromium()
    with (
        tempfile.TemporaryDirectory(prefix="s-") as one,
        tempfile.TemporaryDirectory(prefix="s-") as two,
    ):
        for folder in (one, two):
            Path(folder).chmod(0o711)
        with stock_hub(Path(one)) as peer, our_hub(Path(two)) as hub:
            _measure(hub, Measured(), 0)  # the zygotes have started after this
            for number in range(1, runs + 1):
                _alternate(((peer, stock), (hub, ours)), number, chromium)
    if not len(stock.ready) == len(ours.ready) == runs:
        raise click.ClickException("Fewer servers were started than said.")
    figures, facts = _figures(ours, stock), machine()
    if as_json:
        report: dict[str, Any] = {
            "figures": figures,
            "machine": facts,
            "versions": facts.get("versions", {}),
        }
        report["missing"] = MISSING if chromium is None else ""
        click.echo(json.dumps(report, indent=2))
        return
    for figure in figures:
        click.echo(_line(figure))
    if chromium is None:
        click.echo(MISSING)
    click.echo(describe(facts))


def _alternate(sides: tuple[tuple[Hub, Measured], ...], number: int, chromium: str | None) -> None:
    for hub, into in sides:
        _measure(hub, into, number)
        if chromium is not None:
            visit(chromium, hub, f"user-{number}", into.seen, into.first_cell[-1])
            hub.stop(f"user-{number}")


def _measure(hub: Hub, into: Measured, number: int) -> None:
    name = f"user-{number}"
    hub.add_user(name)
    begin = time.perf_counter()
    into.ready.append(hub.start(name))
    result = asyncio.run(_run_cells(hub, name, start_kernel(hub, name), into, begin))
    if result != "3":
        raise click.ClickException(f"A cell of {name} printed {result[:100]}.")
    put_notebook(hub, name)
    hub.stop(name)


def start_kernel(hub: Hub, name: str) -> str:
    """Start a kernel and return the address of its channels."""
    url = f"{hub.url}/user/{name}/api/kernels"
    answer = requests.post(url, json={}, headers=hub.headers, timeout=_CELL_SECONDS)
    return f"{url}/{answer.json()['id']}/channels".replace("http:", "ws:", 1)


async def _run_cells(hub: Hub, name: str, channels: str, into: Measured, begin: float) -> str:
    line = await websocket_connect(HTTPRequest(channels, headers=hub.headers))
    await _run_cell(line, "print(1 + 1)")
    into.first_cell.append(time.perf_counter() - begin)
    await asyncio.sleep(_SETTLE_SECONDS)
    pids = _processes_of(hub, name)
    into.private.append(_private_bytes(pids))
    said = await _run_cell(line, _LIBRARIES)
    await asyncio.sleep(_SETTLE_SECONDS)
    into.private_libraries.append(_private_bytes(pids))
    line.close()
    return said


async def run_cell(hub: Hub, channels: str, source: str) -> str:
    """Run a cell in the kernel behind `channels` and return what it printed."""
    line = await websocket_connect(HTTPRequest(channels, headers=hub.headers))
    try:
        return await _run_cell(line, source)
    finally:
        line.close()
        while await line.read_message() is not None:
            pass


async def _run_cell(line: WebSocketClientConnection, source: str) -> str:
    header = {"msg_id": source, "msg_type": "execute_request", "session": "s", "version": "5.3"}
    content = {"code": source, "silent": False, "store_history": False, "allow_stdin": False}
    message = {"header": header, "parent_header": {}, "metadata": {}, "channel": "shell"}
    await line.write_message(json.dumps(message | {"content": content}))
    printed = ""
    async with asyncio.timeout(_CELL_SECONDS):
        while True:
            reply = json.loads(await line.read_message() or "{}")
            if reply.get("parent_header", {}).get("msg_id") != source:
                continue
            printed += str(reply["content"].get("text", ""))
            if reply["content"].get("execution_state") == "idle":
                return printed.strip()


def _processes_of(hub: Hub, name: str) -> list[int]:
    """Return a server's processes, its keepers included; raises when it lacks a limit."""
    if hub.state_dir is None:
        servers = [pid for pid in _children_of(os.getpid()) if f"/user/{name}/" in _words(pid)]
        return [pid for server in servers[:1] for pid in [server, *_children_of(server)]]
    state = json.loads((hub.state_dir / f"{name}~.json").read_text(encoding="utf-8"))
    pids = [int(state["pid"]), int(state["first"])]
    owned = [pid for pid in _all_pids() if Path(f"/proc/{pid}").stat().st_uid == state["uid"]]
    for pid in owned:
        _check_limits(pid)
    for path in (hub.state_dir / "kernels").glob("*.json"):
        kernel = json.loads(path.read_text(encoding="utf-8"))
        pids += [kernel["pid"]] if kernel["uid"] == state["uid"] else []
    names = {Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() for pid in owned}
    if not {"seodang-server", "seodang-kernel"} <= names:
        raise click.ClickException(f"The server of {name} or its kernel is no fork: {names}.")
    return [*pids, *owned]


def _check_limits(pid: int) -> None:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    groups = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8")
    if "Seccomp:\t2" not in status or "NoNewPrivs:\t1" not in status or "/seodang/" not in groups:
        raise click.ClickException("A server runs without its limits; nothing is compared.")


def _words(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/environ").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _children_of(pid: int) -> list[int]:
    """Return everything that descends from a process."""
    found = []
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return []
    for child in map(int, children):
        found += [child, *_children_of(child)]
    return found


def _private_bytes(pids: list[int]) -> float:
    total = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
    return total << 10


def _figures(ours: Measured, stock: Measured) -> list[dict[str, Any]]:
    figures = [
        _figure("time_to_ready", ours.ready, stock.ready, "s"),
        _figure("private_memory", ours.private, stock.private, "bytes"),
        _figure(
            "private_memory_libraries", ours.private_libraries, stock.private_libraries, "bytes"
        ),
        _figure("click_to_first_cell", ours.first_cell, stock.first_cell, "s"),
        _figure("users_per_gigabyte", _users(ours), _users(stock), "users"),
    ]
    if ours.seen.total:
        figures += [
            _figure(name, getattr(ours.seen, part), getattr(stock.seen, part), unit)
            for name, part, unit in _SEEN
        ]
    return figures


def _users(measured: Measured) -> list[float]:
    """Return how many more a gigabyte holds, each with a kernel that has imported libraries.

    What all of them share, the zygotes or the libraries' files, is there already.
    """
    return [_GIGABYTE / private for private in measured.private_libraries]


def _figure(name: str, values: list[float], peer: list[float], unit: str) -> dict[str, Any]:
    value, against = statistics.median(values), statistics.median(peer)
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "low": min(values),
        "high": max(values),
        "peer": "SimpleLocalProcessSpawner",
        "peer_value": against,
        "peer_low": min(peer),
        "peer_high": max(peer),
        # Of each alternation, since the machine may be busier in one than in another.
        "ratio": statistics.median(
            mine / theirs if unit == "users" else theirs / mine
            for mine, theirs in zip(values, peer, strict=True)
        ),
        "alternations": len(values),
    }


def _line(figure: dict[str, Any]) -> str:
    scale = 1 << 20 if figure["unit"] == "bytes" else 1
    unit = "MB" if figure["unit"] == "bytes" else figure["unit"]
    ours, low, high, peer, peer_low, peer_high = (
        figure[key] / scale
        for key in ("value", "low", "high", "peer_value", "peer_low", "peer_high")
    )
    return (
        f"{figure['name']:28} {ours:8.2f} {unit} ({low:.2f}-{high:.2f})"
        f"   stock {peer:8.2f} ({peer_low:.2f}-{peer_high:.2f})   {figure['ratio']:.1f}x better"
    )
