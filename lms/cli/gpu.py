"""`lms gpu`: GPUs, leases, reservations and quotas, for operators."""

import json
from datetime import UTC, datetime, timedelta

import click
from sqlalchemy import select
from sqlalchemy.orm import Session

from lms.bootstrap import build
from lms.catalogue.models import Offering
from lms.catalogue.service import get_offering
from lms.compute import bookings, figures, quotas, seats, service
from lms.compute.bookings import Slot
from lms.compute.models import GpuDevice, Reservation
from lms.compute.profiles import terms
from lms.compute.rules import ZONE
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.foundation.errors import InvalidError
from lms.foundation.settings import load_settings
from lms.identity.scopes import SYSTEM
from lms.identity.service import get_person
from lms.protocol.sentences import sentence

_WEEK = timedelta(days=7)


@click.group()
def gpu() -> None:
    """See who holds GPUs and who waits; reserve seats for a class; set quotas."""


@gpu.command()
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def status(*, as_json: bool) -> None:
    """Show devices, leases, the queue, and the reservations to come."""
    now = clock.now()
    with build(load_settings()).sessions() as session:
        found = _status(session, now)
        reason = service.no_devices_reason(session)
    if as_json:
        found["reason"] = None if reason is None else str(reason)
        click.echo(json.dumps(found, ensure_ascii=False, indent=2))
        return
    _print(found, None if reason is None else str(reason))


@gpu.command()
@click.argument("offering")
@click.option("--seats", type=click.IntRange(1, 10_000), required=True, help="How many people.")
@click.option("--profile", default="gpu-slice", show_default=True, help="What each of them gets.")
@click.option("--from", "start", required=True, help="When, such as 2026-11-26T14:00.")
@click.option("--to", "end", required=True, help="Until when, such as 2026-11-26T16:00.")
@click.option(
    "--weeks", type=click.IntRange(1, 52), default=1, show_default=True,
    help="The same in so many weeks one after the other.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the reservations as JSON.")
def reserve(
    offering: str, *, seats: int, profile: str, start: str, end: str, weeks: int, as_json: bool
) -> None:
    """Keep SEATS GPUs or slices for the people of OFFERING (its key) at a time.

    Times are those of the school, in Seoul, unless they name another zone. All weeks are reserved
    or none.
    """
    need = terms().get(profile).need
    first, last = _instant(start), _instant(end)
    with transaction(build(load_settings()).sessions) as session:
        found = get_offering(session, offering)
        made = [
            bookings.reserve(
                session,
                Slot(
                    need=need,
                    seats=seats,
                    starts_at=first + week * _WEEK,
                    ends_at=last + week * _WEEK,
                ),
                offering_id=found.id,
                actor=SYSTEM,
                now=clock.now(),
            )
            for week in range(weeks)
        ]
        rows = [_reservation(one, offering) for one in made]
    if as_json:
        click.echo(json.dumps({"reservations": rows}, ensure_ascii=False, indent=2))
        return
    for row in rows:
        click.echo(f"Reservation {row['id']}: {_span(row)}, {seats} × {need} for {offering}")


@gpu.command()
@click.argument("reservation", type=int)
def cancel(reservation: int) -> None:
    """Give the seats of RESERVATION (its number) back to everybody."""
    with transaction(build(load_settings()).sessions) as session:
        bookings.cancel(session, reservation, actor=SYSTEM, now=clock.now())
    click.echo(f"Reservation {reservation} is cancelled.")


@gpu.command()
@click.argument("lease")
def end(lease: str) -> None:
    """End LEASE (its id) now; the next in the queue gets the GPU."""
    with transaction(build(load_settings()).sessions) as session:
        service.give_up(session, lease, actor=SYSTEM, now=clock.now())
    click.echo(f"Lease {lease} has ended.")


@gpu.command()
@click.argument("lease")
@click.option("--reason", required=True, help="Why; the person reads it.")
def refund(lease: str, *, reason: str) -> None:
    """Give the hours of an ended LEASE (its id) back."""
    with transaction(build(load_settings()).sessions) as session:
        back = service.refund(
            session, lease, sentence("%(reason)s", reason=reason), actor=SYSTEM, now=clock.now()
        )
    click.echo(f"{back:.2f} GPU-hours are given back.")


