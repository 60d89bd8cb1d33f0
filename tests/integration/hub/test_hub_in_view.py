"""The Hub as it really runs: without root, in a view, its servers started by the broker."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lms.foundation.resources import resource_dir
from lms.foundation.settings import Uids
from lms.outposts.broker.client import BrokerClient, BrokerUnavailableError
from lms.outposts.broker.servers import end_servers
from lms.outposts.broker.view import View, start_in_view
from lms.outposts.hub.place import HubPlace, hub_command
from tests.fakes.hub_stack import (
    Stack,
    free_ports,
    hub_environment,
    make_place,
    run_in_kernel,
    running_proxy,
    wait_for,
)
from tests.fakes.identity_provider import IdentityProvider, Person, serving

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(os.geteuid() != 0, reason="views and own uids need root"),
]

UIDS = Uids()
LEARNER = 200_017


@contextlib.contextmanager
def _broker(place: HubPlace) -> Iterator[None]:
    env = {"LMS_DATA": str(place.data_dir), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-m", "lms.cli", "broker"]
    with (place.data_dir / "broker.log").open("wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    try:
        for _ in range(300):
            with contextlib.suppress(BrokerUnavailableError):
                BrokerClient(place.broker_socket).probe()
                break
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(20)
        end_servers(place.broker_socket.parent / "servers")


@contextlib.contextmanager
def _hub(place: HubPlace) -> Iterator[None]:
    view = View(
        uid=UIDS.hub,
        gid=UIDS.service_gid,
        read_write=(place.hub_dir,),
        read_only=(place.data_dir / "keys" / "hub", place.broker_socket.parent),
    )
    command = hub_command(sys.executable, resource_dir("hub_config") / "jupyterhub_config.py")
    log = place.data_dir / "hub.log"
    with log.open("ab") as out:
        keeper = start_in_view(command, hub_environment(place), view, log=out.fileno())
    try:
        wait_for(f"{place.inner_hub_url}/hub/health", keeper, log)
        yield
    finally:
        keeper.terminate()
        keeper.wait(30)


@pytest.fixture
def place() -> Iterator[HubPlace]:
    with tempfile.TemporaryDirectory(prefix="h-") as folder:
        Path(folder).chmod(0o711)
        place = make_place(
            Path(folder) / "data", f"http://127.0.0.1:{free_ports(1)}", local_servers=False
        )
        os.chown(place.hub_dir, UIDS.hub, UIDS.service_gid)
        yield place


def test_a_learners_server_runs_as_the_learner_and_outlives_the_hub(place: HubPlace) -> None:
    port = int(place.lms_url.rpartition(":")[2])
    provider = IdentityProvider(place.key("client_secret"), f"{place.hub_url}/hub/oauth_callback")
    stack = Stack(place, provider)
    with serving(provider, port), running_proxy(place), _broker(place):
        with _hub(place):
            browser = stack.browser(Person("minsu", os_uid=LEARNER))
            stack.start_server(browser, "minsu")
            home = place.homes_dir / "minsu"
            assert (home.stat().st_uid, home.stat().st_mode & 0o777) == (LEARNER, 0o700)
            assert (home / "courses").stat().st_uid == LEARNER
            assert run_in_kernel(stack, browser, "minsu", "import os; print(os.getuid())") == (
                f"{LEARNER}\n"
            )
            assert run_in_kernel(
                stack, browser, "minsu", "print(open('/proc/self/comm').read())"
            ) == ("seodang-kernel\n\n")
        with _hub(place):
            assert stack.api(browser, "minsu") == 200
            browser.get(f"{place.hub_url}/hub/logout")
            assert stack.api(browser, "minsu") != 200
            assert BrokerClient(place.broker_socket).poll_server("minsu").running
