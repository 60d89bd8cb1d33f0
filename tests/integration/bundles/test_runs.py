"""What one request asks for is bounded: where it ends, the next one goes on."""

import subprocess
import sys
from pathlib import Path

import pytest

from lms.outposts.bundles import chunks, packs, wire
from lms.outposts.bundles.build import KEPT_STEPS
from tests.factories.bundles import Central, installed_files, make_store, noise, pull_from


def test_a_pack_longer_than_one_request_comes_from_a_stick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_RUN_BYTES", 6 << 20)
    files = {f"{number}.bin": noise(number, 3 << 20) for number in range(8)}
    central = Central(tmp_path)
    central.publish(files)
    store = make_store(tmp_path, central)

    [pulled] = pull_from(store, central.repository)

    assert pulled.changed
    assert installed_files(store) == files


def test_chunks_lie_in_as_many_packs_as_they_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "_PACK_BYTES", 1 << 20)
    files = {f"{number}.bin": noise(number, 2 << 20) for number in range(3)}
    central = Central(tmp_path)
    central.publish(files)
    store = make_store(tmp_path, central)
    pull_from(store, central.repository)
    for number in range(KEPT_STEPS + 2):
        files[f"{number % 3}.bin"] += noise(10 + number, 3_000)
        central.publish(files, level=12)

    [pulled] = pull_from(store, central.repository)

    assert len(list((central.repository / "chunks").rglob("*.pack"))) > 6
    assert pulled.received < 1 << 20
    assert installed_files(store) == files


def test_a_large_file_is_cut_without_taking_its_size_in_memory(tmp_path: Path) -> None:
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(192 << 20)
    done = subprocess.run(
        [sys.executable, "-c", _SCAN, str(big)], capture_output=True, text=True, check=True
    )
    before, after = map(int, done.stdout.split())
    assert after - before < 64 << 10, "kilobytes"


_SCAN = """
import sys
from pathlib import Path
from lms.outposts.bundles.mending import scan

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    [line] = [line for line in lines if line.startswith("VmHWM:")]
    return line.split()[1]

before = peak()
held = scan([("a" * 64, Path(sys.argv[1]))])
assert held.groups
print(before, peak())
"""


def test_a_file_never_lies_in_two_packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "_PACK_BYTES", 9 << 20)
    files = {f"{number}.bin": noise(number, 1 << 20) for number in range(6)}
    files |= {"large.bin": noise(7, 22 << 20), "later.bin": noise(8, 10 << 20)}
    central = Central(tmp_path)
    added = central.publish(files)
    store = make_store(tmp_path, central)

    pull_from(store, central.repository)

    assert len(added.manifest.packs) == 3
    assert installed_files(store) == files
