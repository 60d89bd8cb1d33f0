"""What the compute broker and the LMS say to each other of GPUs: devices, grants, what runs."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from lms.protocol.sentences import Sentence

#: How the last kernel of a lease ended when nobody asked it to.
LOST = "lost"


class DeviceKind(StrEnum):
    """What a device is."""

    #: A whole GPU; with several slices, it is shared in time.
    GPU = "gpu"
    #: A part of a GPU that the hardware keeps apart.
    MIG = "mig"
    #: No hardware at all: for trying things out.
    SIMULATED = "simulated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Something that can be leased; `slices` leases may hold it at once."""

    id: str
    kind: DeviceKind
    name: str
    memory_bytes: int
    slices: int = 1
    #: Device nodes that whoever holds it sees.
    paths: tuple[str, ...] = ()
    simulated: bool = False

    def to_json(self) -> dict[str, object]:
        """Return the device as JSON values."""
        return {
            "id": self.id,
            "kind": self.kind.value,
            "name": self.name,
            "memory_bytes": self.memory_bytes,
            "slices": self.slices,
            "paths": list(self.paths),
            "simulated": self.simulated,
        }

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Rebuild a device; raises ValueError on anything that is not one."""
        given = _object(value)
        return cls(
            id=_text(given.get("id")),
            kind=DeviceKind(_text(given.get("kind"))),
            name=_text(given.get("name")),
            memory_bytes=int(_number(given.get("memory_bytes"))),
            slices=int(_number(given.get("slices"))),
            paths=tuple(map(_text, _list(given.get("paths")))),
            simulated=given.get("simulated") is True,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The devices of a machine; `reason` says why there are none."""

    devices: tuple[Device, ...] = ()
    reason: Sentence | None = None

    def to_json(self) -> dict[str, object]:
        """Return the inventory as JSON values."""
        return {
            "devices": [device.to_json() for device in self.devices],
            "reason": None if self.reason is None else self.reason.to_json(),
        }

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Rebuild an inventory; raises ValueError on anything that is not one."""
        given = _object(value)
        reason = given.get("reason")
        return cls(
            devices=tuple(map(Device.from_json, _list(given.get("devices")))),
            reason=None if reason is None else Sentence.from_json(reason),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningKernel:
    """A kernel that the broker runs under a lease."""

    pid: int
    #: When it started, in seconds since the epoch.
    started: float
    #: How long it has not computed; None where that cannot be told.
    idle_seconds: float | None = None

    def to_json(self) -> dict[str, object]:
        """Return the kernel as JSON values."""
        return {"pid": self.pid, "started": self.started, "idle_seconds": self.idle_seconds}

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Rebuild a kernel; raises ValueError on anything that is not one."""
        given = _object(value)
        idle = given.get("idle_seconds")
        return cls(
            pid=int(_number(given.get("pid"))),
            started=_number(given.get("started")),
            idle_seconds=None if idle is None else _number(idle),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningLease:
    """A grant as the broker knows it, and what runs under it."""

    lease: str
    uid: int
    devices: tuple[str, ...]
    #: When it ends at the latest, in seconds since the epoch.
    until: float
    kernels: tuple[RunningKernel, ...] = ()
    #: How its last kernel ended: a value of lms.protocol.broker.Verdict, LOST, or empty when not
    #: known.
    ended: str = ""

    def to_json(self) -> dict[str, object]:
        """Return the lease as JSON values."""
        return {
            "lease": self.lease,
            "uid": self.uid,
            "devices": list(self.devices),
            "until": self.until,
            "kernels": [kernel.to_json() for kernel in self.kernels],
            "ended": self.ended,
        }

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Rebuild a lease; raises ValueError on anything that is not one."""
        given = _object(value)
        return cls(
            lease=_text(given.get("lease")),
            uid=int(_number(given.get("uid"))),
            devices=tuple(map(_text, _list(given.get("devices")))),
            until=_number(given.get("until")),
            kernels=tuple(map(RunningKernel.from_json, _list(given.get("kernels")))),
            ended=str(given.get("ended") or ""),
        )


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError("an answer is an object")  # noqa: TRY004 - documented kind
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ValueError("a list was expected")  # noqa: TRY004 - documented kind
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("a text was expected")  # noqa: TRY004 - documented kind
    return value


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
        raise ValueError("a number must not be negative")
    return value
