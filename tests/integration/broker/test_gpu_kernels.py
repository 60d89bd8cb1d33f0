"""Kernels that take a GPU by themselves: real servers, broker and LMS, and a simulated device."""

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import requests
from jupyter_server.services.kernels.connection.base import (
    deserialize_msg_from_ws_v1,
    serialize_msg_to_ws_v1,
)
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from lms.compute.models import Lease
from lms.foundation.resources import resource_dir
from lms.identity.service import find_person
from lms.outposts.broker.lease_client import LeaseClient
from lms.outposts.broker.servers import SERVER_PROGRAMS
from lms.protocol.broker import ServerLimits, ServerRequest
from lms.protocol.devices import Inventory
from lms.worker.leases import LeaseKeeper
from tests.fakes.exchange_lms import Lms, running_hub_api, running_lms
from tests.fakes.small_hub import server_environment
from tests.integration.broker.conftest import LEARNER_A, LEARNER_B
from tests.integration.broker.test_broker import free_port, until
from tests.integration.broker.test_server_kernels import _TOKEN, Kernel, _url
from tests.integration.broker.test_server_zygote import Place, Server, place

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(os.geteuid() != 0, reason="devices are kept apart by root"),
]

NODE = "/dev/seodang-gpu-0"
READ = f"import os; print(open({NODE!r}).read().strip(), os.environ['LMS_LEASE'])"


class OneGpu(LeaseClient):
    """The broker of a machine with one device."""

    def inventory(self) -> Inventory:
        """Return the first device."""
        found = super().inventory()
        return replace(found, devices=found.devices[:1])


@dataclass
class Machine:
    """An LMS, a broker with one device, and who passes words between them."""

    place: Place
    lms: Lms

    def serve(self, name: str, uid: int) -> Server:
        """Start a person's notebook server."""
        port = free_port()
        env = server_environment(self.place.hub_port, port, name)
        env |= {"LMS_URL": self.lms.url, "JUPYTERHUB_API_TOKEN": f"t-{name}"}
        keeper = self.place.client.start_server(
            ServerRequest(
                username=name,
                uid=uid,
                argv=(*SERVER_PROGRAMS[0], "--ServerApp.log_level=INFO"),
                env=env | {"JUPYTER_CONFIG_PATH": str(resource_dir("hub_config"))},
                home=str(self.place.broker.data / "homes" / name),
                limits=ServerLimits(memory_bytes=700 << 20, processes=99),
            )
        )
        server = Server(name, keeper, port)
        until(server.answers, 60)
        return server

    def states(self) -> list[str]:
        with self.lms.sessions()() as session:
            return sorted(str(one.state) for one in session.query(Lease))


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder: Path = tmp_path_factory.mktemp("lms")
    with place() as where, running_hub_api() as hub, running_lms(folder, hub) as lms:
        with lms.sessions()() as session:
            for name, uid in (("minsu", LEARNER_A), ("jiwoo", LEARNER_B)):
                person = find_person(session, name)
                assert person is not None
                person.os_uid = uid
            session.commit()
        keeper = LeaseKeeper(sessions=lms.sessions(), broker=OneGpu(where.broker.socket))
        thread = threading.Thread(target=keeper.run)
        thread.start()
        try:
            yield Machine(where, lms)
        finally:
            keeper.stop.set()
            thread.join()


@pytest.fixture
def servers(machine: Machine) -> Iterator[tuple[Server, Server]]:
    people = [("minsu", LEARNER_A), ("jiwoo", LEARNER_B)]
    yield tuple(machine.serve(name, uid) for name, uid in people)  # type: ignore[misc]
    for name, _ in people:
        machine.place.client.stop_server(name, now=True)


def start(server: Server, name: str, path: str = "") -> Kernel:
    asked = {"name": name, "path": path}
    answer = requests.post(_url(server, "kernels"), json=asked, headers=_TOKEN, timeout=120)
    return Kernel(server, answer.json()["id"])


async def run_as_lab(kernel: Kernel, source: str) -> str:
    """Run a cell in the form of messages that JupyterLab asks for."""
    url = _url(kernel.server, f"kernels/{kernel.id}/channels").replace("http:", "ws:")
    line = await websocket_connect(
        HTTPRequest(url, headers=_TOKEN), subprotocols=["v1.kernel.websocket.jupyter.org"]
    )
    assert line.selected_subprotocol == "v1.kernel.websocket.jupyter.org"
    header = {"msg_id": "lab", "msg_type": "execute_request", "session": "s", "version": "5.3"}
    parts = [header, {}, {}, {"code": source, "silent": False, "store_history": False}]
    words = [json.dumps(part).encode() for part in parts]
    await line.write_message(serialize_msg_to_ws_v1(words, "shell"), binary=True)
    said = ""
    async with asyncio.timeout(60):
        while True:
            _, words = deserialize_msg_from_ws_v1(await line.read_message())
            parent, content = json.loads(words[1]), json.loads(words[3])
            if parent.get("msg_id") == "lab":
                said += str(content.get("text", ""))
                if content.get("execution_state") == "idle":
                    break
    line.close()
    while await line.read_message() is not None:
        pass
    return said


def names(server: Server) -> dict[str, str]:
    answer = requests.get(_url(server, "kernelspecs"), headers=_TOKEN, timeout=60).json()
    specs = answer["kernelspecs"].items()
    return {name: about["spec"]["display_name"] for name, about in specs}


def test_a_kernel_takes_the_gpu_and_the_next_person_gets_it(
    machine: Machine, servers: tuple[Server, Server]
) -> None:
    first, second = servers
    assert names(first)["python3.gpu"] == "Python 3 (ipykernel) · Whole GPU"
    folder = "courses/py-2026/ps1"
    make = f"import os; os.makedirs({folder!r}, exist_ok=True)"
    beside = start(first, "python3")
    assert beside.run(make) == ""
    mine = start(first, "python3.gpu", f"{folder}/ps1.ipynb")
    said = mine.run(READ)
    assert "GPU 0 (모의 · simulated), " in said
    assert "Simulated GPU SIMULATED-0: computes nothing" in said
    lease = said.split()[-1]
    # Once is enough; and a kernel beside it has nothing.
    assert mine.run("print(1)") == "1"
    assert beside.run(f"open({NODE!r})") == "FileNotFoundError"
    with machine.lms.sessions()() as session:
        assert session.query(Lease).one().offering_id is not None
    assert mine.ask("restart") == 200
    assert mine.run(READ).split()[-1] == lease
    # Behind others a start does not wait long; the place in the queue is kept.
    theirs = start(second, "python3.gpu")
    assert "FileNotFoundError" in theirs.run(READ)
    until(lambda: machine.states() == ["granted", "waiting"])
    assert mine.end() == 204
    until(lambda: machine.states() == ["ended", "granted"])
    until(lambda: "It is your turn: restart the kernel" in theirs.run("print(1)"))
    assert theirs.ask("restart") == 200
    assert "SIMULATED-0" in theirs.run(READ)
    assert theirs.end() == 204
    until(lambda: machine.states() == ["ended", "ended"])


def test_what_the_lms_refuses_starts_on_the_cpu_and_says_why(
    servers: tuple[Server, Server],
) -> None:
    kernel = start(servers[0], "python3.nonsense")
    said = asyncio.run(run_as_lab(kernel, f"import os; print(os.path.exists({NODE!r}))"))
    assert "no GPU profile called nonsense" in said
    assert "This kernel runs on the CPU." in said
    assert "False" in said
    assert kernel.end() == 204
