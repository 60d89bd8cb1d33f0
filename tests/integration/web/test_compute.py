"""My compute, and the boards of operators and instructors."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from flask.testing import FlaskClient
from sqlalchemy import event

from lms.bootstrap import System
from lms.catalogue.models import Offering
from lms.compute import bookings, ledger, quotas, reconcile, seats, service
from lms.compute.models import Lease, Reservation
from lms.compute.profiles import Terms, terms
from lms.compute.rules import Cause, Need
from lms.compute.seats import Promise
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.identity.models import Person
from lms.identity.scopes import SYSTEM, Role
from lms.protocol.devices import DeviceKind, Inventory
from lms.protocol.sentences import sentence
from tests.factories import actor_of, make_enrolment, make_offering
from tests.factories.compute import ask, make_student, simulated, started
from tests.factories.school import School
from tests.fakes.browser import post
from tests.fakes.clock import Clock

Browser = Callable[..., FlaskClient]
HOUR = timedelta(hours=1)


@pytest.fixture
def leases(system: System, school: School, ticking: Clock) -> dict[str, str]:
    """Minseo waits behind Sora, and has used an hour and lost one to us; ids by name."""
    with transaction(system.sessions) as session:
        now = clock.now()
        reconcile.take_stock(session, simulated(1), now=now)
        me = actor_of(school.minseo, **{f"o{school.offering.id}": Role.STUDENT})
        for days, cause in ((3, Cause.PERSON), (2, Cause.LOST)):
            at = now - timedelta(days=days)
            old = ask(session, me, school.offering, now=at, kernel=f"k{days}", terms=terms())
            service.end(session, started(session, old, now=at).id, cause, now=at + HOUR)
        _, sora = make_student(session, school.offering, "sora")
        held = ask(session, sora, school.offering, now=now, terms=terms())
        started(session, held, now=now)
        waiting = ask(session, me, school.offering, now=now, terms=terms())
        return {"sora": held.id, "minseo": waiting.id}


def _lease(system: System, lease_id: str) -> Lease:
    with system.sessions() as session:
        return session.get_one(Lease, lease_id)


def test_my_compute_tells_place_wait_reason_hours_and_history(
    browse: Browser, school: School, leases: dict[str, str]
) -> None:
    page = browse(school.minseo).get("/compute").text
    assert "<b>1</b> in the queue" in page
    assert "about 1 h" in page, "as long as leases lasted before"
    assert "Every GPU of this size is in use." in page
    assert "Begin on the CPU now" in page
    assert "These GPUs are simulated" in page
    assert 'aria-label="GPU-hours a day over four weeks: 1.0 in all, on 1 days."' in page
    assert "1 given back" in page
    assert "of your quota an hour" in page
    assert 'href="/compute/start/gpu-slice"' in page
    assert "free in about 2 h" in page, "behind Sora and oneself"
    assert 'hx-trigger="every 5s"' in page
    assert "Check again" in page


def test_a_gpu_that_waits_for_its_kernel_says_so_and_leads_to_the_notebook(
    browse: Browser, school: School, system: System, leases: dict[str, str]
) -> None:
    mine = browse(school.minseo)
    waits = mine.get("/compute").text
    assert waits.count("Open your notebook") == 1
    with transaction(system.sessions) as session:
        service.end(session, leases["sora"], Cause.PERSON, now=clock.now())
        assert reconcile.start(session, leases["minseo"], now=clock.now())
    page = mine.get("/compute").text
    assert "It is your turn: restart the kernel" in page
    assert page.count("Open your notebook") == 1
    with transaction(system.sessions) as session:
        session.get_one(Lease, leases["minseo"]).kernel_at = clock.now()
    assert "It is your turn" not in mine.get("/compute").text


def test_korean_says_it_too(browse: Browser, school: School, leases: dict[str, str]) -> None:
    page = browse(school.minseo, "ko").get("/compute").text
    assert "이 크기의 GPU는 모두 쓰이고 있어요." in page
    assert "GPU 전체" in page


def test_one_stops_waiting_and_gives_a_gpu_back_by_a_form(
    browse: Browser, school: School, system: System, leases: dict[str, str]
) -> None:
    mine = browse(school.minseo)
    answer = post(mine, f"/compute/{leases['minseo']}/end", page="/compute")
    assert answer.location == "/compute"
    assert _lease(system, leases["minseo"]).cause == Cause.PERSON
    assert "You hold no GPU" in mine.get("/compute").text
    assert post(mine, f"/compute/{leases['sora']}/end", page="/compute").status_code == 404
    assert _lease(system, leases["sora"]).state == "granted"


def test_the_next_free_hour_is_booked_and_cancelled(
    browse: Browser, school: School, system: System, leases: dict[str, str]
) -> None:
    mine = browse(school.minseo)
    post(mine, "/compute/bookings", page="/compute", profile="gpu")
    with system.sessions() as session:
        booked = session.query(Reservation).one()
    assert booked.person_id == school.minseo.id
    assert "An hour is booked for you" in mine.get("/compute").text
    theirs = browse(school.teacher)
    path = f"/compute/bookings/{booked.id}/cancel"
    assert post(theirs, path, page="/compute").status_code == 403
    post(mine, path, page="/compute")
    assert "An hour is booked for you" not in mine.get("/compute").text
    assert post(mine, "/compute/bookings", page="/compute", profile="none").status_code == 400


def test_nobody_books_what_the_person_may_not_have(
    browse: Browser,
    school: School,
    system: System,
    leases: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = replace(terms().get("gpu"), groups=("administrators",))
    shut = Terms(profiles={**terms().profiles, "gpu": whole})
    monkeypatch.setattr("lms.web.student.compute.terms", lambda: shut)
    answer = post(browse(school.minseo), "/compute/bookings", page="/compute", profile="gpu")
    assert answer.status_code == 403
    with system.sessions() as session:
        assert session.query(Reservation).count() == 0


def test_without_gpus_the_page_says_why_and_what_to_do(
    browse: Browser, school: School, system: System
) -> None:
    with transaction(system.sessions) as session:
        reconcile.take_stock(session, Inventory(reason=sentence("No card.")), now=clock.now())
    page = browse(school.minseo).get("/compute").text
    assert "No card." in page
    assert "not on this machine" in page
    assert "Nothing used yet" in page
    assert "hx-trigger" not in page.split("<main")[1]
    board = browse(school.admin).get("/admin/compute").text
    assert "No card." in board
    assert "Nobody holds a GPU" in board
    assert "No GPU was used in these seven days" in board


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", ("There is no such GPU here", "Start on the CPU: Standard", "can be given as")),
        ("ko", ("여기에는 그런 GPU가 없어요", "CPU로 시작: 기본", "내줄 수 있는 장치가 없어요")),
    ],
)
def test_a_profile_whose_gpu_is_not_there_is_told_before_anything_starts(
    browse: Browser, school: School, system: System, language: str, said: tuple[str, ...]
) -> None:
    parts = tuple(
        replace(one, kind=DeviceKind.MIG, simulated=False) for one in simulated(2).devices
    )
    with transaction(system.sessions) as session:
        reconcile.take_stock(session, Inventory(devices=parts), now=clock.now())
    mine = browse(school.minseo, language)
    page = mine.get("/compute").text
    assert 'href="/compute/start/gpu-slice"' in page
    assert 'href="/compute/start/gpu"' not in page, "parts of a GPU are no whole one"
    answer = mine.get("/compute/start/gpu")
    assert answer.status_code == 409
    for words in said:
        assert words in answer.text
    assert mine.get("/compute/start/gpu-slice").status_code == 302
    wrong = mine.get("/compute/start/gpu-a100")
    assert wrong.status_code == 400
    assert "gpu-a100" in wrong.text
    assert "Traceback" not in wrong.text


def test_operators_see_everything_and_end_a_lease_after_a_question(
    browse: Browser, school: School, system: System, leases: dict[str, str]
) -> None:
    keeper = browse(school.admin)
    board = keeper.get("/admin/compute").text
    for words in ("Sora", "김민서", "SIM-0", "1 of 1 in use", "Over seven days", "Compute nothing"):
        assert words in board
    question = f"/admin/compute/leases/{leases['sora']}"
    assert "loses its variables" in keeper.get(question).text
    assert _lease(system, leases["sora"]).state == "granted", "asking ends nothing"
    post(keeper, f"{question}/end", page=question)
    assert _lease(system, leases["sora"]).cause == Cause.OPERATOR
    assert _lease(system, leases["minseo"]).state == "granted"


def test_instructors_see_their_offering_and_end_nothing(
    browse: Browser, school: School, leases: dict[str, str]
) -> None:
    teacher = browse(school.teacher)
    path = f"/teach/{school.offering.key}/compute"
    page = teacher.get(path).text
    assert "Sora" in page
    assert "/admin/compute/leases" not in page
    assert path in teacher.get(f"/teach/{school.offering.key}").text
    assert browse(school.minseo).get(path).status_code == 403
    assert teacher.get(f"/teach/{school.full.key}/compute").status_code == 403
    assert teacher.get("/admin/compute").status_code == 403


def _asked(**changed: str) -> dict[str, str]:
    day = (clock.now() + timedelta(days=2)).date().isoformat()
    usual = {"date": day, "start": "14:00", "end": "16:00", "seats": "1", "weeks": "2"}
    return usual | {"profile": "gpu-slice"} | changed


def test_instructors_see_before_they_keep_seats_and_give_them_back_after_a_question(
    browse: Browser, school: School, system: System, leases: dict[str, str]
) -> None:
    teacher, board = browse(school.teacher), f"/teach/{school.offering.key}/compute"
    assert f"{board}/reserve" in teacher.get(board).text
    plan = teacher.get(f"{board}/reserve", query_string=_asked()).text
    assert plan.count("Can be kept") == 2
    assert "1 seats at once and 8 seat-hours" in plan
    answer = post(teacher, f"{board}/reserve", page=f"{board}/reserve?date=", **_asked())
    assert answer.location == board
    assert "2 classes have their seats." in teacher.get(board).text
    again = teacher.get(f"{board}/reserve", query_string=_asked()).text
    assert again.count("Cannot be kept") == 2
    assert "Kept meanwhile:" in again
    assert "Keep these seats" not in again
    refused = post(teacher, f"{board}/reserve", page=f"{board}/reserve", **_asked())
    assert refused.status_code == 409
    with system.sessions() as session:
        kept = session.query(Reservation).order_by(Reservation.id).all()
    assert len(kept) == 2, "all weeks or none"
    question = f"{board}/reservations/{kept[0].id}"
    assert "Others may take the seats at once." in teacher.get(question).text
    post(teacher, f"{question}/cancel", page=question)
    assert teacher.get(question).status_code == 404


def test_a_wish_for_seats_is_checked_field_by_field(
    browse: Browser, school: School, leases: dict[str, str]
) -> None:
    teacher, path = browse(school.teacher), f"/teach/{school.offering.key}/compute/reserve"
    wrong = _asked(date="soon", start="x", seats="-1", weeks="99", profile="none")
    page = teacher.get(path, query_string=wrong).text
    for words in ("Write the day", "Write the time", "from 1 to 26", "Choose one of the profiles"):
        assert words in page
    late = teacher.get(path, query_string=_asked(end="13:00")).text
    assert "must end after it has begun" in late
    assert post(teacher, path, page=path, **wrong).status_code == 400
    assert browse(school.minseo).get(path).status_code == 403
    other = f"/teach/{school.full.key}/compute/reserve"
    assert post(teacher, other, page=path, **_asked()).status_code == 403


@pytest.fixture
def count_queries(system: System) -> Iterator[Callable[[Callable[[], object]], int]]:
    """Count the statements that something asks the database."""
    asked: list[str] = []

    def note(*words: object) -> None:
        asked.append(str(words[2]))

    def count(act: Callable[[], object]) -> int:
        asked.clear()
        act()
        return len(asked)

    event.listen(system.engine, "before_cursor_execute", note)
    yield count
    event.remove(system.engine, "before_cursor_execute", note)


def test_more_courses_leases_and_reservations_ask_no_more_queries(
    browse: Browser,
    school: School,
    system: System,
    leases: dict[str, str],
    count_queries: Callable[[Callable[[], object]], int],
) -> None:
    board = f"/teach/{school.offering.key}/compute"
    pages = {
        "/compute": school.minseo,
        "/admin/compute": school.admin,
        "/admin/compute/quotas": school.admin,
        board: school.teacher,
    }
    browsers = {path: browse(person) for path, person in pages.items()}

    def count() -> dict[str, int]:
        return {path: count_queries(partial(one.get, path)) for path, one in browsers.items()}

    count()
    before = count()
    with transaction(system.sessions) as session:
        now = clock.now()
        person = session.get_one(Person, school.minseo.id)
        for number in range(3):
            course = make_offering(session)
            make_enrolment(session, person, course)
            promise = Promise(seats_at_once=1, seat_hours_a_week=8)
            seats.set_promise(session, course.id, promise, actor=SYSTEM, now=now)
            quotas.set_quota(session, course.id, 5, actor=SYSTEM, now=now)
            _, other = make_student(session, session.get_one(Offering, school.offering.id))
            ask(session, other, school.offering, now=now, kernel=f"m{number}", terms=terms())
            at = now + (2 + number) * 24 * HOUR
            slot = bookings.Slot(need=Need.SLICE, seats=1, starts_at=at, ends_at=at + HOUR)
            bookings.reserve(session, slot, offering_id=school.offering.id, actor=SYSTEM, now=now)
    assert count() == before


def test_hours_of_a_week_are_those_asked_one_by_one(
    school: School, system: System, leases: dict[str, str]
) -> None:
    with system.sessions() as session:
        for person in (school.minseo, school.teacher):
            places = (school.offering.id, school.full.id, None)
            at = clock.now()
            assert ledger.weeks(session, terms(), person.id, places, now=at) == {
                place: (
                    ledger.used(session, person.id, place, now=at),
                    ledger.allowance(session, terms(), person.id, place),
                )
                for place in places
            }


def test_operators_change_the_hours_and_seats_of_courses_together(
    browse: Browser, school: School, system: System, leases: dict[str, str]
) -> None:
    keeper, path = browse(school.admin), "/admin/compute/quotas"
    assert path in keeper.get("/admin/compute").text
    with transaction(system.sessions) as session:
        service.end(session, leases["sora"], Cause.PERSON, now=clock.now() + HOUR)
    mine, other = school.offering, school.full
    fields = {f"hours-{mine.id}": "0.5", f"seats-{mine.id}": "3", f"kept-{mine.id}": "12"}
    post(keeper, path, page=path, **fields, **{f"hours-{other.id}": "6"})
    page = keeper.get(path).text
    assert "2 courses changed." in page
    assert 'value="0.5"' in page
    assert "sora" in page, "an hour of half an hour is used"
    wrong = post(keeper, path, page=path, **{f"hours-{mine.id}": "7", f"kept-{other.id}": "nan"})
    assert wrong.status_code == 400
    with system.sessions() as session:
        places = {one.key: one for one in quotas.list_quotas(session, terms(), now=clock.now())}
    assert (places[mine.key].hours_a_week, places[other.key].hours_a_week) == (0.5, 6)
    assert places[mine.key].promise == Promise(seats_at_once=3, seat_hours_a_week=12)
    assert places[mine.key].set_by == school.admin.username
    assert browse(school.teacher).get(path).status_code == 403
