"""Who closes last what strangers have sent: never the nursery or the zygote, which all wait for."""

import os
import time
from pathlib import Path

import pytest

from lms.outposts.broker.forks import PROBLEM, close_joined
from lms.outposts.broker.nursery import fork_keeper


def test_a_keeper_holds_what_came_until_the_nursery_has_closed_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = os.pipe()
    link = Path(f"/proc/self/fd/{theirs}").readlink()
    children: list[int] = []
    fork, close = os.fork, os.close

    def note_fork() -> int:
        children.append(fork())
        return children[-1]

    def close_late(descriptor: int) -> None:
        if children and children[-1] and descriptor == theirs:
            time.sleep(0.2)  # its keeper would have ended long ago
            assert Path(f"/proc/{children[-1]}/fd/{theirs}").readlink() == link
        close(descriptor)

    monkeypatch.setattr("os.fork", note_fork)
    monkeypatch.setattr("os.close", close_late)
    fork_keeper([theirs], lambda: 7)
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 7
    assert os.read(ours, 1) == b""
    close(ours)


@pytest.mark.parametrize("count", [2, 4, 7])
def test_the_pipe_of_problems_is_closed_last(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[int] = []
    monkeypatch.setattr("os.close", closed.append)
    given = [100 + number for number in range(count)]
    close_joined(given)
    monkeypatch.undo()
    assert sorted(closed) == given
    if count > PROBLEM:
        assert closed[-1] == given[PROBLEM]
