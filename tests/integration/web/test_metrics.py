"""/metrics: what it tells, and whom."""

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from lms.bootstrap import System
from lms.compute import bookings, quotas, reconcile, seats, service
from lms.compute.bookings import Slot
from lms.compute.rules import Cause, Need
from lms.compute.seats import Promise
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.foundation.resources import resource_dir
from lms.identity.scopes import SYSTEM
from lms.worker.leases import LeaseKeeper
from tests.factories.compute import ask, make_student, simulated, started
from tests.factories.school import School
from tests.fakes.broker_leases import FakeGpuBroker

DOCS = Path(__file__).parents[3] / "docs"
HOUR = timedelta(hours=1)


@pytest.fixture
def busy(system: System, school: School) -> None:
    """One lease that ended by our fault, one that runs, one wish."""
    with transaction(system.sessions) as session:
        before = clock.now() - timedelta(hours=1)
        reconcile.take_stock(session, simulated(1), now=before)
        actors = [make_student(session, school.offering)[1] for _ in range(3)]
        first = started(session, ask(session, actors[0], school.offering, now=before), now=before)
        service.end(session, first.id, Cause.LOST, now=clock.now())
        for actor in actors[1:]:
            ask(session, actor, school.offering, now=clock.now())


def values(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_figures_are_told_to_this_machine(app: Flask, busy: None) -> None:
    answer = app.test_client().get("/metrics")
    assert answer.status_code == 200
    assert answer.content_type.startswith("text/plain")
    found = values(answer.text)
    assert found["lms_gpu_slots", "SIM-0", "true", "held"] == 1
    assert found["lms_gpu_leases", "gpu", "granted"] == 1
    assert found["lms_gpu_leases", "gpu", "waiting"] == 1
    assert found["lms_gpu_used_hours_total", "true"] == pytest.approx(1)
    assert found["lms_gpu_refunded_hours_total", "true"] == pytest.approx(1)
    assert found["lms_gpu_idle_hours_total", "true"] == pytest.approx(1)
    assert found["lms_gpu_leases_ended_total", "lost"] == 1
    assert found["lms_gpu_recent_wait_seconds",] == 0
    assert found["lms_gpu_leases", "gpu-slice", "waiting"] == 0, "told although there is none"
    assert found["lms_gpu_unstarted_leases",] == 1
    assert found["lms_gpu_idle_leases", "gpu"] == 0


def test_waits_idle_gpus_reservations_and_quotas_are_told(
    app: Flask, system: System, school: School
) -> None:
    now = clock.now()
    key = school.offering.key
    with transaction(system.sessions) as session:
        reconcile.take_stock(session, simulated(1, slices=2), now=now - HOUR)
        quotas.set_quota(session, school.offering.id, 2, actor=SYSTEM, now=now)
        promise = Promise(seats_at_once=1, seat_hours_a_week=4)
        seats.set_promise(session, school.offering.id, promise, actor=SYSTEM, now=now)
        for start, count in ((now - timedelta(minutes=5), 1), (now + 5 * HOUR, 2)):
            slot = Slot(need=Need.SLICE, seats=count, starts_at=start, ends_at=start + HOUR)
            bookings.reserve(
                session, slot, offering_id=school.offering.id, actor=SYSTEM, now=now - HOUR
            )
        first, second, third = (make_student(session, school.offering)[1] for _ in range(3))
        used = ask(session, first, school.offering, now=now - HOUR, profile="gpu-slice")
        started(session, used, now=now - HOUR)
        service.end(session, used.id, Cause.PERSON, now=now - timedelta(minutes=10))
        held = ask(session, second, school.offering, now=now, profile="gpu-slice")
        started(session, held, now=now)
        held.busy_at = now - timedelta(minutes=3)
        ask(session, third, school.offering, now=now - timedelta(minutes=2))
    found = values(app.test_client().get("/metrics").text)
    assert found["lms_gpu_idle_leases", "gpu-slice"] == 1
    assert found["lms_gpu_longest_wait_seconds",] == 120
    assert found["lms_gpu_recent_wait_quantile_seconds", "0.95"] == 0
    assert found["lms_gpu_reserved_seats", "slice", "taken"] == 1
    assert found["lms_gpu_reserved_seats", "slice", "open"] == 0
    assert found["lms_gpu_next_day_reserved_seats", "slice"] == 2
    assert found["lms_gpu_promised_seats", key] == 1
    assert found["lms_gpu_promised_seat_hours", key] == 4
    assert found["lms_gpu_quota_hours", key] == 2
    assert found["lms_gpu_quota_used_hours", key] == pytest.approx(0.25 * 50 / 60)
    assert found["lms_gpu_quota_used_up_people", key] == 0


def test_names_are_those_of_the_manual_and_as_prometheus_wants_them(app: Flask, busy: None) -> None:
    text = app.test_client().get("/metrics").text
    families = list(text_string_to_metric_families(text))
    samples = {sample.name for family in families for sample in family.samples}
    assert len(samples) == len(families)
    for family in families:
        assert family.documentation, family.name
        (name,) = {sample.name for sample in family.samples}
        assert re.fullmatch(r"lms_gpu_[a-z_]+", name)
        assert name.endswith("_total") is (family.type == "counter"), name
    manual = (DOCS / "operations.md").read_text(encoding="utf-8")
    metrics = manual.split("## Metrics")[1].split("\n## ")[0]
    table = {row.split("`")[1]: row for row in metrics.splitlines() if row.startswith("| `")}
    assert set(table) == samples
    for family in families:
        for sample in family.samples:
            _, _, kind, unit, labels, meaning, _ = map(str.strip, table[sample.name].split("|"))
            assert kind == family.type, sample.name
            assert unit, sample.name
            assert meaning, sample.name
            for label in sample.labels:
                assert label in labels, (sample.name, label)


def test_alerts_that_we_ship_ask_for_metrics_that_there_are(app: Flask, busy: None) -> None:
    text = app.test_client().get("/metrics").text
    known = {
        sample.name for family in text_string_to_metric_families(text) for sample in family.samples
    }
    file = resource_dir("hub_config") / "prometheus" / "alerts.yml"
    (group,) = yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    rules = {rule["alert"]: rule for rule in group["rules"]}
    assert len(rules) == len(group["rules"])
    assert {"GpuBrokerIsDown", "GpuQueueIsLong", "GpusHeldIdleWhileOthersWait"} <= set(rules)
    for name, rule in rules.items():
        named = set(re.findall(r"\blms_\w+", rule["expr"]))
        assert named, name
        assert named <= known, name
        assert re.fullmatch(r"\d+[smhd]", rule.get("for", "0s")), name
        assert rule["labels"]["severity"] in {"page", "ticket"}, name
        assert rule["annotations"]["summary"].endswith("."), name
        assert rule["expr"].count("(") == rule["expr"].count(")"), name


def test_the_brokers_last_answer_is_told_and_renewed_without_news(
    app: Flask, system: System, school: School
) -> None:
    name = ("lms_gpu_broker_answered_timestamp_seconds",)
    assert values(app.test_client().get("/metrics").text)[name] == 0
    now, later = clock.now(), clock.now() + HOUR
    keeper = LeaseKeeper(sessions=system.sessions, broker=FakeGpuBroker("1"), now=lambda: now)
    keeper.step()
    assert values(app.test_client().get("/metrics").text)[name] == now.timestamp()
    keeper.now = lambda: later
    keeper.step()
    assert values(app.test_client().get("/metrics").text)[name] == later.timestamp()


def test_others_need_the_operators_token(app: Flask, busy: None, system: System) -> None:
    client = app.test_client()
    away = {"REMOTE_ADDR": "192.0.2.7"}
    assert client.get("/metrics", environ_overrides=away).status_code == 403
    proxied = {"X-Forwarded-For": "192.0.2.7"}
    assert client.get("/metrics", headers=proxied).status_code == 403, "a proxy's address is no one"
    bearer = {"Authorization": "Bearer "}
    assert client.get("/metrics", headers=bearer, environ_overrides=away).status_code == 403
    wired = app.extensions["lms_system"]
    token = replace(wired.settings, metrics_token="s3cret")
    app.extensions["lms_system"] = replace(wired, settings=token)
    for shown, status in (("s3cret", 200), ("s3cre", 403), ("비밀", 403)):
        headers = {"Authorization": f"Bearer {shown}".encode().decode("latin-1")}
        answer = client.get("/metrics", headers=headers, environ_overrides=away)
        assert answer.status_code == status, shown
