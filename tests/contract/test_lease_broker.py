"""What whoever hands out devices must do, whichever way it does it."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lms.compute.ports import GpuBroker
from lms.outposts.broker.client import BrokerRefusedError, BrokerUnavailableError
from lms.outposts.broker.lease_client import LeaseClient
from tests.fakes.broker_leases import FakeGpuBroker

UID, OTHER = 200001, 200002
UNTIL = 4_000_000_000.0


#: As `lms broker` starts it, but for the zygotes, which no lease needs.
SOURCE = """
from dataclasses import replace
from lms.cli.broker import broker_config
from lms.foundation.settings import load_settings
from lms.outposts.broker.server import serve
serve(replace(broker_config(load_settings()), zygote_at_start=False))
"""


@pytest.fixture(scope="module")
def real_broker() -> Iterator[LeaseClient]:
    """A real broker in a process of its own."""
    if os.geteuid() != 0:
        pytest.skip("the broker keeps devices apart as root")
    with tempfile.TemporaryDirectory(prefix="b-") as folder:
        env = os.environ | {"LMS_DATA": folder, "LMS_SIMULATED_GPUS": "2x2"}
        log = Path(folder, "log")
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-c", SOURCE], env=env, stdout=file, stderr=file
            )
        client = LeaseClient(Path(folder, "run", "broker.sock"))
        try:
            _wait_for(client, process, log)
            yield client
        finally:
            process.terminate()
            process.wait(20)


def _wait_for(client: LeaseClient, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < end:
        try:
            client.inventory()
        except BrokerUnavailableError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(log.read_text())


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.sandbox)])
def broker(request: pytest.FixtureRequest) -> Iterator[GpuBroker]:
    """A broker of two simulated devices with two slices each, and nothing granted."""
    if request.param == "fake":
        yield FakeGpuBroker("2x2")
        return
    client: LeaseClient = request.getfixturevalue("real_broker")
    yield client
    for lease in client.leases():
        client.revoke(lease.lease, "the test is over")


def test_the_inventory_names_its_devices(broker: GpuBroker) -> None:
    devices = broker.inventory().devices
    assert [one.slices for one in devices] == [2, 2]
    assert all(one.simulated for one in devices)


def test_a_grant_is_listed_until_it_is_revoked(broker: GpuBroker) -> None:
    device = broker.inventory().devices[0].id
    broker.grant("a" * 32, uid=UID, devices=[device], until=UNTIL)
    (listed,) = broker.leases()
    assert (listed.lease, listed.uid, listed.devices) == ("a" * 32, UID, (device,))
    assert listed.until == UNTIL
    assert listed.kernels == ()
    broker.revoke("a" * 32, "cap")
    assert broker.leases() == []


def test_granting_again_and_revoking_what_is_not_known_change_nothing(broker: GpuBroker) -> None:
    device = broker.inventory().devices[0].id
    for _ in range(2):
        broker.grant("a" * 32, uid=UID, devices=[device], until=UNTIL)
    broker.revoke("b" * 32, "person")
    assert len(broker.leases()) == 1


def test_a_device_is_granted_to_as_many_as_it_has_slices(broker: GpuBroker) -> None:
    device = broker.inventory().devices[0].id
    broker.grant("a" * 32, uid=UID, devices=[device], until=UNTIL)
    broker.grant("b" * 32, uid=OTHER, devices=[device], until=UNTIL)
    with pytest.raises(BrokerRefusedError):
        broker.grant("c" * 32, uid=OTHER, devices=[device], until=UNTIL)
    broker.revoke("a" * 32, "idle")
    broker.grant("c" * 32, uid=OTHER, devices=[device], until=UNTIL)


def test_a_device_that_is_not_there_is_refused(broker: GpuBroker) -> None:
    with pytest.raises(BrokerRefusedError):
        broker.grant("a" * 32, uid=UID, devices=["GPU-nonsense"], until=UNTIL)
    assert broker.leases() == []
