"""What a start says of itself while the person waits."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lms.outposts.hub.launchers import LocalLauncher, ServerStart
from lms.outposts.hub.spawner import STEPS, BrokerSpawner, ServerFailedError, in_words


class Launcher(LocalLauncher):
    """Starts nothing; the port is there when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    def start(self, start: ServerStart) -> int:
        del start
        return 4711

    def poll(self, username: str, server_name: str, pid: int) -> int | None:
        del username, server_name, pid
        return None


class Spawner(BrokerSpawner):
    """One server of minsu, who reads Korean."""

    launcher = Launcher()

    def get_env(self) -> dict[str, str]:
        return {}


@pytest.fixture
def spawner(tmp_path: Path) -> Spawner:
    async def auth_state() -> dict[str, Any]:
        return {"oauth_user": {"os_uid": 200_001, "locale": "ko"}}

    spawner = Spawner()
    spawner.user = SimpleNamespace(name="minsu", groups=[], url="/", get_auth_state=auth_state)
    spawner.homes_dir = spawner.logs_dir = str(tmp_path)
    return spawner


async def _next(events: Any) -> dict[str, Any]:  # noqa: ANN401 - an iterator of the Hub's events
    event: dict[str, Any] = await asyncio.wait_for(anext(events), 10)
    return event


def test_each_step_is_told_once_in_the_persons_language(spawner: Spawner) -> None:
    async def test() -> None:
        events = spawner.progress()
        start = asyncio.ensure_future(spawner.start())
        told = [await _next(events), await _next(events)]
        assert told == [{"progress": step[0], "message": step[1]} for step in STEPS[:2]]
        last = asyncio.ensure_future(_next(events))
        await asyncio.sleep(0.1)
        assert not last.done(), "nothing listens yet"
        server = await asyncio.start_server(
            lambda _reader, line: line.close(), "127.0.0.1", spawner.port
        )
        async with server:
            assert await last == {"progress": STEPS[2][0], "message": STEPS[2][1]}
            await start
            assert [event async for event in events] == []

    asyncio.run(test())


def test_a_second_start_begins_anew(spawner: Spawner) -> None:
    async def test() -> None:
        spawner._step = len(STEPS)  # as an earlier start left it
        spawner.clear_state()  # as JupyterHub does before each start
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(spawner.progress()), 0.2)

    asyncio.run(test())


def test_who_reads_an_unknown_language_gets_both() -> None:
    assert in_words("ko", "가", "a") == "가"
    assert in_words("en", "가", "a") == "a"
    assert in_words("", "가", "a") == "가 a"
    assert ServerFailedError("가", "a", "ko").jupyterhub_message == "가"
    assert all(percent and korean and english for percent, korean, english in STEPS)
