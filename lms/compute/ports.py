"""What compute needs of the world outside: somebody who hands out devices and knows what runs."""

from collections.abc import Sequence
from typing import Protocol

from lms.protocol.devices import Inventory, RunningLease


class GpuBroker(Protocol):
    """The part that alone opens devices; see lms.outposts.broker.lease_client."""

    def inventory(self) -> Inventory:
        """Return the machine's devices."""

    def grant(self, lease: str, *, uid: int, devices: Sequence[str], until: float) -> None:
        """Let the person with `uid` run kernels on the devices; granting again changes nothing."""

    def revoke(self, lease: str, reason: str) -> None:
        """End whatever runs under the lease; one that is not known is no error."""

    def leases(self) -> list[RunningLease]:
        """Return every grant with what runs under it."""
