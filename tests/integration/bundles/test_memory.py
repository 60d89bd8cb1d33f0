"""A bundle of five gigabytes, with a file of two, in 128 megabytes of memory."""

import json
import random
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lms.foundation import clock
from lms.outposts.bundles.build import KEPT_STEPS, Content, add_version
from lms.outposts.bundles.disk import Disk
from lms.outposts.bundles.keys import ONLINE, ROOTS, Keys
from lms.outposts.bundles.signing import Signed
from lms.outposts.bundles.trust import Trust

_MEGABYTE = 1 << 20
_AIM = 128


def _write(path: Path, megabytes: int, seed: int) -> Path:
    chance = random.Random(seed)  # noqa: S311 - bytes that do not pack
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(chance.randbytes(_MEGABYTE))
    return path


def _pull(repository: Path, centre: Path) -> dict[str, float]:
    words = ("-m", "lms.cli.bench.sync_pull", str(repository), str(centre))
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    "megabytes", [60, pytest.param(5_000, marks=pytest.mark.slow)], ids=["small", "large"]
)
def test_memory_does_not_grow_with_the_bundle(tmp_path: Path, megabytes: int) -> None:
    keys = Keys(tmp_path / "keys")
    keys.make([*ROOTS, *ONLINE])
    repository, centre = tmp_path / "repository", tmp_path / "centre"
    large = _write(tmp_path / "large", megabytes * 2 // 5, 1)
    files = {"large.bin": large}
    files |= {
        f"{number}.bin": _write(tmp_path / f"{number}", megabytes // 50, number + 2)
        for number in range(30)
    }

    def publish() -> None:
        add_version(repository, "big", Content(files=files, level=1), keys=keys, now=clock.now())

    publish()
    Trust(centre, Disk()).begin(Signed(repository, keys).root(), datetime(1970, 1, 1, tzinfo=UTC))
    found = [_pull(repository, centre)]
    # By a step, and then by chunks: more versions are missed than there are steps.
    for rounds in (1, KEPT_STEPS + 2):
        for number in range(rounds):
            with large.open("r+b") as file:
                file.seek((number + 1) * 1_000_003 * rounds)
                file.write(b"changed")
            publish()
        found.append(_pull(repository, centre))
    for one in found:
        memory, received = one["memory_megabytes"], one["received"] / 1e6
        print(f"{memory:.0f} MB of memory, {received:.2f} MB received")  # noqa: T201 - figures
    assert all(one["changed"] for one in found)
    assert found[1]["received"] < megabytes * _MEGABYTE / 20
    assert max(one["memory_megabytes"] for one in found) <= _AIM
