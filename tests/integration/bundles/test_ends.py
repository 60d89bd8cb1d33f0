"""A pull that is killed, loses its power or its room at any step: nothing half, nothing lost."""

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lms.outposts.bundles.disk import Disk, room
from lms.outposts.bundles.problems import FullError
from lms.outposts.bundles.store import Store
from tests.factories.bundles import (
    Central,
    course_files,
    installed_files,
    make_store,
    next_files,
    pull_from,
)
from tests.fakes.power import FailingDisk, PowerCutError

ROOT = Path(__file__).resolve().parents[3]
OLD, NEW = course_files(), next_files(course_files())
#: More steps than any of these pulls has.
_ENOUGH = 2000


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a repository with two versions, and a centre that has the first one."""
    base = tmp_path_factory.mktemp("ends")
    central = Central(base)
    central.publish(OLD)
    store = make_store(base, central)
    pull_from(store, central.repository)
    central.publish(NEW)
    return central.repository, store.root


def _steps(repository: Path, centre: Path, scratch: Path) -> int:
    shutil.copytree(centre, scratch / "counted")
    disk = FailingDisk(_ENOUGH)
    pull_from(Store(scratch / "counted", disk), repository)
    return disk.steps


def _cut_everywhere(places: tuple[Path, Path], scratch: Path, every: int) -> Iterator[int]:
    repository, centre = places
    steps = _steps(repository, centre, scratch)
    assert 30 < steps < _ENOUGH
    for step in range(1, steps + 1, every):
        root = scratch / f"centre-{step}"
        shutil.copytree(centre, root)
        disk = FailingDisk(step, seed=step)
        with pytest.raises(PowerCutError):
            pull_from(Store(root, disk), repository)
        disk.lose_power()
        after = Store(root)
        stands = after.installed("ml")
        assert stands is not None
        assert not after.damaged(after.manifest(stands.digest)), f"half installed at step {step}"
        assert installed_files(after) == (OLD, NEW)[stands.version - 1]

        pull_from(after, repository)

        assert installed_files(after) == NEW
        shutil.rmtree(root)
        yield step


def test_power_cut_at_some_steps(places: tuple[Path, Path], tmp_path: Path) -> None:
    assert len(list(_cut_everywhere(places, tmp_path, every=7))) > 5


@pytest.mark.slow
def test_power_cut_at_every_step(places: tuple[Path, Path], tmp_path: Path) -> None:
    assert len(list(_cut_everywhere(places, tmp_path, every=1))) > 30


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_said_and_the_rest_goes_on_later(
    places: tuple[Path, Path], tmp_path: Path, number: int
) -> None:
    repository, centre = places
    root = tmp_path / "centre"
    shutil.copytree(centre, root)

    class Full(Disk):
        """A disk with room for some kilobytes."""

        left = 170_000

        def append(self, path: Path, content: bytes) -> None:
            self.left -= len(content)
            with room(path):
                if self.left < 0:
                    raise OSError(number, "full")
            super().append(path, content)

    with pytest.raises(FullError, match="no room left"):
        pull_from(Store(root, Full()), repository)
    after = Store(root)
    assert installed_files(after) == OLD

    [pulled] = pull_from(after, repository)

    assert installed_files(after) == NEW
    assert pulled.files < len(set(NEW.values()) - set(OLD.values())), "some were kept"


def test_read_only_folder_is_no_half_install(places: tuple[Path, Path], tmp_path: Path) -> None:
    repository, centre = places
    root = tmp_path / "centre"
    shutil.copytree(centre, root)

    class ReadOnly(Disk):
        """A disk that refuses every write."""

        def append(self, path: Path, content: bytes) -> None:
            raise OSError(errno.EROFS, "read-only", str(path), len(content))

    with suppress(OSError):
        pull_from(Store(root, ReadOnly()), repository)
    assert installed_files(Store(root)) == OLD


def _kill(tmp_path: Path, kills: int, seed: int) -> dict[str, int]:
    program = [sys.executable, "-m", "tests.integration.bundles.killing"]
    done = subprocess.run(
        [*program, str(tmp_path), str(kills), str(seed)],
        cwd=ROOT,
        capture_output=True,
        check=False,
        timeout=3600,
    )
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, int] = json.loads(done.stdout)
    return found


def _assert_nothing_half(found: dict[str, int]) -> None:
    assert (found["half"], found["wrong"]) == (0, 0)
    wasted = (found["received"] - found["needed"]) / found["kills"]
    assert wasted <= 1.5e6


def test_some_kills_leave_nothing_half(tmp_path: Path) -> None:
    found = _kill(tmp_path, 6, 1)
    assert found["ended"] > 0
    _assert_nothing_half(found)


@pytest.mark.slow
def test_thousand_kills_leave_nothing_half(tmp_path: Path) -> None:
    _assert_nothing_half(_kill(tmp_path, 1000, 2))
