"""Leases over HTTP, as a kernel asks for them, and the keeper that makes them true."""

from collections.abc import Callable

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from lms.bootstrap import System
from lms.compute import reconcile
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.identity import service as identity
from lms.identity.models import Person
from lms.worker.leases import LeaseKeeper
from tests.factories.school import School
from tests.fakes.broker_leases import FakeGpuBroker
from tests.fakes.clock import Clock

Call = Callable[..., TestResponse]


@pytest.fixture
def broker() -> FakeGpuBroker:
    return FakeGpuBroker("1")


@pytest.fixture
def keeper(system: System, broker: FakeGpuBroker, ticking: Clock) -> LeaseKeeper:
    """The worker's part, one round at a time; the devices are known after the first."""
    keeper = LeaseKeeper(sessions=system.sessions, broker=broker, now=ticking)
    keeper.step()
    return keeper


@pytest.fixture
def call(app: Flask, system: System, school: School) -> Call:
    """Send a request with a person's token."""

    def call(who: Person | None, method: str, path: str = "", **body: object) -> TestResponse:
        headers = {}
        if who is not None:
            with transaction(system.sessions) as session:
                person = session.get_one(Person, who.id)
                person.locale = "en"
                token = identity.start_sign_in(
                    session, person, now=clock.now(), hours=12, address="127.0.0.1"
                )
            headers["Authorization"] = f"token lms_{token}"
        json = body or None
        return app.test_client().open(
            f"/api/leases{path}", method=method, headers=headers, json=json
        )

    return call


def ask(call: Call, who: Person, school: School, kernel: str = "k1") -> TestResponse:
    return call(who, "POST", profile="gpu", offering=school.offering.key, kernel_id=kernel)


def test_a_kernel_gets_a_gpu_once_the_broker_knows_of_it(
    call: Call, keeper: LeaseKeeper, broker: FakeGpuBroker, school: School
) -> None:
    answer = ask(call, school.minseo, school)
    assert answer.status_code == 201
    assert (answer.get_json()["state"], answer.get_json()["position"]) == ("waiting", 0)
    assert "your turn" in answer.get_json()["text"]
    keeper.step()
    shown = call(school.minseo, "GET", f"/{answer.get_json()['id']}").get_json()
    assert shown["state"] == "granted"
    assert shown["devices"] == ["SIMULATED-0"]
    assert shown["simulated"] is True
    assert [one.uid for one in broker.leases()] == [school.minseo.os_uid]
    (mine,) = call(school.minseo, "GET").get_json()["leases"]
    assert mine["id"] == shown["id"]


def test_the_second_waits_sees_why_and_gets_it_when_the_first_shuts_down(
    call: Call, keeper: LeaseKeeper, broker: FakeGpuBroker, school: School
) -> None:
    first = ask(call, school.minseo, school).get_json()["id"]
    keeper.step()
    second = ask(call, school.teacher, school).get_json()
    assert (second["state"], second["position"]) == ("waiting", 1)
    assert "number 1" in second["text"]
    assert second["expected_wait_seconds"] == 4 * 3600
    assert {one["kind"] for one in second["offers"]} >= {"cpu", "booking"}
    assert call(school.minseo, "DELETE", f"/{first}").get_json()["state"] == "ended"
    keeper.step()
    assert call(school.teacher, "GET", f"/{second['id']}").get_json()["state"] == "granted"
    assert broker.log == [f"grant {first}", f"revoke {first} person", f"grant {second['id']}"]


def test_beats_keep_a_lease_and_warn_before_it_goes(
    call: Call, keeper: LeaseKeeper, broker: FakeGpuBroker, school: School, ticking: Clock
) -> None:
    lease = ask(call, school.minseo, school).get_json()["id"]
    keeper.step()
    broker.start_kernel(lease, idle=0)
    ticking.forward(minutes=1)
    keeper.step()
    broker.start_kernel(lease, idle=3600)
    ticking.forward(minutes=10)
    calm = call(school.minseo, "POST", f"/{lease}/beat", busy=True).get_json()
    assert calm["text"] == ""
    ticking.forward(minutes=13)
    near = call(school.minseo, "POST", f"/{lease}/beat", busy=False).get_json()
    assert (near["cause"], near["ends_in_seconds"]) == ("idle", 120)
    assert "120 seconds" in near["text"]
    ticking.forward(minutes=2)
    keeper.step()
    over = call(school.minseo, "POST", f"/{lease}/beat", busy=False).get_json()
    assert over["state"] == "ended"
    assert "next person" in over["text"]
    assert broker.leases() == []


