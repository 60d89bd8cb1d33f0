"""A kernel's place at a GPU against the LMS's API, over real HTTP."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lms.compute.models import Lease
from lms.foundation import clock
from lms.outposts.kernels import leasing, seat
from lms.outposts.kernels.leasing import LeaseApi, LeaseView
from lms.outposts.kernels.seat import Seat, SeatState, describe, offering_of
from lms.worker.leases import LeaseKeeper
from tests.fakes.broker_leases import FakeGpuBroker
from tests.fakes.exchange_lms import Lms


@pytest.fixture
def keeper(lms: Lms, monkeypatch: pytest.MonkeyPatch) -> LeaseKeeper:
    monkeypatch.setattr(leasing, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(seat, "BEAT_SECONDS", 0.02)
    keeper = LeaseKeeper(sessions=lms.sessions(), broker=FakeGpuBroker("1"), now=clock.now)
    keeper.step()
    return keeper


def sit(lms: Lms, name: str) -> tuple[Seat, list[str]]:
    """Return a person's seat, and what is said to the person."""
    said: list[str] = []
    return Seat(LeaseApi(lms.url, f"t-{name}"), "gpu", f"kernel-{name}", said.append), said


async def spoken(said: list[str], word: str) -> None:
    for _ in range(2000):
        if any(word in text for text in said):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(said)


async def granted(one: Seat, keeper: LeaseKeeper) -> str:
    """Take the seat while the keeper does its rounds."""
    taking = asyncio.create_task(one.take(20, may_ask=True))
    while not taking.done():
        await asyncio.to_thread(keeper.step)
        await asyncio.sleep(0.01)
    return taking.result()


def test_who_waits_for_long_starts_on_the_cpu_and_is_called(lms: Lms, keeper: LeaseKeeper) -> None:
    async def story() -> None:
        (first, _), (second, said) = sit(lms, "minsu"), sit(lms, "jiwoo")
        assert await granted(first, keeper)
        assert await second.take(0.1, may_ask=True) == ""
        assert "number 1 in the queue" in said[0]
        assert "runs on the CPU" in said[0]
        await first.leave()
        await asyncio.to_thread(keeper.step)
        await asyncio.to_thread(keeper.step)
        await spoken(said, "restart the kernel")
        lease = await granted(second, keeper)
        assert lease
        # A restart keeps it.
        assert await second.take(5, may_ask=False) == lease
        await second.leave()

    asyncio.run(story())


def test_a_lease_that_has_ended_is_told_and_not_asked_for_again(
    lms: Lms, keeper: LeaseKeeper
) -> None:
    async def story() -> None:
        mine, said = sit(lms, "minsu")
        lease = await granted(mine, keeper)
        mine.begin(lambda: True)
        assert said[0].startswith("GPU 0 (모의 · simulated), ")
        await asyncio.to_thread(LeaseApi(lms.url, "t-minsu").give_back, lease)
        await spoken(said, "gave the GPU back")
        # Jupyter starts the ended kernel again; the person has not wished for that.
        assert await mine.take(5, may_ask=False) == ""
        assert await mine.take(5, may_ask=False) == ""
        assert said[-1].endswith("runs on the CPU.")
        again = await granted(mine, keeper)
        assert again not in {"", lease}
        await mine.leave()

    asyncio.run(story())


