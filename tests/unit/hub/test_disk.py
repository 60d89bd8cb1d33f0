"""What a person hears of a home that is nearly full, and what a profile allows it to hold."""

from pathlib import Path
from typing import cast

import pytest

from lms.outposts.broker.client import BrokerClient, BrokerRefusedError, BrokerUnavailableError
from lms.outposts.hub.launchers import BrokerLauncher, LocalLauncher, ServerLauncher
from lms.outposts.hub.profiles import read_profiles
from lms.outposts.hub.spawner import tell_full
from lms.protocol.disk import HomeUse

GB = 1 << 30


def use(used: float, *, limit: float = 10, complete: bool = True) -> HomeUse:
    return HomeUse(
        username="minsu",
        used_bytes=int(used * GB),
        limit_bytes=int(limit * GB),
        measured_at=5.0,
        complete=complete,
    )


@pytest.mark.parametrize("known", [None, use(8.9), use(50, limit=0)])
def test_nothing_is_said_of_a_home_with_room(known: HomeUse | None) -> None:
    assert tell_full(known) == ""


def test_a_nearly_full_home_is_told_of_in_the_person_s_language() -> None:
    assert tell_full(use(9.5), "en") == "Your home holds 9.5 of 10.0 GB."
    assert tell_full(use(9.5), "ko") == "홈 폴더를 9.5 GB 쓰고 있어요(한도 10.0 GB)."
    both = tell_full(use(12, complete=False))
    assert "at least 12.0 of 10.0 GB. That is over the limit: please delete" in both
    assert "12.0 GB 이상 쓰고 있어요(한도 10.0 GB). 한도를 넘었으니" in both


class FakeClient:
    """A broker that knows one home, or is in trouble."""

    def __init__(self, trouble: Exception | None = None) -> None:
        self._trouble = trouble

    def list_homes(self) -> list[HomeUse]:
        if self._trouble is not None:
            raise self._trouble
        return [use(1)]


def test_the_broker_is_asked_and_need_not_know() -> None:
    launcher = BrokerLauncher(cast("BrokerClient", FakeClient()))
    assert launcher.home_use("minsu") == use(1)
    assert launcher.home_use("jiwoo") is None
    for trouble in (BrokerUnavailableError("gone"), BrokerRefusedError("no")):
        launcher = BrokerLauncher(cast("BrokerClient", FakeClient(trouble)))
        assert launcher.home_use("minsu") is None
    own: ServerLauncher = LocalLauncher()
    assert own.home_use("minsu") is None


def test_a_profile_says_what_a_home_may_hold(tmp_path: Path) -> None:
    path = tmp_path / "profiles.toml"
    path.write_text(
        "[profile.a]\nmemory_mb = 1\nprocesses = 2\ndisk_mb = 3\n"
        "[profile.b]\nmemory_mb = 1\nprocesses = 2\n"
    )
    assert [one.disk_bytes for one in read_profiles(path).values()] == [3 << 20, 0]
