"""What Prometheus is told of GPUs: each family of `/metrics`, read at one instant."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lms.compute import figures, quotas
from lms.compute.ledger import PAUSE
from lms.compute.models import GpuInventory, GpuUse, Lease, Reservation
from lms.compute.profiles import Terms
from lms.compute.queue import list_reservations
from lms.compute.rules import Entry, LeaseState, Need

#: How many of the newest granted leases tell how long one waits, and which shares of them.
_RECENT = 200
_QUANTILES = (0.5, 0.95)
_DAY = timedelta(days=1)


class ComputeMetrics(Collector):
    """The figures of compute at one instant."""

    def __init__(self, session: Session, terms: Terms, now: datetime) -> None:
        self._session, self._terms, self._now = session, terms, now

    def describe(self) -> Iterable[Metric]:
        """Describe nothing: the registry must not ask the database twice."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Return every figure."""
        yield self._broker()
        yield self._slots()
        yield from self._leases()
        yield from self._waits()
        yield from self._hours()
        yield self._ends()
        yield from self._reservations()
        yield from self._quotas()

    def _broker(self) -> Metric:
        answered = self._session.scalar(select(GpuInventory.at))
        return GaugeMetricFamily(
            "lms_gpu_broker_answered_timestamp_seconds",
            "When the broker last answered the worker, which asks once a minute; 0 for never",
            value=answered.timestamp() if answered else 0,
        )

    def _slots(self) -> Metric:
        slots = GaugeMetricFamily(
            "lms_gpu_slots", "Slots of this machine's GPUs", labels=["device", "state", "simulated"]
        )
        for one in figures.list_devices(self._session):
            simulated = str(one.device.simulated).lower()
            slots.add_metric([one.device.id, "held", simulated], one.held)
            slots.add_metric([one.device.id, "free", simulated], one.slots - one.held)
        return slots

    def _leases(self) -> Iterable[Metric]:
        """Return what waits and what runs; a profile without any is told with zeros.

        A series that is missing raises no alert.
        """
        rows = self._session.execute(
            select(Lease.profile, Lease.state, Lease.requested_at, Lease.started_at, Lease.busy_at)
            .where(Lease.state != LeaseState.ENDED)
        ).all()  # fmt: skip
        granted = [row for row in rows if row.state == LeaseState.GRANTED]
        waiting = [row for row in rows if row.state == LeaseState.WAITING]
        profiles = sorted({*self._terms.profiles, *(row.profile for row in rows)})
        leases = GaugeMetricFamily(
            "lms_gpu_leases", "Leases that wait or run", labels=["profile", "state"]
        )
        for state, found in ((LeaseState.WAITING, waiting), (LeaseState.GRANTED, granted)):
            counted = Counter(row.profile for row in found)
            for profile in profiles:
                leases.add_metric([profile, state], counted[profile])
        yield leases
        idle = Counter(
            row.profile for row in granted if row.started_at and self._is_idle(row.busy_at)
        )
        yield _by(
            "lms_gpu_idle_leases",
            "Leases that hold a GPU and have computed nothing for a minute or longer",
            "profile",
            {profile: idle[profile] for profile in profiles},
        )
        yield GaugeMetricFamily(
            "lms_gpu_unstarted_leases",
            "Granted leases that the broker has not confirmed yet",
            value=sum(row.started_at is None for row in granted),
        )
        first = min((row.requested_at for row in waiting), default=self._now)
        yield GaugeMetricFamily(
            "lms_gpu_longest_wait_seconds",
            "How long the oldest wish has waited",
            value=(self._now - first).total_seconds(),
        )

    def _is_idle(self, busy_at: datetime | None) -> bool:
        return busy_at is not None and self._now - busy_at >= PAUSE

    def _waits(self) -> Iterable[Metric]:
        granted = self._session.execute(
            select(Lease.requested_at, Lease.granted_at)
            .where(Lease.granted_at.is_not(None))
            .order_by(Lease.requested_at.desc())
            .limit(_RECENT)
        ).all()
        waits = sorted((end - start).total_seconds() for start, end in granted if end is not None)
        yield GaugeMetricFamily(
            "lms_gpu_recent_wait_seconds",
            f"Mean wait of the {_RECENT} newest granted leases",
            value=sum(waits) / len(waits) if waits else 0,
        )
        yield _by(
            "lms_gpu_recent_wait_quantile_seconds",
            f"Within which time this share of the {_RECENT} newest granted leases was granted",
            "quantile",
            {str(share): _at(waits, share) for share in _QUANTILES},
        )

    def _hours(self) -> Iterable[Metric]:
        used, refunded, idle = (
            CounterMetricFamily(name, help_text, labels=["simulated"])
            for name, help_text in (
                ("lms_gpu_used_hours", "GPU-hours of ended leases"),
                ("lms_gpu_refunded_hours", "GPU-hours given back"),
                ("lms_gpu_idle_hours", "GPU-hours of ended leases in which nothing was computed"),
            )
        )
        rows = self._session.execute(
            select(
                GpuUse.kind, GpuUse.simulated, func.sum(GpuUse.hours), func.sum(GpuUse.idle_hours)
            ).group_by(GpuUse.kind, GpuUse.simulated)
        )
        for kind, simulated, hours, idle_hours in rows:
            label = [str(simulated).lower()]
            if kind == Entry.USED:
                used.add_metric(label, hours)
                idle.add_metric(label, idle_hours)
            else:
                refunded.add_metric(label, -hours)
        yield from (used, refunded, idle)

    def _ends(self) -> Metric:
        ended = CounterMetricFamily("lms_gpu_leases_ended", "Leases that ended", labels=["cause"])
        rows = self._session.execute(
            select(Lease.cause, func.count())
            .where(Lease.state == LeaseState.ENDED)
            .group_by(Lease.cause)
        )
        for cause, count in rows:
            ended.add_metric([cause or ""], count)
        return ended

    def _reservations(self) -> Iterable[Metric]:
        kept = list_reservations(self._session, now=self._now)
        running = [one for one in kept if one.starts_at <= self._now]
        taken = Counter(
            self._session.scalars(
                select(Lease.reservation_id).where(
                    Lease.state == LeaseState.GRANTED, Lease.reservation_id.is_not(None)
                )
            )
        )
        seats = GaugeMetricFamily(
            "lms_gpu_reserved_seats",
            "Seats of classes and bookings that run now, taken by their people or still open",
            labels=["need", "state"],
        )
        for need in Need:
            mine = [one for one in running if one.need == need]
            held = sum(min(one.seats, taken[one.id]) for one in mine)
            seats.add_metric([need, "taken"], held)
            seats.add_metric([need, "open"], sum(one.seats for one in mine) - held)
        yield seats
        soon = [one for one in kept if self._now < one.starts_at <= self._now + _DAY]
        yield _by(
            "lms_gpu_next_day_reserved_seats",
            "Seats of classes and bookings that begin within 24 hours",
            "need",
            {need: _seats(soon, need) for need in Need},
        )

    def _quotas(self) -> Iterable[Metric]:
        rows = quotas.list_quotas(self._session, self._terms, now=self._now)
        for name, help_text, values in (
            (
                "lms_gpu_quota_hours",
                "GPU-hours that each person of the offering has in a week",
                {one.key: one.hours_a_week for one in rows},
            ),
            (
                "lms_gpu_quota_used_hours",
                "GPU-hours that the offering's people have used this week",
                {one.key: one.used for one in rows},
            ),
            (
                "lms_gpu_quota_used_up_people",
                "People of the offering whose hours of this week are used up",
                {one.key: float(len(one.over)) for one in rows},
            ),
            (
                "lms_gpu_promised_seats",
                "Seats that the offering's instructors may keep at once",
                {one.key: float(one.promise.seats_at_once) for one in rows},
            ),
            (
                "lms_gpu_promised_seat_hours",
                "Seat-hours that the offering's instructors may keep in a week",
                {one.key: one.promise.seat_hours_a_week for one in rows},
            ),
        ):
            yield _by(name, help_text, "offering", values)


def _by(name: str, help_text: str, label: str, values: dict[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def _seats(kept: Iterable[Reservation], need: Need) -> float:
    return float(sum(one.seats for one in kept if one.need == need))