@gpu.command()
@click.argument("offering")
@click.argument("hours", type=click.FloatRange(0, 10_000))
@click.option("--person", default="", help="For this username alone.")
def quota(offering: str, hours: float, *, person: str) -> None:
    """Give everybody in OFFERING (its key) HOURS GPU-hours a week, or one person of it."""
    with transaction(build(load_settings()).sessions) as session:
        found = get_offering(session, offering)
        person_id = get_person(session, person).id if person else None
        quotas.set_quota(
            session, found.id, hours, person_id=person_id, actor=SYSTEM, now=clock.now()
        )
    click.echo(f"{offering}: {hours:g} GPU-hours a week for {person or 'everybody'}.")


@gpu.command()
@click.argument("offering")
@click.argument("seats_at_once", type=click.IntRange(0, 10_000))
@click.argument("hours", type=click.FloatRange(0, 1_000_000))
def promise(offering: str, *, seats_at_once: int, hours: float) -> None:
    """Let OFFERING's instructors keep SEATS_AT_ONCE seats, and HOURS seat-hours a week.

    Others may keep half of the machine for eight hours a week. A whole GPU counts as its slices.
    """
    wanted = seats.Promise(seats_at_once=seats_at_once, seat_hours_a_week=hours)
    with transaction(build(load_settings()).sessions) as session:
        found = get_offering(session, offering)
        seats.set_promise(session, found.id, wanted, actor=SYSTEM, now=clock.now())
    click.echo(f"{offering}: {seats_at_once} seats at once, {hours:g} seat-hours a week.")


def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidError(
            sentence("%(value)s is no time; write it as 2026-11-26T14:00.", value=text[:40])
        ) from None
    return (at if at.tzinfo else at.replace(tzinfo=ZONE)).astimezone(UTC)


def _status(session: Session, now: datetime) -> dict[str, object]:
    simulated = session.scalar(select(GpuDevice.id).where(GpuDevice.present, GpuDevice.simulated))
    upcoming = bookings.list_upcoming(session, None, now=now)
    keys = {one.id: one.key for one in session.scalars(select(Offering))}
    week = figures.hours(session, None, since=now - _WEEK)
    return {
        "simulated": simulated is not None,
        "devices": [
            {
                "id": one.device.id,
                "kind": one.device.kind,
                "name": one.device.name,
                "memory_bytes": one.device.memory_bytes,
                "slots": one.slots,
                "held": one.held,
                "simulated": one.device.simulated,
            }
            for one in figures.list_devices(session)
        ],
        "leases": [_lease(one) for one in figures.list_open(session)],
        "reservations": [_reservation(one, keys.get(one.offering_id or 0, "")) for one in upcoming],
        "week": {"used": week.used, "refunded": week.refunded, "idle": week.idle},
    }


def _lease(one: figures.OpenLease) -> dict[str, object]:
    lease = one.lease
    return {
        "id": lease.id,
        "state": lease.state,
        "person": one.person.username,
        "offering": None if one.offering is None else one.offering.key,
        "profile": lease.profile,
        "devices": lease.devices,
        "requested_at": lease.requested_at.isoformat(),
        "until": None if lease.until is None else lease.until.isoformat(),
        "simulated": lease.simulated,
    }


def _reservation(one: Reservation, offering: str) -> dict[str, object]:
    return {
        "id": one.id,
        "offering": offering,
        "gpu": one.need,
        "seats": one.seats,
        "starts_at": one.starts_at.isoformat(),
        "ends_at": one.ends_at.isoformat(),
    }


def _span(row: dict[str, object]) -> str:
    start, end = (
        datetime.fromisoformat(str(row[key])).astimezone(ZONE) for key in ("starts_at", "ends_at")
    )
    return f"{start:%Y-%m-%d %H:%M} to {end:%H:%M}"


def _print(found: dict[str, object], reason: str | None) -> None:
    devices, leases, reservations = (
        _rows(found, name) for name in ("devices", "leases", "reservations")
    )
    if found["simulated"]:
        click.echo("These GPUs are simulated (LMS_SIMULATED_GPUS): nothing computes on them.")
    for one in devices:
        click.echo(f"{one['id']}: {one['name']}, {one['held']} of {one['slots']} held")
    if not devices:
        click.echo(reason or "No GPU is known yet; the worker asks the broker while `lms up` runs.")
    for one in leases:
        where = ", ".join(one["devices"]) if isinstance(one["devices"], list) else ""
        click.echo(
            f"{one['state']}: {one['person']}, {one['profile']} {where} "
            f"{one['offering'] or '-'} until {one['until'] or '-'} ({one['id']})"
        )
    for one in reservations:
        click.echo(f"reservation {one['id']}: {_span(one)}, {one['seats']} × {one['gpu']}")


def _rows(found: dict[str, object], name: str) -> list[dict[str, object]]:
    rows = found[name]
    return rows if isinstance(rows, list) else []
