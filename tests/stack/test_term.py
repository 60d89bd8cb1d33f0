"""A term at central and at two centres, as separate systems: one on a bad line, one by stick.

Publish, teach, hand in, grade, open an exam, correct a hidden test, regrade, certify: at the end
the three gradebooks agree.
"""

import json
import re
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from lms.bootstrap import build
from lms.catalogue.models import OfferedAssignment, Offering
from lms.foundation.settings import Settings
from lms.gradebook.service import standings
from lms.identity.models import Person
from tests.factories.notebooks import answered, checked, manual, notebook, solution, to_bytes
from tests.fakes.rough_line import rough_line
from tests.stack import ROOT, Stack, environment, free_ports, start, wait_until

pytestmark = [pytest.mark.stack, pytest.mark.sandbox]

FALSE_TEST, TRUE_TEST = "assert double(10) == 12", "assert double(10) == 20"
COURSE, OFFERING = "counting", "counting-2026w"
PASSWORD = "four plain words here"
RIGHT, WRONG = "def double(x):\n    return 2 * x", "def double(x):\n    return x + 2"


def _write_course(folder: Path, opens: datetime, *, hidden: str) -> None:
    """Write a course of an exercise whose hidden test can be wrong, and of a sealed exam."""
    (folder / "course.toml").parent.mkdir(parents=True, exist_ok=True)
    (folder / "course.toml").write_text(
        f"""
[course]
key = "{COURSE}"
title = "Counting"

[[assignments]]
key = "exercise"
title = "Exercise"

[[assignments]]
key = "exam"
title = "Exam"
sealed_until = {opens.isoformat()}

[[offerings]]
key = "{OFFERING}"
title = "Winter"
starts_on = 2026-11-02
ends_on = 2099-02-26
enrolment = "open"
"""
    )
    stub = f"### BEGIN SOLUTION\n{RIGHT}\n### END SOLUTION"
    for key, test in (("exercise", hidden), ("exam", "assert double(21) == 42")):
        source = folder / "source" / key
        source.mkdir(parents=True, exist_ok=True)
        cells = (
            solution("double", stub),
            checked("seen", 1, "assert double(1) == 2"),
            checked("hidden", 3, f"### BEGIN HIDDEN TESTS\n{test}\n### END HIDDEN TESTS"),
            manual("why", 2, "Say why."),
        )
        (source / f"{key}.ipynb").write_bytes(to_bytes(notebook(*cells)))


@dataclass
class Place:
    """Central or a centre: a system of its own."""

    name: str
    root: Path
    ports: tuple[int, int]
    url: str = ""
    stack: Stack | None = None
    #: Who handed in what at it: username -> assignment -> answer.
    work: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        return self.root / self.name / "data"

    def lms(self, *words: str, given: str = "", tries: int = 1) -> str:
        """Run a command; over a bad line a person runs it again."""
        for _ in range(tries):
            done = subprocess.run(
                [sys.executable, "-m", "lms.cli", *words],
                env=environment(self.data, *self.ports) | self._urls(),
                cwd=ROOT,
                input=given,
                capture_output=True,
                text=True,
                check=False,
            )
            assert "Traceback" not in done.stderr, done.stderr
            if done.returncode == 0:
                return done.stdout
            time.sleep(0.1)
        raise AssertionError(f"{self.name}: {words}\n{done.stdout}\n{done.stderr}")

    def start(self, *words: str) -> None:
        # In a folder without courses, as a centre's box is.
        self.stack = start(self.data, self.ports, self._urls(), words=words, cwd=self.data.parent)

    def wait_until_well(self) -> None:
        stack = self.stack
        assert stack is not None
        wait_until(lambda: "Seodang is up" in stack.output.read_text(), 180, f"{self.name} is up")

    def stop(self) -> None:
        if self.stack is not None:
            self.stack.stop()

    def _urls(self) -> dict[str, str]:
        return {"LMS_URL": self.url} if self.url else {}

    def person(self, username: str, role: str = "student") -> None:
        self.lms("person", "add", username, "--password-stdin", given=PASSWORD + "\n")
        self.lms("person", "role", username, OFFERING, role)

    def hand_in(self, username: str, assignment: str, answer: str) -> None:
        folder = self.root / "work" / self.name / username
        folder.mkdir(parents=True, exist_ok=True)
        who = ("--server", self.url or f"http://127.0.0.1:{self.ports[0]}", "--username", username)
        fetched = ("fetch", OFFERING, assignment, "--into", str(folder), *who)
        self.lms(*fetched, given=PASSWORD + "\n")
        path = folder / OFFERING / assignment / f"{assignment}.ipynb"
        path.write_bytes(answered(path.read_bytes(), {"double": answer}))
        self.lms("submit", OFFERING, assignment, str(path), *who, given=PASSWORD + "\n")
        self.work.setdefault(username, {})[assignment] = answer

    def scores(self) -> dict[tuple[str, str], float | None]:
        """Return the score that counts, by person and assignment."""
        system = build(Settings.from_env(environment(self.data, *self.ports)))
        try:
            with system.sessions() as session:
                return _scores(session)
        finally:
            system.engine.dispose()


