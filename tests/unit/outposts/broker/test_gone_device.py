"""A lease ends although its device has gone: nobody could use that slot again otherwise."""

import threading
import time
from dataclasses import replace
from pathlib import Path

from lms.outposts.broker.inventory import read_inventory
from lms.outposts.broker.leases import Grant, Leases
from lms.outposts.broker.server_kernels import ServerKernels


def test_a_lease_ends_whose_device_has_gone(tmp_path: Path) -> None:
    there = read_inventory(simulated="2")
    now = [there]
    leases = Leases(tmp_path, ServerKernels(tmp_path), lambda: now[0])
    leases.inventory()
    until = time.time() + 600
    leases.grant(Grant(lease="one", uid=200_000, devices=("SIMULATED-1",), until=until))
    now[0] = replace(there, devices=there.devices[:1])
    leases.inventory()
    told, heard = [], threading.Event()

    def tell(problem: str) -> None:
        told.append(problem)
        heard.set()

    leases.revoke("one", tell)
    assert heard.wait(30)
    assert told == [""]
    assert leases.list_running() == []
