"""The kernel's side of leases against the LMS's API, over real HTTP."""

import threading

import pytest

from lms.foundation import clock
from lms.outposts.kernels import leasing
from lms.outposts.kernels.leasing import LeaseApi, LeaseError, LeaseView, wait_for
from lms.worker.leases import LeaseKeeper
from tests.fakes.broker_leases import FakeGpuBroker
from tests.fakes.exchange_lms import Lms


@pytest.fixture
def broker() -> FakeGpuBroker:
    return FakeGpuBroker("1")


@pytest.fixture
def keeper(lms: Lms, broker: FakeGpuBroker, monkeypatch: pytest.MonkeyPatch) -> LeaseKeeper:
    monkeypatch.setattr(leasing, "LOOK_SECONDS", 0.02)
    keeper = LeaseKeeper(sessions=lms.sessions(), broker=broker, now=clock.now)
    keeper.step()
    return keeper


def api(lms: Lms, name: str) -> LeaseApi:
    return LeaseApi(lms.url, f"t-{name}")


def test_a_kernel_waits_its_turn_and_is_told_where_it_stands(lms: Lms, keeper: LeaseKeeper) -> None:
    first, second = api(lms, "minsu"), api(lms, "jiwoo")
    mine = first.ask("gpu", "k1", "py-2026")
    keeper.step()
    assert wait_for(first, mine, lambda _view: None).state == "granted"
    waiting = second.ask("gpu", "k2", "py-2026")
    told: list[LeaseView] = []
    heard = threading.Event()

    def tell(view: LeaseView) -> None:
        told.append(view)
        heard.set()

    got: list[LeaseView] = []
    thread = threading.Thread(target=lambda: got.append(wait_for(second, waiting, tell)))
    thread.start()
    assert heard.wait(10)
    first.give_back(mine.id)
    keeper.step()
    thread.join(10)
    assert "number 1 in the queue" in told[0].text
    assert {offer["kind"] for offer in told[0].offers} >= {"cpu"}
    assert [one.simulated for one in got] == [True]


def test_beats_are_heard_until_the_lease_is_over(
    lms: Lms, keeper: LeaseKeeper, broker: FakeGpuBroker
) -> None:
    mine = api(lms, "minsu")
    lease = mine.ask("gpu", "k1", "py-2026")
    with pytest.raises(LeaseError, match="no such lease"):
        mine.beat("nonsense", busy=True)
    keeper.step()
    assert mine.beat(lease.id, busy=True) == ""
    mine.give_back(lease.id)
    mine.give_back(lease.id)
    with pytest.raises(LeaseError, match="gave the GPU back"):
        mine.beat(lease.id, busy=True)


def test_who_waits_no_longer_gives_the_wish_back(lms: Lms, keeper: LeaseKeeper) -> None:
    api(lms, "minsu").ask("gpu", "k1", "py-2026")
    second = api(lms, "jiwoo")
    waiting = second.ask("gpu", "k2", "py-2026")
    with pytest.raises(LeaseError, match="any more"):
        wait_for(second, waiting, lambda _view: None, is_wanted=lambda: False)
    assert second.look(waiting.id).state == "ended"


def test_what_the_lms_refuses_is_said_in_its_words(lms: Lms, keeper: LeaseKeeper) -> None:
    with pytest.raises(LeaseError, match="no GPU profile called nonsense") as caught:
        api(lms, "minsu").ask("nonsense", "k1")
    assert caught.value.status == 400
    with pytest.raises(LeaseError) as caught:
        LeaseApi(lms.url, "stolen").ask("gpu", "k1")
    assert caught.value.status == 401
    with pytest.raises(LeaseError, match="does not answer"):
        LeaseApi("http://127.0.0.1:9", "t-minsu").ask("gpu", "k1")


@pytest.mark.parametrize(("devices", "listed"), [("1", ["gpu-slice", "gpu"]), ("", [])])
def test_profiles_are_listed_where_there_are_gpus(
    lms: Lms, devices: str, listed: list[str]
) -> None:
    LeaseKeeper(sessions=lms.sessions(), broker=FakeGpuBroker(devices), now=clock.now).step()
    assert [one.key for one in api(lms, "minsu").choices().profiles] == listed