def _scores(session: Session) -> dict[tuple[str, str], float | None]:
    found = {}
    for person in session.scalars(select(Person)):
        for task_id, one in standings(session, person.id, _offerings(session)).items():
            task = session.get_one(OfferedAssignment, task_id)
            found[person.username, task.assignment.key] = one.score
    return found


def _offerings(session: Session) -> list[int]:
    return list(session.scalars(select(Offering.id)))


def _all_graded(place: Place, count: int) -> None:
    """Wait until so many results stand that are not held."""
    wait_until(
        lambda: sum(score is not None for score in place.scores().values()) >= count,
        120,
        f"{count} scores at {place.name}: {place.scores()}",
    )


@pytest.fixture
def term(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("term")


def test_a_term_at_central_and_two_centres_ends_with_gradebooks_that_agree(term: Path) -> None:
    course, stick = term / "courses" / COURSE, term / "stick"
    # The exercise's hidden test is wrong: it asks for what the wrong answer gives.
    _write_course(course, datetime(2099, 1, 1, tzinfo=UTC), hidden=FALSE_TEST)
    ports = [free_ports()]
    while len(ports) < 4:
        ports.append(free_ports(ports[-1][1] + 4))
    central = Place("central", term, ports[0], url=f"http://127.0.0.1:{ports[3][0]}")
    gimje, ulleung = Place("gimje", term, ports[1]), Place("ulleung", term, ports[2])
    with ExitStack() as stack:
        line = stack.enter_context(rough_line(ports[3][0], ports[0][0], seed=7))
        for place in (central, gimje, ulleung):
            stack.callback(place.stop)
        _publish(central, course)
        _join(central, gimje, ulleung)
        _bring_courses(central, gimje, ulleung, stick)
        _teach(central, gimje, ulleung)
        _sync(central, gimje, ulleung, stick)
        opens = _bring_exam_forward(central, gimje, ulleung, course, stick)
        _open_exam(central, gimje, ulleung, opens)
        _sync(central, gimje, ulleung, stick)
        _correct(central, gimje, ulleung, course, opens, stick)
        _sync(central, gimje, ulleung, stick)
        _certify(central, gimje, ulleung)
        _agree(central, gimje, ulleung)
        assert line.seen["cut"] > 2
        assert line.seen["spoilt"] > 0


def _publish(central: Place, course: Path) -> None:
    central.start("--courses", str(course.parent))
    central.wait_until_well()
    central.lms("bundle", "build", str(course), "--course", COURSE)


def _join(central: Place, gimje: Place, ulleung: Place) -> None:
    for place in (gimje, ulleung):
        ticket = str(central.root / f"{place.name}.ticket")
        central.lms("centre", "invite", place.name, "--out", ticket)
    # The line may be cut while it joins: then a reply is written, and joining again does no harm.
    while "Central knows it" not in gimje.lms("centre", "join", str(central.root / "gimje.ticket")):
        time.sleep(0.1)
    reply = str(central.root / "ulleung.reply")
    ulleung.lms("centre", "join", str(central.root / "ulleung.ticket"), "--reply", reply)
    central.lms("centre", "approve", reply)


def _bring_courses(central: Place, gimje: Place, ulleung: Place, stick: Path) -> None:
    gimje.lms("centre", "pull", tries=20)
    central.lms("bundle", "export", "--to", str(stick))
    ulleung.lms("centre", "pull", "--from", str(stick))
    for place in (gimje, ulleung):
        place.start()
    for place in (gimje, ulleung):
        place.wait_until_well()


def _teach(central: Place, gimje: Place, ulleung: Place) -> None:
    """Everybody hands in the exercise; at the centres the exam too, which waits sealed."""
    for place in (central, gimje, ulleung):
        for name, answer in (("haru", RIGHT), ("nabi", WRONG)):
            place.person(f"{name}-{place.name}")
            place.hand_in(f"{name}-{place.name}", "exercise", answer)
    for place in (gimje, ulleung):
        for name, answer in (("haru", RIGHT), ("nabi", WRONG)):
            place.hand_in(f"{name}-{place.name}", "exam", answer)
    for place in (central, gimje, ulleung):
        _all_graded(place, 2)
        # By the wrong hidden test the right answer loses three points.
        assert place.scores()[f"haru-{place.name}", "exercise"] == 1
        assert place.scores()[f"nabi-{place.name}", "exercise"] == 3
        assert place.scores().get((f"haru-{place.name}", "exam")) is None


def _sync(central: Place, gimje: Place, ulleung: Place, stick: Path) -> None:
    gimje.lms("centre", "push", tries=40)
    for _ in range(2):
        ulleung.lms("centre", "push", "--to", str(stick))
        central.lms("centre", "collect", str(stick))
    ulleung.lms("centre", "push", "--to", str(stick))
    for place in (gimje, ulleung):
        status = json.loads(place.lms("centre", "status", "--json"))
        assert status["waiting"] == 0, status


def _bring_exam_forward(
    central: Place, gimje: Place, ulleung: Place, course: Path, stick: Path
) -> datetime:
    opens = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=30)
    _write_course(course, opens, hidden=FALSE_TEST)
    central.lms("bundle", "build", str(course), "--course", COURSE)
    central.lms("bundle", "export", "--to", str(stick))
    ulleung.lms("centre", "pull", "--from", str(stick))
    gimje.lms("centre", "pull", tries=20)
    return opens


