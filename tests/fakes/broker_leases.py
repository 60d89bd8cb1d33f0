"""A broker's leases without a broker: devices, grants and kernels in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from lms.outposts.broker.client import BrokerRefusedError, BrokerUnavailableError
from lms.outposts.broker.inventory import read_inventory
from lms.protocol.devices import Inventory, RunningKernel, RunningLease


@dataclass(slots=True)
class FakeGpuBroker:
    """Does what lms.compute.ports.GpuBroker says; the test starts and kills kernels."""

    simulated: str = "2"
    is_down: bool = False
    #: Every question that changed something, in order.
    log: list[str] = field(default_factory=list)
    _grants: dict[str, RunningLease] = field(default_factory=dict)

    def inventory(self) -> Inventory:
        self._answer()
        return read_inventory(simulated=self.simulated)

    def grant(self, lease: str, *, uid: int, devices: Sequence[str], until: float) -> None:
        self._answer()
        known = {one.id: one.slices for one in self.inventory().devices}
        for device in devices:
            if device not in known:
                raise BrokerRefusedError(f"there is no device {device}")
            others = [
                one for one in self._grants.values() if device in one.devices and one.lease != lease
            ]
            if len(others) >= known[device]:
                raise BrokerRefusedError(f"{device} is granted to others")
        self.log.append(f"grant {lease}")
        kernels = self._grants[lease].kernels if lease in self._grants else ()
        self._grants[lease] = RunningLease(
            lease=lease, uid=uid, devices=tuple(devices), until=until, kernels=kernels
        )

    def revoke(self, lease: str, reason: str) -> None:
        self._answer()
        self.log.append(f"revoke {lease} {reason}")
        self._grants.pop(lease, None)

    def leases(self) -> list[RunningLease]:
        self._answer()
        return list(self._grants.values())

    # --- what happens in people's servers ---

    def leases_even_if_down(self) -> list[RunningLease]:
        return list(self._grants.values())

    def start_kernel(self, lease: str, *, idle: float = 0.0) -> None:
        kernel = RunningKernel(pid=1000, started=0.0, idle_seconds=idle)
        self._grants[lease] = replace(self._grants[lease], kernels=(kernel,), ended="")

    def end_kernel(self, lease: str, how: str) -> None:
        self._grants[lease] = replace(self._grants[lease], kernels=(), ended=how)

    def forget(self, lease: str) -> None:
        del self._grants[lease]

    def _answer(self) -> None:
        if self.is_down:
            raise BrokerUnavailableError("the broker does not answer")