def test_a_wish_lives_as_long_as_somebody_asks_after_it(
    call: Call, keeper: LeaseKeeper, broker: FakeGpuBroker, school: School, ticking: Clock
) -> None:
    ask(call, school.minseo, school)
    keeper.step()
    waiting = ask(call, school.teacher, school).get_json()["id"]
    for _ in range(3):
        ticking.forward(minutes=2)
        assert call(school.teacher, "GET", f"/{waiting}").get_json()["state"] == "waiting"
        broker.start_kernel(broker.leases()[0].lease)
        keeper.step()
    ticking.forward(minutes=4)
    keeper.step()
    assert call(school.teacher, "GET", f"/{waiting}").get_json()["state"] == "ended"


def test_without_a_token_or_for_anothers_lease_there_is_nothing(
    call: Call, keeper: LeaseKeeper, school: School
) -> None:
    lease = ask(call, school.minseo, school).get_json()["id"]
    for method, path in (("GET", ""), ("POST", ""), ("GET", "/profiles"), ("GET", f"/{lease}"),
                         ("DELETE", f"/{lease}"), ("POST", f"/{lease}/beat")):  # fmt: skip
        assert call(None, method, path).status_code == 401
    assert call(school.newcomer, "GET", f"/{lease}").status_code == 404
    assert call(school.newcomer, "DELETE", f"/{lease}").status_code == 404
    assert ask(call, school.newcomer, school).status_code == 403, "not in the course yet"


@pytest.mark.parametrize(
    "body",
    [
        {"profile": "gpu"},
        {"profile": 1, "kernel_id": "k"},
        {"profile": "", "kernel_id": "k"},
        {"profile": "gpu", "kernel_id": "k" * 65},
        {"profile": "gpu", "kernel_id": "k\n"},
        {"profile": "nonsense", "kernel_id": "k"},
        {"profile": "gpu", "kernel_id": "k", "offering": 7},
    ],
)
def test_nonsense_is_refused_in_a_sentence(
    call: Call, keeper: LeaseKeeper, school: School, body: dict[str, object]
) -> None:
    answer = call(school.minseo, "POST", **body)
    assert answer.status_code == 400
    assert answer.get_json()["error"]["message"].endswith(".")


def test_profiles_are_listed_with_price_and_hours_left(
    call: Call, keeper: LeaseKeeper, school: School
) -> None:
    answer = call(school.minseo, "GET", f"/profiles?offering={school.offering.key}").get_json()
    assert [(one["key"], one["price"]) for one in answer["profiles"]] == [
        ("gpu-slice", 0.25),
        ("gpu", 1.0),
    ]
    assert (answer["hours_a_week"], answer["hours_left"], answer["text"]) == (10, 10, "")


# --- the keeper alone ---


def test_without_devices_people_are_told_why(
    call: Call, keeper: LeaseKeeper, broker: FakeGpuBroker, school: School, ticking: Clock
) -> None:
    broker.simulated = "nonsense"
    ticking.forward(minutes=2)
    keeper.step()
    assert "CPU" in call(school.minseo, "GET", "/profiles").get_json()["text"]
    assert ask(call, school.minseo, school).status_code == 409


def test_a_broker_that_is_down_or_refuses_delays_and_loses_nothing(
    call: Call, keeper: LeaseKeeper, broker: FakeGpuBroker, school: School, ticking: Clock
) -> None:
    lease = ask(call, school.minseo, school).get_json()["id"]
    broker.is_down = True
    with pytest.raises(Exception, match="does not answer"):
        keeper.step()
    broker.is_down = False
    broker.grant("ff" * 16, uid=200999, devices=["SIMULATED-0"], until=0)
    ticking.forward(seconds=1)
    keeper.step()
    assert call(school.minseo, "GET", f"/{lease}").get_json()["state"] == "waiting", "refused"
    ticking.forward(seconds=20)
    keeper.step()
    keeper.step()
    assert [one.lease for one in broker.leases()] == [lease], "the orphan is gone"
    assert call(school.minseo, "GET", f"/{lease}").get_json()["state"] == "granted"


def test_a_lease_that_the_broker_lost_ends_and_its_hours_come_back(
    call: Call, keeper: LeaseKeeper, broker: FakeGpuBroker, school: School, ticking: Clock
) -> None:
    lease = ask(call, school.minseo, school).get_json()["id"]
    keeper.step()
    broker.start_kernel(lease)
    ticking.forward(minutes=10)
    keeper.step()
    broker.end_kernel(lease, "lost")
    ticking.forward(seconds=3)
    keeper.step()
    shown = call(school.minseo, "GET", f"/{lease}").get_json()
    assert (shown["state"], shown["cause"]) == ("ended", "lost")
    assert "given back" in shown["text"]
    left = call(school.minseo, "GET", f"/profiles?offering={school.offering.key}").get_json()
    assert left["hours_left"] == pytest.approx(10)


def test_a_round_that_changes_nothing_writes_nothing(
    keeper: LeaseKeeper, system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "compare", None)
    monkeypatch.setattr(reconcile, "take_stock", None)
    keeper.step()
