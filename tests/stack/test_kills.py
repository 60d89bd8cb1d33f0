"""kill -9 of each part while people's kernels compute: those go on, and new people can start."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.stack import Stack, running, wait_until
from tests.stack.killing import PARTS, kill
from tests.stack.learners import Learner, add_learners, processes_of, uid_of

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(os.geteuid() != 0, reason="servers are forks of a zygote as root alone"),
]

#: Seconds after a kill in which somebody new must have a server.
START_SECONDS = 10.0


@dataclass
class Seen:
    """Seconds after a kill of one part."""

    part: str
    #: Until somebody who had no server had one, and had run a cell.
    server: float = 0.0
    cell: float = 0.0
    #: Until those who were at work reached their files and their kernel again.
    files: float = 0.0
    kernel: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.part:16} new server {self.server:5.1f} s  its first cell {self.cell:5.1f} s  "
            f"files {self.files:5.1f} s  kernel {self.kernel:5.1f} s"
        )


class Class:
    """People at work at a running system."""

    def __init__(self, stack: Stack, people: int, newcomers: int) -> None:
        self.stack = stack
        names = [f"p{number}" for number in range(people)]
        later = [f"n{number}" for number in range(newcomers)]
        add_learners(stack, names + later)
        self.people = [Learner(stack, name) for name in names]
        self._newcomers = [Learner(stack, name) for name in later]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self._begin, self.people))
            # They have signed in, and have not opened anything.
            list(pool.map(Learner.sign_in, self._newcomers))

    def _begin(self, one: Learner) -> None:
        one.sign_in()
        one.open_lab()
        one.count()
        one.save("first")

    def survive(self, part: str, *, seconds: float = 60) -> Seen:
        """Kill a part; check that all work goes on, and say how long others waited."""
        before = [one.counted() for one in self.people]
        kernels = [processes_of(uid_of(one), "seodang-kernel") for one in self.people]
        for one in self.people:
            one.save(f"before {part}")
        seen, newcomer = Seen(part), self._newcomers.pop()
        old = kill(self.stack, part)
        begin = time.monotonic()
        with ThreadPoolExecutor(3) as pool:
            starting = pool.submit(self._come, newcomer, seen, begin)
            files = pool.submit(self._reach, Learner.reaches_files, begin, seconds)
            channel = pool.submit(self._reach, Learner.reaches_kernel, begin, seconds)
            starting.result()
            seen.files, seen.kernel = files.result(), channel.result()
        self._expect_work(before, kernels, part)
        wait_until(lambda: _lives_again(self.stack, part, old), 30, f"another {part}")
        wait_until(lambda: self.stack.health()[0] == 200, 60, "the system to be well")
        return seen

    def _come(self, newcomer: Learner, seen: Seen, begin: float) -> None:
        newcomer.open_lab()
        seen.server = time.monotonic() - begin
        newcomer.count()
        seen.cell = time.monotonic() - begin

    def _reach(self, ask: Callable[[Learner], bool], begin: float, seconds: float) -> float:
        wait_until(lambda: all(map(ask, self.people)), seconds, "everybody to go on")
        return time.monotonic() - begin

    def _expect_work(self, before: list[int], kernels: list[list[int]], part: str) -> None:
        for one, number, pids in zip(self.people, before, kernels, strict=True):
            assert one.counted() > number, f"{one.name} counts no more"
            assert processes_of(uid_of(one), "seodang-kernel") == pids
            assert one.saved() == f"before {part}"
            # What stood in the browser only is saved now.
            one.save(f"after {part}")
            assert one.saved() == f"after {part}"


def _lives_again(stack: Stack, part: str, old: int) -> bool:
    try:
        return PARTS[part](stack) != old
    except (StopIteration, TypeError):
        return False


@contextmanager
def at_work(folder: Path, people: int, newcomers: int) -> Iterator[Class]:
    """Run a system with people at work."""
    folder.chmod(0o711)
    with running(folder / "data") as stack:
        yield Class(stack, people, newcomers)


def test_kernels_and_work_outlive_each_part_and_new_people_can_start(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    # The broker takes both zygotes with it.
    parts = ("broker", "Hub", "proxy")
    with at_work(tmp_path_factory.mktemp("k"), 1, len(parts)) as people:
        for part in parts:
            seen = people.survive(part)
            assert seen.cell > 0


@pytest.mark.slow
@pytest.mark.parametrize(("rounds", "people"), [(1, 4), (3, 12)], ids=["few", "many"])
def test_a_class_outlives_every_part(
    tmp_path_factory: pytest.TempPathFactory, rounds: int, people: int
) -> None:
    found: list[Seen] = []
    with at_work(tmp_path_factory.mktemp("k"), people, rounds * len(PARTS)) as at:
        for _ in range(rounds):
            for part in PARTS:
                found.append(at.survive(part))
                _print(str(found[-1]))
    in_time = sum(one.server <= START_SECONDS for one in found)
    _print(
        f"{len(found)} kills beside {people} people: all {people * len(found)} looks found the same"
        f" kernel counting and the notebook saved; a new server within {START_SECONDS:.0f} s "
        f"after {in_time} of {len(found)}; longest {max(one.server for one in found):.1f} s"
    )
    assert len(found) == rounds * len(PARTS)


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - figures to write down
