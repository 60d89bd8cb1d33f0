"""Asks the broker about devices and leases; for the part of the LMS that keeps them."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from lms.outposts.broker.client import BrokerClient, BrokerRefusedError
from lms.protocol.devices import Inventory, RunningLease

T = TypeVar("T")


class LeaseClient(BrokerClient):
    """The broker's questions of leases; every method raises the errors of BrokerClient."""

    def inventory(self) -> Inventory:
        """Return the machine's devices."""
        answer = self._ask({"inventory": {}})
        return _read(lambda: Inventory.from_json(answer))

    def grant(self, lease: str, *, uid: int, devices: Sequence[str], until: float) -> None:
        """Let the person with `uid` run kernels on the devices; granting again changes nothing."""
        self._ask(
            {"grant": {"lease": lease, "uid": uid, "devices": list(devices), "until": int(until)}}
        )

    def revoke(self, lease: str, reason: str) -> None:
        """End whatever runs under the lease; one that is not known is no error."""
        self._ask({"revoke": {"lease": lease, "reason": reason}})

    def leases(self) -> list[RunningLease]:
        """Return every grant with what runs under it."""
        answer = self._ask({"leases": {}})
        found = answer.get("leases")
        if not isinstance(found, list):
            raise BrokerRefusedError("the broker's answer names no leases")
        return _read(lambda: [RunningLease.from_json(one) for one in found])


def _read(parse: Callable[[], T]) -> T:
    try:
        return parse()
    except ValueError as error:
        raise BrokerRefusedError(f"the broker's answer cannot be read: {error}") from error