def test_the_lmss_warning_is_passed_on_once_a_minute(
    lms: Lms, keeper: LeaseKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        mine, said = sit(lms, "minsu")
        await granted(mine, keeper)
        began = clock.now()
        monkeypatch.setattr(clock, "now", lambda: began + timedelta(minutes=13, seconds=30))
        mine.begin(lambda: False)
        await spoken(said, "Run a cell to keep it")
        await asyncio.sleep(0.3)
        await mine.leave()
        assert len(said) == 2, said

    asyncio.run(story())


@pytest.mark.parametrize(
    ("folder", "counts"),
    [("courses/py-2026/ps1", True), ("courses/own things", False), ("courses", False), ("", False)],
)
def test_the_hours_are_those_of_the_course_that_the_notebook_lies_in(
    lms: Lms, keeper: LeaseKeeper, folder: str, *, counts: bool
) -> None:
    home = Path("/home/minsu")
    offering = offering_of(home / folder, home / "courses")

    async def story() -> None:
        api = LeaseApi(lms.url, "t-minsu")
        mine = Seat(api, "gpu", "k", lambda _: None, offering=offering)
        assert await granted(mine, keeper)
        await mine.leave()

    asyncio.run(story())
    with lms.sessions()() as session:
        assert (session.query(Lease).one().offering_id is not None) == counts


def test_without_the_lms_a_kernel_starts_on_the_cpu() -> None:
    async def story() -> None:
        said: list[str] = []
        mine = Seat(LeaseApi("http://127.0.0.1:9", "t"), "gpu", "k", said.append)
        assert await mine.take(5, may_ask=True) == ""
        assert "The LMS does not answer" in said[0]
        await mine.leave()

    asyncio.run(story())


def test_a_real_device_is_called_by_its_name() -> None:
    lease = LeaseView(
        id="1",
        state="granted",
        text="",
        position=None,
        offers=(),
        simulated=False,
        devices=("GPU-4711",),
        until=datetime(2026, 11, 24, 6, 40, tzinfo=UTC),
    )
    assert describe(lease) == "GPU GPU-4711, 15:40까지 · until 15:40"


def test_behind_others_a_start_does_not_wait(lms: Lms, keeper: LeaseKeeper) -> None:
    async def story() -> None:
        (first, _), (second, _) = sit(lms, "minsu"), sit(lms, "jiwoo")
        await granted(first, keeper)
        began = time.monotonic()
        assert await second.take(60, may_ask=True) == ""
        assert time.monotonic() - began < 30
        assert (second.state, second.lease and second.lease.position) == (SeatState.WAITING, 1)
        # Nor does it wait when it is started again, and the place is kept.
        assert await second.take(60, may_ask=True) == ""
        assert second.state is SeatState.WAITING
        await first.leave()
        await second.leave()

    asyncio.run(story())


def test_a_gpu_that_the_broker_gave_no_kernel_for_is_given_back(
    lms: Lms, keeper: LeaseKeeper
) -> None:
    async def story() -> None:
        mine, said = sit(lms, "minsu")
        lease = await granted(mine, keeper)
        await mine.fail()
        assert (mine.state, mine.fault, mine.lease) == (SeatState.CPU, "broker", None)
        assert "could not be opened" in said[-1]
        assert LeaseApi(lms.url, "t-minsu").look(lease).state == "ended"
        # Others get it.
        other, _ = sit(lms, "jiwoo")
        assert await granted(other, keeper)
        await other.leave()

    asyncio.run(story())


def test_a_wish_made_while_the_kernel_runs_waits_for_its_next_start(
    lms: Lms, keeper: LeaseKeeper
) -> None:
    async def story() -> None:
        mine, said = sit(lms, "minsu")
        await granted(mine, keeper)
        mine.begin(lambda: True)
        # Given back: the next start is on the CPU, though the person wished for a start.
        await mine.decline()
        assert mine.state == "gpu"
        assert await mine.take(5, may_ask=True) == ""
        assert mine.state == "cpu"
        assert await mine.take(5, may_ask=True) == ""
        await asyncio.to_thread(keeper.step)
        # Wished for again, without a restart.
        await mine.ask()
        await mine.ask()
        await come(mine, keeper)
        assert any("restart the kernel" in text for text in said)
        lease = mine.lease
        assert lease is not None
        # A kernel that Jupyter starts again by itself takes what was kept for it.
        assert await mine.take(5, may_ask=False) == lease.id
        await mine.leave()

    asyncio.run(story())


def test_a_gpu_that_nobody_fetches_goes_on(
    lms: Lms, keeper: LeaseKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seat, "KEPT_SECONDS", 0.02)

    async def story() -> None:
        mine, said = sit(lms, "minsu")
        mine.see()
        await mine.ask()
        await come(mine, keeper)
        began = clock.now()
        monkeypatch.setattr(clock, "now", lambda: began + timedelta(minutes=3))
        keeper_later = LeaseKeeper(sessions=lms.sessions(), broker=keeper.broker, now=clock.now)
        while mine.state is not SeatState.CPU:
            await asyncio.to_thread(keeper_later.step)
            await asyncio.sleep(0.02)
        assert mine.text == "No kernel used it, so it ended and cost nothing."
        # Who sees the seat's state beside the notebook reads it nowhere else.
        assert said == []
        await mine.leave()

    asyncio.run(story())


async def come(one: Seat, keeper: LeaseKeeper) -> None:
    """Wait until a GPU is kept for the kernel."""
    for _ in range(1000):
        await asyncio.to_thread(keeper.step)
        if one.state is SeatState.READY:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(one.state)
