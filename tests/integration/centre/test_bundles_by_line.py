"""Courses from central itself: a box that joined pulls them over real sockets, nobody else does."""

import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner, Result
from sqlalchemy import select
from werkzeug.serving import make_server

from lms.api import bundles
from lms.bootstrap import build
from lms.catalogue.models import Release
from lms.centre.keys import centre_keys
from lms.centre.line import CentralBundles
from lms.centre.tickets import get_self
from lms.cli.main import cli
from lms.cli.wsgi import make_application
from lms.foundation import clock
from lms.foundation.settings import Settings
from lms.migrations.run import upgrade
from lms.outposts.bundles.problems import SourceError
from lms.outposts.bundles.source import MissingError
from tests.fakes.clock import Clock

COURSE = "python-for-ai"
COURSES = Path(__file__).parents[3] / "courses"
TIMESTAMP = "metadata/timestamp.json"

Lms = Callable[..., Result]


@pytest.fixture
def url() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def lms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> Lms:
    """Run `lms …` on one of the machines."""

    def run(machine: str, *words: str) -> Result:
        monkeypatch.setenv("LMS_DATA", str(tmp_path / machine))
        monkeypatch.setenv("LMS_URL", url if machine == "central" else "http://127.0.0.1:9")
        return CliRunner().invoke(cli, list(words))

    return run