def _open_exam(central: Place, gimje: Place, ulleung: Place, opens: datetime) -> None:
    """From its time on: gimje by the line, ulleung by a code on the telephone."""
    while datetime.now(UTC) < opens:
        time.sleep(0.5)
    wait_until(lambda: "are open" in _pulled(gimje) or _is_open(gimje), 60, "the exam is open")
    said = central.lms("bundle", "code", COURSE, "--centre", "ulleung")
    code = re.findall(r"[0-9A-Z]{5}(?:-[0-9A-Z]{5}){4}", said)
    assert len(code) == 1
    ulleung.lms("bundle", "open", COURSE, code[0].lower().replace("-", " "))
    for place in (gimje, ulleung):
        _all_graded(place, 4)
        assert place.scores()[f"haru-{place.name}", "exam"] == 4
        assert place.scores()[f"nabi-{place.name}", "exam"] == 0


def _is_open(place: Place) -> bool:
    with_exam = [key for _, key in place.scores() if key == "exam"]
    return bool(with_exam) and place.scores()[f"haru-{place.name}", "exam"] is not None


def _pulled(place: Place) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "lms.cli", "centre", "pull"],
        env=environment(place.data, *place.ports),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr


def _correct(
    central: Place, gimje: Place, ulleung: Place, course: Path, opens: datetime, stick: Path
) -> None:
    """Mend the exercise's hidden test, look who gains, apply it, and let the centres follow."""
    _write_course(course, opens, hidden=TRUE_TEST)
    said = central.lms("course", "regrade", "preview", str(course), "exercise", "--json")
    plan = str(json.loads(said)["plan"])
    wait_until(lambda: _waiting(central, plan) == 0, 120, "the preview is graded")
    central.lms("course", "regrade", "apply", plan)
    central.lms("bundle", "build", str(course), "--course", COURSE)
    central.lms("bundle", "export", "--to", str(stick))
    ulleung.lms("centre", "pull", "--from", str(stick))
    gimje.lms("centre", "pull", tries=20)
    for place in (central, gimje, ulleung):
        name = f"haru-{place.name}"
        wait_until(
            lambda: place.scores()[name, "exercise"] == 4,  # noqa: B023 - waited for at once
            120,
            f"{name} has all points",
        )
        assert place.scores()[f"nabi-{place.name}", "exercise"] == 0


def _waiting(central: Place, plan: str) -> int:
    return int(json.loads(central.lms("course", "regrade", "show", plan, "--json"))["waiting"])


def _certify(central: Place, gimje: Place, ulleung: Place) -> None:
    """Grade everything again that counts for a certificate; nothing is disputed."""
    for place in (gimje, ulleung):
        central.lms("centre", "audit", place.name, OFFERING)

    def confirmed() -> bool:
        centres = json.loads(central.lms("centre", "status", "--json"))["centres"]
        results = [one["results"] for one in centres]
        assert not any(one.get("disputed") for one in results), results
        return all(set(one) == {"confirmed"} for one in results)

    wait_until(confirmed, 180, "central has confirmed every result")


def _agree(central: Place, gimje: Place, ulleung: Place) -> None:
    """Compare each centre's gradebook with central's, once its people have claimed their work."""
    for place in (gimje, ulleung):
        claims = json.loads(place.lms("centre", "claims", "--json"))["claims"]
        for one in claims:
            central.lms("person", "add", one["username"], "--password-stdin", given=PASSWORD + "\n")
            central.lms("centre", "claim", one["code"], one["username"])
    at_central = central.scores()
    for place in (gimje, ulleung):
        own = place.scores()
        assert len(own) == 4
        assert {key: at_central[key] for key in own} == own
