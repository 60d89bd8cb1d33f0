"""What the LMS has granted: whose kernels may have which devices; kept in a folder of files.

The LMS decides and says so over the broker's socket; a caller in a notebook server can only name a
lease, which must be its own. The files outlive the broker, as the kernels do.
"""

import json
import logging
import re
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lms.outposts.broker import devices
from lms.outposts.broker.gpu_use import GpuUse
from lms.outposts.broker.idleness import Idleness
from lms.outposts.broker.revoking import Revoking, Told
from lms.outposts.broker.server_kernels import KernelRefusedError, Record, ServerKernels
from lms.protocol.devices import LOST, Device, Inventory, RunningKernel, RunningLease

_log = logging.getLogger(__name__)
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_END_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Devices of one person, until a time in seconds since the epoch."""

    lease: str
    uid: int
    devices: tuple[str, ...]
    until: float
    #: It is being ended: no kernel starts under it any more, and its devices are not free yet.
    ending: bool = False


class Leases:
    """The grants of one machine."""

    def __init__(
        self, folder: Path, kernels: ServerKernels, read_inventory: Callable[[], Inventory]
    ) -> None:
        self._folder = folder / "leases"
        self._nodes = folder / "devices"
        for path in (self._folder, self._nodes):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._kernels = kernels
        self._read = read_inventory
        self._inventory: Inventory | None = None
        self._revoking = Revoking(self._end)
        self._idleness = Idleness(self._busy_pids)
        self._gpu_use = GpuUse()

    def inventory(self) -> Inventory:
        """Return the devices of this machine, looked for anew."""
        self._inventory = self._read()
        return self._inventory

    def grant(self, grant: Grant) -> None:
        """Keep a grant; raises KernelRefusedError when a device is not there or not free."""
        known = self._read_grant(grant.lease)
        if known is not None and known.ending:
            raise KernelRefusedError("this lease is being ended")
        others = [one for one in self._grants() if one.lease != grant.lease]
        for name in grant.devices:
            taken = sum(name in other.devices for other in others)
            if taken >= self._device(name).slices:
                raise KernelRefusedError(f"{name} is granted to others")
        self._write(grant)

    def revoke(self, lease: str, told: Told | None = None) -> bool:
        """Begin to end a lease; `told` hears, from another thread, when nothing of it is left.

        From now on no kernel starts under it. That it is to end is written down first: should the
        broker die meanwhile, the next one does it. False when it is being ended already.
        """
        grant = self._read_grant(lease)
        if grant is not None and not grant.ending:
            try:
                self._write(replace(grant, ending=True))
            except OSError as error:  # a full disk must not keep a lease alive
                _log.warning("the end of lease %s cannot be written down: %s", lease, error)
        return self._revoking.begin(lease, told)

    def _end(self, lease: str) -> None:
        """End the lease's kernels, whatever else holds its devices, and then the grant."""
        path = self._path(lease)
        grant = _read(path)
        kernels = [kernel for kernel in self._kernels.list_records() if kernel.lease == lease]
        for kernel in kernels:
            kernel.keeper.send_signal(signal.SIGTERM)
        end = time.monotonic() + _END_SECONDS
        for kernel in kernels:
            if not kernel.keeper.wait_for_end(max(0.0, end - time.monotonic())):
                kernel.keeper.send_signal(signal.SIGKILL)
            self._kernels.forget(kernel)
        if grant is not None:
            mounts = {number for kernel in kernels for number in kernel.mounts}
            devices.end_holders(grant.uid, mounts, self._sole_nodes(grant, grant.uid))
            others = self._kernels.list_owners() - {grant.uid}
            nodes = self._nodes_of(grant)
            devices.end_strangers(others, mounts, nodes, self._sole_nodes(grant))
        path.unlink(missing_ok=True)
        self._kernels.forget_end(lease)

    def revoke_late(self, now: float) -> list[str]:
        """Begin to end what nobody has ended in time, and kernels without a grant; return those.

        A kernel can be on its way while its lease ends, and a broker can die while it ends one.
        """
        known = {grant.lease: grant for grant in self._grants()}
        running = {record.lease for record in self._kernels.list_records() if record.lease}
        late = {grant.lease for grant in known.values() if grant.ending or grant.until < now}
        return [lease for lease in sorted(late | running - set(known)) if self.revoke(lease)]

    def list_running(self) -> list[RunningLease]:
        """Return every grant with what runs under it."""
        records = self._kernels.list_records()
        leased = [record for record in records if record.lease and record.keeper.is_alive()]
        idle = self._idleness.look(leased, time.monotonic())
        return [self._running(grant, records, idle) for grant in self._grants()]

    def nodes_for(self, lease: str, uid: int) -> tuple[list[str], dict[str, str]]:
        """Return the nodes of a kernel's lease and its variables; raises KernelRefusedError."""
        grant = self._read_grant(lease)
        if grant is None or grant.uid != uid or grant.ending or grant.until < time.time():
            raise KernelRefusedError("there is no such lease, or it has ended")
        found = [self._device(name) for name in grant.devices]
        nodes = [node for device in found for node in self._make_nodes(device)]
        real = ",".join(device.id for device in found if not device.simulated)
        names = ", ".join(f"{device.name} {device.id}" for device in found)
        env = {"LMS_LEASE": lease, "LMS_GPU": names, "CUDA_VISIBLE_DEVICES": real}
        return list(dict.fromkeys(nodes)), env

    def _running(
        self, grant: Grant, records: list[Record], idle: dict[int, float | None]
    ) -> RunningLease:
        ours = [record for record in records if record.lease == grant.lease]
        alive = [record for record in ours if record.keeper.is_alive()]
        ended = self._kernels.read_end(grant.lease)
        if len(alive) < len(ours):
            ended = LOST  # its keeper ended without a word
        kernels = tuple(
            RunningKernel(
                pid=record.first,
                started=record.started_at,
                idle_seconds=idle.get(record.first),
            )
            for record in alive
        )
        return RunningLease(
            lease=grant.lease,
            uid=grant.uid,
            devices=grant.devices,
            until=grant.until,
            kernels=kernels,
            ended="" if kernels else ended,
        )

    def _busy_pids(self) -> set[int]:
        devices_here = (self._inventory or self.inventory()).devices
        if all(device.simulated for device in devices_here):
            return set()
        return self._gpu_use.busy_pids()

    def _device(self, name: str) -> Device:
        inventory = self._inventory or self.inventory()
        for device in inventory.devices:
            if device.id == name:
                return device
        raise KernelRefusedError(f"there is no device {name[:80]}")

    def _make_nodes(self, device: Device) -> list[str]:
        if not device.simulated:
            return list(device.paths)
        path = self._nodes / f"{devices.SIMULATED_PREFIX}{device.id.rpartition('-')[2]}"
        if not path.exists():
            path.write_text(f"{device.name} {device.id}: computes nothing, only for trying out\n")
            path.chmod(0o444)
        return [str(path)]

    def _nodes_of(self, grant: Grant) -> list[str]:
        """Return the nodes of those of its devices that are still there."""
        devices_here = (self._inventory or self.inventory()).devices
        found = [device for device in devices_here if device.id in grant.devices]
        return [node for device in found for node in self._make_nodes(device)]

    def _sole_nodes(self, grant: Grant, uid: int | None = None) -> list[str]:
        """Return the nodes of a grant that no other grant has, of the person with `uid` or any."""
        kept = {
            node
            for other in self._grants()
            if uid in {None, other.uid} and other.lease != grant.lease
            for node in self._nodes_of(other)
        }
        return [node for node in self._nodes_of(grant) if node not in kept]

    def _path(self, lease: str) -> Path:
        if not _NAME.fullmatch(lease) or lease.startswith("."):
            raise KernelRefusedError("a lease's name is letters, digits and . _ -, at most 64")
        return self._folder / f"{lease}.json"

    def _read_grant(self, lease: str) -> Grant | None:
        """Return the grant, which is being ended as soon as we have begun to."""
        grant = _read(self._path(lease))
        if grant is None or lease not in self._revoking:
            return grant
        return replace(grant, ending=True)

    def _write(self, grant: Grant) -> None:
        draft = self._path(grant.lease).with_suffix(".draft")
        draft.write_text(json.dumps(asdict(grant)))
        draft.replace(self._path(grant.lease))

    def _grants(self) -> list[Grant]:
        grants = [_read(path) for path in sorted(self._folder.glob("*.json"))]
        return [grant for grant in grants if grant is not None]


def read_grant(value: object) -> Grant:
    """Rebuild what the LMS grants; raises ValueError on anything that is not a grant."""
    try:
        given: dict[str, Any] = dict(value)  # type: ignore[call-overload]
        names = tuple(str(name) for name in given["devices"])
        return Grant(
            lease=str(given["lease"]),
            uid=int(given["uid"]),
            devices=names,
            until=float(given["until"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError("a grant names lease, uid, devices and until") from error


def _read(path: Path) -> Grant | None:
    try:
        about = json.loads(path.read_text())
        return replace(read_grant(about), ending=about.get("ending") is True)
    except (OSError, ValueError):
        return None