@pytest.fixture
def central(tmp_path: Path, lms: Lms, url: str) -> Iterator[str]:
    """Central with one course in its repository, and two boxes that joined by its line."""
    for name in ("central", "gimje", "namwon"):
        system = build(Settings(data_dir=tmp_path / name))
        upgrade(system.engine)
        system.engine.dispose()
    for words in (
        ("course", "import", str(COURSES / COURSE)),
        ("bundle", "build", str(COURSES / COURSE), "--course", COURSE),
    ):
        done = lms("central", *words)
        assert done.exit_code == 0, f"{done.output} {done.exception}"
    wired = build(Settings(data_dir=tmp_path / "central", lms_url=url))
    server = make_server(
        "127.0.0.1", int(url.rpartition(":")[2]), make_application(wired), threaded=True
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        for box in ("gimje", "namwon"):
            ticket = str(tmp_path / f"{box}.ticket")
            assert lms("central", "centre", "invite", box, "--out", ticket).exit_code == 0
            done = lms(box, "centre", "join", ticket)
            assert done.exit_code == 0, f"{done.output} {done.exception}"
        yield url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        wired.engine.dispose()


def _source(tmp_path: Path, box: str, as_box: str = "") -> CentralBundles:
    """Return central's repository as a box reads it, under the name of another one maybe."""
    system = build(Settings(data_dir=tmp_path / box))
    other = build(Settings(data_dir=tmp_path / (as_box or box)))
    with system.sessions() as session, other.sessions() as its:
        me, them = get_self(session), get_self(its)
        found = CentralBundles(
            me.central_url, them.centre, centre_keys(system.settings).signer(clock.now())
        )
    system.engine.dispose()
    other.engine.dispose()
    return found


def _releases(data_dir: Path) -> list[str]:
    system = build(Settings(data_dir=data_dir))
    with system.sessions() as session:
        found = [one.digest for one in session.scalars(select(Release).order_by(Release.digest))]
    system.engine.dispose()
    return found


def test_a_box_pulls_from_central_without_being_told_where(
    central: str, lms: Lms, tmp_path: Path
) -> None:
    done = lms("gimje", "centre", "pull")
    assert done.exit_code == 0, f"{done.output} {done.exception}"
    assert "2 assignments" in done.output
    assert _releases(tmp_path / "gimje") == _releases(tmp_path / "central") != []
    assert "is here already" in lms("gimje", "centre", "pull").output
    assert central


def test_a_revoked_box_is_told_so(central: str, lms: Lms, tmp_path: Path) -> None:
    assert lms("central", "centre", "revoke", "--reason", "stolen", "gimje").exit_code == 0
    done = lms("gimje", "centre", "pull")
    assert done.exit_code != 0
    assert "was revoked" in f"{done.output} {done.exception}"
    assert _releases(tmp_path / "gimje") == []
    assert lms("namwon", "centre", "pull").exit_code == 0
    assert central


def test_strangers_and_other_boxes_get_nothing(central: str, tmp_path: Path) -> None:
    source = _source(tmp_path, "gimje")
    assert b"signatures" in source.small(TIMESTAMP, 1 << 20)
    address = f"{source.name}/api/sync/{_centre(tmp_path, 'gimje')}/bundles/{TIMESTAMP}"
    assert requests.get(address, timeout=10).status_code == 403
    with pytest.raises(SourceError, match="does not know this machine"):
        _source(tmp_path, "gimje", as_box="namwon").small(TIMESTAMP, 1 << 20)
    source.close()
    assert central


def _centre(tmp_path: Path, box: str) -> str:
    system = build(Settings(data_dir=tmp_path / box))
    with system.sessions() as session:
        found = get_self(session).centre
    system.engine.dispose()
    return found


@pytest.mark.parametrize(
    "path",
    ["keys/web/session", "metadata/%2e%2e/%2e%2e/credentials.txt", "metadata", "metadata/no.json"],
)
def test_nothing_but_the_repository_is_given_out(central: str, tmp_path: Path, path: str) -> None:
    (tmp_path / "central/repository/keys").mkdir()
    (tmp_path / "central/credentials.txt").write_text("secret")
    source = _source(tmp_path, "gimje")
    with pytest.raises(SourceError):
        source.small(path, 1 << 20)
    source.close()
    assert central


def test_a_part_of_a_file_is_a_part(central: str, tmp_path: Path) -> None:
    repository = tmp_path / "central/repository"
    pack = max(repository.glob("objects/*/*.pack"), key=lambda one: one.stat().st_size)
    whole = pack.read_bytes()
    source = _source(tmp_path, "gimje")
    path = str(pack.relative_to(repository))
    part = b"".join(source.read(path, 100, 5_000, len(whole)))
    assert part == whole[100:5_100]
    assert source.received == 5_000
    with pytest.raises(MissingError):
        source.small("metadata/no.json", 100)
    source.close()
    assert central


def test_the_line_opens_hidden_tests_from_their_time_on(
    central: str, lms: Lms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = Clock(clock.now())
    monkeypatch.setattr(clock, "now", now)
    opens = now.at + timedelta(days=20)
    shutil.copytree(COURSES / COURSE, tmp_path / COURSE)
    toml = tmp_path / COURSE / "course.toml"
    keyed = 'key = "letter-detective"\n'
    text = toml.read_text("utf-8").replace(keyed, f"{keyed}sealed_until = {opens.isoformat()}\n", 1)
    toml.write_text(text, "utf-8")
    done = lms("central", "bundle", "build", str(tmp_path / COURSE), "--course", COURSE)
    assert done.exit_code == 0, f"{done.output} {done.exception}"

    done = lms("gimje", "centre", "pull")
    assert done.exit_code == 0, f"{done.output} {done.exception}"
    assert "hidden tests" not in done.output
    now.at = opens + timedelta(minutes=1)
    done = lms("gimje", "centre", "pull")
    assert "The hidden tests of python-for-ai are open." in done.output
    again = lms("gimje", "centre", "pull")
    assert again.exit_code == 0
    assert "hidden tests" not in again.output
    assert central


def test_a_busy_central_is_asked_again(central: str, lms: Lms) -> None:
    for _ in range(bundles.AT_ONCE):
        assert bundles._places.acquire(blocking=False)
    waits: list[float] = []

    def leave(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            for _ in range(bundles.AT_ONCE):
                bundles._places.release()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lms.outposts.bundles.http.sleep", leave)
        done = lms("gimje", "centre", "pull")
    assert done.exit_code == 0, f"{done.output} {done.exception}"
    assert waits[:2] == [5, 5]
    # Every place that was taken is free again.
    for _ in range(bundles.AT_ONCE):
        assert bundles._places.acquire(timeout=10)
    for _ in range(bundles.AT_ONCE):
        bundles._places.release()
    assert central


def test_a_sync_brings_courses_down_and_says_what_waits(
    central: str, lms: Lms, tmp_path: Path
) -> None:
    first = lms("gimje", "centre", "sync")
    assert first.exit_code == 0, f"{first.output} {first.exception}"
    assert "0 of 0 records wait" in first.output
    assert f"{COURSE}: version 1" in first.output
    again = lms("gimje", "centre", "sync")
    assert again.exit_code == 0
    assert "Every course is as central has it." in again.output
    assert (tmp_path / "gimje" / "bundles" / "loaded" / COURSE).exists()
    assert central


def test_outside_the_hours_work_goes_up_and_courses_wait(
    central: str, lms: Lms, tmp_path: Path
) -> None:
    hour = datetime.now().astimezone().hour
    done = lms("gimje", "centre", "sync", "--hours", f"{(hour + 2) % 24}-{(hour + 3) % 24}")
    assert done.exit_code == 0
    assert "records wait" in done.output
    assert "the rest waits" in done.output
    assert not (tmp_path / "gimje" / "bundles" / "loaded" / COURSE).exists()
    assert lms("gimje", "centre", "sync", "--hours", "noon").exit_code != 0
    assert central


@pytest.mark.parametrize(("hours", "word"), [(-30, "behind"), (24 * 365 * 14, "ahead")])
def test_a_clock_far_off_is_said(
    central: str, lms: Lms, monkeypatch: pytest.MonkeyPatch, hours: int, word: str
) -> None:
    """Central runs in this process too: only the command's own thread has the wrong clock."""
    real, here = clock.now, threading.get_ident()

    def now() -> datetime:
        off = timedelta(hours=hours) if threading.get_ident() == here else timedelta()
        return real() + off

    monkeypatch.setattr(clock, "now", now)
    done = lms("gimje", "centre", "sync")
    assert done.exit_code == 1
    assert f"hours {word}" in done.output
    assert central


@contextmanager
def _watching(url: str, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run `lms centre sync --watch` as a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lms.cli", "centre", "sync", "--watch", "--every", "1"],
        env={"LMS_DATA": str(folder), "LMS_URL": "http://127.0.0.1:9", "PATH": "/usr/bin:/bin",
             "PYTHONUNBUFFERED": "1", "no_proxy": "127.0.0.1", "LANG": "C.UTF-8"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
    assert url


def test_a_watch_goes_on_by_itself_and_survives_being_killed(
    central: str, lms: Lms, tmp_path: Path
) -> None:
    chance = random.Random(5)  # noqa: S311 - moments, not secrets
    for _ in range(3):
        with _watching(central, tmp_path / "gimje") as process:
            time.sleep(chance.uniform(1.0, 3.0))
            process.kill()
    with _watching(central, tmp_path / "gimje") as process:
        said = []
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if "The next sync begins in" in line:
                break
    assert "0 of 0 records wait" in "".join(said)
    assert _releases(tmp_path / "gimje") == _releases(tmp_path / "central")
    assert lms("gimje", "centre", "sync").exit_code == 0
