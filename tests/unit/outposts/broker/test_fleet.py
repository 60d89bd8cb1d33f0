"""Zygotes of environments: started when asked for, the one used longest ago ended beyond a few."""

import selectors
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from lms.outposts.broker import fleet, zygotes
from lms.outposts.broker.fleet import Fleet
from lms.outposts.broker.zygotes import MOST_ENVIRONMENTS, SharedZygotes, shared_zygote


@dataclass(eq=False)
class FakeZygote:
    """Has a line to poll and knows that it was ended."""

    kind: str = "kernels"
    packages: str = ""
    problem: str = ""
    has_ended: bool = False
    is_ready: bool = False
    started_at: float = field(default_factory=time.monotonic)
    line: socket.socket = field(default_factory=socket.socket)

    def fileno(self) -> int:
        return self.line.fileno()

    def read(self) -> None:
        """Has nothing to say."""

    def end(self) -> None:
        self.has_ended = True
        self.line.close()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FakeZygote]]:
    made: list[FakeZygote] = []

    def start(kind: str = "kernels", packages: str = "") -> FakeZygote:
        made.append(FakeZygote(kind, packages))
        return made[-1]

    monkeypatch.setattr(fleet, "ZygoteProcess", start)
    monkeypatch.setattr(zygotes, "ZygoteProcess", start)
    yield made
    for zygote in made:
        zygote.line.close()


def test_beyond_a_few_the_environment_used_longest_ago_has_no_zygote(
    started: list[FakeZygote],
) -> None:
    with selectors.DefaultSelector() as selector:
        all_of_them = Fleet(selector)
        default = all_of_them.start("kernels")
        names = [f"/environments/{number}" for number in range(MOST_ENVIRONMENTS)]
        for name in names:
            all_of_them.start("kernels", name)
        assert all_of_them.start("kernels", names[0]) is all_of_them.start("kernels", names[0])
        all_of_them.start("kernels", "/environments/new")
        assert all_of_them.environments() == [*names[2:], names[0], "/environments/new"]
        assert [one.packages for one in started if one.has_ended] == [names[1]]
        assert all_of_them.start("kernels") is default
        # Whoever needs it again waits for another one.
        all_of_them.start("kernels", names[1])
        assert len(all_of_them.environments()) == MOST_ENVIRONMENTS


def test_a_young_zygote_is_not_ended_for_whoever_asks_for_many(
    started: list[FakeZygote], monkeypatch: pytest.MonkeyPatch
) -> None:
    with selectors.DefaultSelector() as selector:
        all_of_them = Fleet(selector)
        assert all_of_them.has_room("")
        for number in range(MOST_ENVIRONMENTS):
            assert all_of_them.has_room(f"/environments/{number}")
            all_of_them.start("kernels", f"/environments/{number}")
        assert all_of_them.has_room("")
        assert all_of_them.has_room("/environments/0")
        assert not all_of_them.has_room("/environments/new")
        monkeypatch.setattr("time.monotonic", lambda: 1e12)
        assert all_of_them.has_room("/environments/new")


def test_an_environments_zygote_that_ended_is_started_only_when_it_is_needed(
    started: list[FakeZygote],
) -> None:
    with selectors.DefaultSelector() as selector:
        all_of_them = Fleet(selector)
        for packages in ("", "/environments/one"):
            zygote = all_of_them.start("kernels", packages)
            zygote.has_ended = True
            all_of_them.look(zygote)
        assert [one.packages for one in started] == ["", "", "/environments/one"]


def test_a_process_of_its_own_keeps_as_many(started: list[FakeZygote]) -> None:
    own = SharedZygotes()
    assert own.of("") is shared_zygote
    for number in range(MOST_ENVIRONMENTS + 1):
        own.of(f"/environments/{number}").is_ready()
    assert [one.packages for one in started if one.has_ended] == ["/environments/0"]
    own.close()
    assert all(one.has_ended for one in started)
