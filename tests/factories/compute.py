"""Builders for compute: devices as a broker tells of them, terms, and a person in an offering."""

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from lms.catalogue.models import Offering
from lms.compute import reconcile, service
from lms.compute.models import Lease
from lms.compute.profiles import GpuProfile, Terms
from lms.compute.rules import Need
from lms.foundation.bilingual import Bilingual
from lms.identity.models import Person
from lms.identity.scopes import Actor, Role
from lms.protocol.devices import Device, DeviceKind, Inventory, RunningKernel, RunningLease
from tests.factories import actor_of, make_enrolment, make_person

WHOLE = GpuProfile(
    key="gpu", title=Bilingual(ko="GPU 전체", en="Whole GPU"), need=Need.WHOLE,
    cap=timedelta(hours=4),
)  # fmt: skip
SLICE = GpuProfile(
    key="gpu-slice", title=Bilingual(ko="GPU 조각", en="GPU slice"), need=Need.SLICE,
    price=0.25, cap=timedelta(hours=4),
)  # fmt: skip
TERMS = Terms(profiles={"gpu-slice": SLICE, "gpu": WHOLE})


def simulated(count: int, slices: int = 1) -> Inventory:
    """Return so many simulated devices."""
    return Inventory(
        devices=tuple(
            Device(
                id=f"SIM-{number}", kind=DeviceKind.SIMULATED, name="Simulated GPU",
                memory_bytes=8 << 30, slices=slices, simulated=True,
            )
            for number in range(count)
        )
    )  # fmt: skip


def make_student(session: Session, offering: Offering, username: str = "") -> tuple[Person, Actor]:
    """Add somebody who takes part in the offering."""
    person = make_person(session, username)
    make_enrolment(session, person, offering)
    return person, actor_of(person, **{f"o{offering.id}": Role.STUDENT})


def ask(
    session: Session,
    actor: Actor,
    offering: Offering | None,
    *,
    now: datetime,
    profile: str = "gpu",
    kernel: str = "k1",
    terms: Terms = TERMS,
) -> Lease:
    """Ask for a lease as a kernel does."""
    wish = service.Wish(
        profile=profile, kernel_id=kernel, offering_id=None if offering is None else offering.id
    )
    return service.request(session, wish, terms=terms, actor=actor, now=now)


def started(session: Session, lease: Lease, *, now: datetime) -> Lease:
    """Let the broker know of the lease and have a kernel under it."""
    assert reconcile.start(session, lease.id, now=now)
    session.refresh(lease)
    lease.kernel_at = now
    session.flush()
    return lease


def running(lease: Lease, *, idle: float | None = 0.0, kernels: int = 1) -> RunningLease:
    """Return what a broker says of the lease."""
    return RunningLease(
        lease=lease.id,
        uid=200000,
        devices=tuple(lease.devices),
        until=0 if lease.until is None else lease.until.timestamp(),
        kernels=tuple(
            RunningKernel(pid=100 + number, started=0, idle_seconds=idle)
            for number in range(kernels)
        ),
    )
