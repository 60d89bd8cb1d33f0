"""What a page of JupyterLab is told of its kernels' GPUs, by a real Jupyter server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jupyter_server.serverapp import ServerApp
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from traitlets.config import Config

from lms.foundation import clock
from lms.outposts.kernels import leasing, notices
from lms.outposts.kernels.leasing import LeaseApi
from lms.outposts.kernels.seat import Seat, SeatState
from lms.outposts.notebook.gpu import gpu_handlers
from lms.worker.leases import LeaseKeeper
from tests.fakes.broker_leases import FakeGpuBroker
from tests.fakes.exchange_lms import Lms

FIRST, SECOND, PLAIN = (f"{number}0000000-0000-4000-8000-000000000000" for number in (1, 2, 3))


@dataclass
class Kernels:
    """Stands for the server's kernels: some with a seat, some without."""

    seats: dict[str, Seat | None] = field(default_factory=dict)

    def list_kernel_ids(self) -> list[str]:
        return list(self.seats)

    def __contains__(self, kernel_id: str) -> bool:
        return kernel_id in self.seats

    def get_kernel(self, kernel_id: str) -> Any:  # noqa: ANN401 - as jupyter_client's
        seat = self.seats[kernel_id]
        provisioner = SimpleNamespace() if seat is None else SimpleNamespace(seat=seat)
        return SimpleNamespace(provisioner=provisioner)


@dataclass
class Server:
    """A Jupyter server that listens."""

    url: str
    app: ServerApp

    async def ask(self, path: str = "", body: object = None, *, known: bool = True) -> HTTPResponse:
        return await AsyncHTTPClient().fetch(
            f"{self.url}/seodang/gpu{path}",
            method="GET" if body is None else "POST",
            body=None if body is None else json.dumps(body),
            headers={"Authorization": "token t"} if known else {},
            raise_error=False,
        )


@asynccontextmanager
async def serving(kernels: Kernels, home: Path) -> AsyncIterator[Server]:
    config = Config({"IdentityProvider": {"token": "t"}})
    app = ServerApp(root_dir=str(home), allow_root=True, open_browser=False, config=config)
    app.initialize([], find_extensions=False, new_httpserver=False)
    app.web_app.settings["kernel_manager"] = kernels
    app.web_app.add_handlers(".*$", gpu_handlers("/"))
    listener, port = bind_unused_port()
    http = HTTPServer(app.web_app)
    http.add_socket(listener)
    yield Server(f"http://127.0.0.1:{port}", app)
    http.stop()
    await http.close_all_connections()


@pytest.fixture
def keeper(lms: Lms, monkeypatch: pytest.MonkeyPatch) -> LeaseKeeper:
    monkeypatch.setattr(leasing, "LOOK_SECONDS", 0.02)
    keeper = LeaseKeeper(sessions=lms.sessions(), broker=FakeGpuBroker("1"), now=clock.now)
    keeper.step()
    return keeper


def seat(lms: Lms, name: str, kernel_id: str) -> Seat:
    notices.open_board(kernel_id)
    return Seat(
        LeaseApi(lms.url, f"t-{name}"), "gpu", kernel_id, lambda text: notices.tell(kernel_id, text)
    )


async def on_gpu(one: Seat, keeper: LeaseKeeper) -> None:
    taking = asyncio.create_task(one.take(20, may_ask=True))
    while not taking.done():
        await asyncio.to_thread(keeper.step)
        await asyncio.sleep(0.01)
    one.begin(lambda: True)


def test_a_page_sees_its_kernels_and_can_leave_the_queue(
    lms: Lms, keeper: LeaseKeeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))

    async def story() -> None:
        first, second = seat(lms, "minsu", FIRST), seat(lms, "jiwoo", SECOND)
        await on_gpu(first, keeper)
        assert await second.take(0.1, may_ask=True) == ""
        kernels = Kernels({FIRST: first, SECOND: second, PLAIN: None})
        async with serving(kernels, tmp_path) as server:
            await _looks(server, second)
            await _wishes(server, second)
        await first.leave()
        await second.leave()

    asyncio.run(story())
    for kernel_id in (FIRST, SECOND):
        notices.close_board(kernel_id)


async def _looks(server: Server, waiting: Seat) -> None:
    assert (await server.ask(known=False)).code == 403
    answer = await server.ask()
    shown = json.loads(answer.body)["kernels"]
    assert set(shown) == {FIRST, SECOND}
    assert (shown[FIRST]["state"], shown[FIRST]["simulated"]) == ("gpu", True)
    assert shown[FIRST]["until"]
    assert (shown[SECOND]["state"], shown[SECOND]["position"]) == ("waiting", 1)
    assert "number 1 in the queue" in shown[SECOND]["text"]
    assert f"about {shown[SECOND]['minutes']} minutes" in shown[SECOND]["text"]
    assert [one["kind"] for one in shown[SECOND]["offers"]][-1] == "cpu"
    assert shown[SECOND]["language"] == "en"
    # Neither tokens nor leases' ids leave the server, and who looks does not count as working.
    said = answer.body.decode()
    assert "t-minsu" not in said
    assert waiting.lease is not None
    assert waiting.lease.id not in said
    assert "api_last_activity" not in server.app.web_app.settings
    # What the page shows need not stand under a cell as well.
    board = notices.find_board(SECOND)
    assert board is not None
    assert board.waiting == []


async def _wishes(server: Server, waiting: Seat) -> None:
    assert (await server.ask(f"/{SECOND}", {"wants": "cpu"}, known=False)).code == 403
    for body in ({"wants": "all"}, ["cpu"], {}):
        assert (await server.ask(f"/{SECOND}", body)).code == 400, body
    for kernel_id in (PLAIN, FIRST.replace("1", "9")):
        assert (await server.ask(f"/{kernel_id}", {"wants": "cpu"})).code == 404
    answer = await server.ask(f"/{SECOND}", {"wants": "cpu"})
    assert json.loads(answer.body)["state"] == waiting.state == SeatState.CPU
    answer = await server.ask(f"/{SECOND}", {"wants": "gpu"})
    assert (json.loads(answer.body)["state"], json.loads(answer.body)["position"]) == ("waiting", 1)
    assert "api_last_activity" in server.app.web_app.settings


def test_a_server_without_such_kernels_has_nothing_to_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))

    async def story() -> None:
        async with serving(Kernels({PLAIN: None}), tmp_path) as server:
            assert json.loads((await server.ask()).body) == {"kernels": {}}

    asyncio.run(story())
