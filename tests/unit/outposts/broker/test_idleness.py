"""How long a leased kernel has not computed: by its control group, and by the GPU's driver."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from lms.outposts.broker import cgroups
from lms.outposts.broker.cgroups import NO_CGROUPS, Hierarchy
from lms.outposts.broker.gpu_use import GpuUse
from lms.outposts.broker.idleness import Idleness
from lms.outposts.broker.processes import ProcessName
from lms.outposts.broker.server_kernels import Record
from tests.fakes.nvml import Card, FakeNvml

_SERVER = 41


def record(first: int) -> Record:
    return Record(
        keeper=ProcessName(77, 5), first=first, uid=240_001, user="a", home="/", processes=9,
        output="", lease="one", server=_SERVER, started_at=0.0, first_started=0, mounts=[],
    )  # fmt: skip


@pytest.fixture
def hierarchy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the group of a kernel on a machine with version 2."""
    folder = tmp_path / f"{_SERVER}-240001" / "kernel-77"
    folder.mkdir(parents=True)
    (folder / "cgroup.procs").write_text("500\n501\n")
    found = Hierarchy("v2", {"memory": str(tmp_path), "pids": str(tmp_path)})
    monkeypatch.setattr(cgroups, "detect", lambda: found)
    return folder


def test_a_group_s_processor_time_tells_who_computes(hierarchy: Path) -> None:
    idleness, kernel = Idleness(), record(500)

    def look(at: float, used: int) -> float | None:
        (hierarchy / "cpu.stat").write_text(f"usage_usec {used}\nuser_usec 1\n")
        return idleness.look([kernel], at)[500]

    assert look(100, 9_000_000) is None  # nobody knows what was before
    assert look(110, 9_100_000) is None
    assert look(112, 10_500_000) == 0
    assert look(112.1, 10_500_000) == pytest.approx(0.1)
    assert look(122, 10_600_000) == 10
    assert look(142, 11_500_000) == 30
    assert look(143, 11_600_000) == 0
    assert idleness.look([], 150) == {}
    assert look(160, 99_000_000) is None


def test_whoever_the_gpu_computes_for_is_busy(hierarchy: Path) -> None:
    (hierarchy / "cpu.stat").write_text("usage_usec 5\n")
    idleness = Idleness(lambda: {501})
    assert idleness.look([record(500)], 10) == {500: 0}
    assert Idleness(lambda: {502}).look([record(500)], 10) == {500: None}


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """A process that computes whenever it is told to, on a machine without groups."""
    monkeypatch.setattr(cgroups, "detect", lambda: NO_CGROUPS)
    source = (
        "import sys, time\n"
        "for line in sys.stdin:\n"
        "    end = time.process_time() + float(line)\n"
        "    while time.process_time() < end: pass\n"
        "    print('done', flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", source],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def test_without_groups_the_kernel_s_own_time_tells(worker: "subprocess.Popen[str]") -> None:
    assert worker.stdin
    assert worker.stdout
    idleness, kernel = Idleness(), record(worker.pid)
    worker.stdin.write("0.01\n")
    worker.stdin.flush()
    worker.stdout.readline()
    began = time.monotonic()
    assert idleness.look([kernel], began) == {worker.pid: None}
    worker.stdin.write("0.2\n")
    worker.stdin.flush()
    worker.stdout.readline()
    # As if a second had passed, however long it took.
    assert idleness.look([kernel], began + 1) == {worker.pid: 0}
    assert idleness.look([kernel], began + 31) == {worker.pid: 30}


def test_the_driver_s_new_samples_tell_of_processes() -> None:
    card = Card(uuid="GPU-a", samples=[SimpleNamespace(pid=7, timeStamp=100, smUtil=90)])
    cut = Card(uuid="GPU-b", parts=[])
    nvml, use = FakeNvml([card, cut, Card(uuid="GPU-c", broken=True)]), GpuUse()
    assert use.ask(nvml) == set()  # it may be from long ago
    assert use.ask(nvml) == set()
    card.samples.append(SimpleNamespace(pid=8, timeStamp=120, smUtil=0))
    card.samples.append(SimpleNamespace(pid=9, timeStamp=130, smUtil=3))
    assert use.ask(nvml) == {9}
    assert use.ask(nvml) == set()


def test_the_library_is_asked_by_a_thread_and_its_last_answer_kept() -> None:
    card = Card(uuid="GPU-a", samples=[SimpleNamespace(pid=7, timeStamp=100, smUtil=90)])
    use = GpuUse(lambda: FakeNvml([card]), seconds=0.01)
    assert use.busy_pids() == set()
    end = time.monotonic() + 10
    number = 101
    while use.busy_pids() != {7}:
        assert time.monotonic() < end
        number += 1
        card.samples.append(SimpleNamespace(pid=7, timeStamp=number, smUtil=90))
        time.sleep(0.005)
    assert GpuUse(lambda: FakeNvml(fails="no driver")).busy_pids() == set()
