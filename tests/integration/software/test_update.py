"""A box's update: whatever fails or cuts it off, one version stands, with the data that is its."""

import fcntl
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lms.centre.updating import settle
from lms.cli.main import cli
from lms.foundation.errors import ConflictError, InvalidError, NotFoundError
from lms.outposts.bundles.build import Content, add_version
from lms.outposts.bundles.store import Store
from lms.outposts.software.contents import SOFTWARE, gather
from lms.outposts.software.place import Place
from tests.factories.bundles import NOW, Central, make_store, pull_from
from tests.factories.software import make_software

MIGRATION = "rows.execute('ALTER TABLE work ADD COLUMN grade')"
SCRIPT = Path(__file__).with_name("updating.py")
#: More steps than an update or a way back has.
STEPS = 26


def _sampled(steps: int) -> list[Any]:
    """Return every step, most of them only for the slow run."""
    slow = pytest.mark.slow
    return [
        step if step % 4 == 2 else pytest.param(step, marks=slow) for step in range(1, steps + 1)
    ]


class Machine:
    """A box with version 0.1.0 and some data, for which 0.2.0 has been pulled."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.central = Central(base)
        self.data = base / "data"
        self.database = self.data / "db" / "lms.sqlite"
        self.place = Place(base / "opt")
        self.sign("0.1.0")
        self.store = Store(self.data / "bundles")
        make_store(base, self.central)
        shutil.move(base / "centre", self.store.root)
        pull_from(self.store, self.central.repository)
        self.install()
        self.old = self.place.current()
        self.new = self.sign("0.2.0", MIGRATION)
        pull_from(self.store, self.central.repository)
        self.reset()

    def sign(self, version: str, migration: str = "pass", **more: str) -> str:
        """Add a version of the software to central's repository; returns its name."""
        wheels = make_software(
            self.base / f"wheels-{version}", version, migration=migration, **more
        )
        scratch = self.base / f"scratch-{version}"
        scratch.mkdir()
        software = gather(wheels, scratch)
        content = Content(
            files=software.files,
            metadata={"software": version, "name": software.name},
            level=1,
        )
        repository, keys = self.central.repository, self.central.keys
        add_version(repository, SOFTWARE, content, keys=keys, now=NOW)
        return software.name

    def install(self) -> None:
        """Install what was pulled, as from a stick."""
        stands = self.store.installed(SOFTWARE)
        assert stands is not None
        self.store.lay_out(self.store.manifest(stands.digest), self.base / "stick")
        subprocess.run(
            ["/bin/sh", self.base / "stick/install.sh", "--to", self.place.root],
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHON": sys.executable},
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def reset(self) -> None:
        """Put everything back as it was before the update; the new program may stay."""
        self.place.switch(self.old)
        for path in (self.place.record, self.place.way_back):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.database.parent, ignore_errors=True)
        shutil.rmtree(self.data / "updates", ignore_errors=True)
        self.database.parent.mkdir(parents=True)
        with closing(sqlite3.connect(self.database)) as rows, rows:
            rows.execute("PRAGMA journal_mode=WAL")
            rows.execute("CREATE TABLE alembic_version (version_num TEXT)")
            rows.execute("INSERT INTO alembic_version VALUES ('0.1.0')")
            rows.execute("CREATE TABLE work (id INTEGER PRIMARY KEY, text TEXT)")
            rows.executemany("INSERT INTO work (text) VALUES (?)", [("x" * 900,)] * 500)

    def lms(self, *words: str) -> Result:
        """Run `lms centre update …` as an operator does."""
        line = ["centre", "update", "--place", str(self.place.root), *words]
        done = CliRunner().invoke(cli, line)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done

    def stands(self) -> tuple[str, str, int, bool]:
        """Return current program, schema, rows and whether the schema is the new one's."""
        with closing(sqlite3.connect(self.database)) as rows:
            [(revision,)] = rows.execute("SELECT version_num FROM alembic_version").fetchall()
            [(count,)] = rows.execute("SELECT count(*) FROM work").fetchall()
            columns = [row[1] for row in rows.execute("PRAGMA table_info(work)")]
            assert rows.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return self.place.current(), revision, count, "grade" in columns

    def says(self) -> str:
        """Return what the current program calls itself."""
        program = [str(self.place.root / "current/bin/lms"), "--version"]
        return subprocess.run(program, capture_output=True, text=True, check=True).stdout

    def run_until(self, step: int, way: str = "forwards") -> subprocess.Popen[str]:
        """Start an update that kills itself at a step."""
        return subprocess.Popen(
            [sys.executable, SCRIPT, self.place.root, self.data, str(step), way],
            start_new_session=True,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for_lock(self) -> None:
        """Wait until whatever a killed update had started is gone, too."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with self.place.locked() as lock:
                if lock is not None:
                    return
            time.sleep(0.05)
        raise AssertionError("somebody still holds the lock")

    def settled(self) -> tuple[str, str, int, bool]:
        """Return what stands once the next command has looked after a cut."""
        self.wait_for_lock()
        with self.place.locked() as lock:
            assert lock is not None
            settle(self.place)
        assert not self.place.record.exists()
        return self.stands()

    @property
    def before(self) -> tuple[str, str, int, bool]:
        return self.old, "0.1.0", 500, False

    @property
    def after(self) -> tuple[str, str, int, bool]:
        return self.new, "0.2.0", 500, True


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(tmp_path_factory.mktemp("machine"))


@pytest.fixture
def machine(made: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setenv("LMS_DATA", str(made.data))
    made.reset()
    yield made
    made.reset()


def test_update_and_back(machine: Machine) -> None:
    assert machine.stands() == machine.before
    done = machine.lms()
    assert done.exit_code == 0, done.output
    assert machine.stands() == machine.after
    assert machine.says() == "lms, version 0.2.0\n"
    assert "nothing to do" in machine.lms().output

    with closing(sqlite3.connect(machine.database)) as rows, rows:
        rows.execute("INSERT INTO work (text) VALUES ('handed in since')")
    with pytest.raises(ConflictError, match=r"loses what came since: work 1\."):
        machine.lms("--back")
    assert machine.stands() == (*machine.after[:2], 501, True)

    done = machine.lms("--back", "--yes")
    assert "the data is as it was before the update" in done.output
    assert machine.stands() == machine.before
    assert machine.says() == "lms, version 0.1.0\n"
    kept = machine.data / "updates" / f"{machine.new}.sqlite"
    assert kept.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(kept)) as rows:
        assert rows.execute("SELECT count(*) FROM work").fetchone() == (501,), "nothing is gone"
    with pytest.raises(NotFoundError, match="no version before this one"):
        machine.lms("--back")


def test_update_waits_until_the_system_is_stopped(machine: Machine) -> None:
    (machine.data / "run").mkdir(exist_ok=True)
    with (machine.data / "run/supervisor.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ConflictError, match="stop lms up first"):
            machine.lms()
    with machine.place.locked(), pytest.raises(ConflictError, match="Another update"):
        machine.lms()
    assert machine.stands() == machine.before


def test_damaged_pull_is_not_installed(machine: Machine) -> None:
    shutil.rmtree(machine.place.root / machine.new, ignore_errors=True)
    stands = machine.store.installed(SOFTWARE)
    assert stands is not None
    entries = machine.store.manifest(stands.digest).by_path()
    path = machine.store.object(entries["software/requirements.txt"].digest)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"?")
    with pytest.raises(ConflictError, match=r"requirements\.txt\): pull again"):
        machine.lms()
    path.write_bytes(whole)
    assert machine.stands() == machine.before
    assert machine.lms().exit_code == 0


@pytest.mark.parametrize("step", _sampled(STEPS))
def test_killed_update_leaves_one_version_whole(machine: Machine, step: int) -> None:
    done = machine.run_until(step)
    assert done.wait(60) in (-signal.SIGKILL, 0), done.stderr
    assert done.communicate()[1] == ""
    found = machine.settled()
    assert found in (machine.before, machine.after)
    machine.lms()
    assert machine.stands() == machine.after


@pytest.mark.parametrize("step", _sampled(STEPS))
def test_killed_way_back_leaves_one_version_whole(machine: Machine, step: int) -> None:
    assert machine.lms().exit_code == 0
    done = machine.run_until(step, "back")
    assert done.wait(60) in (-signal.SIGKILL, 0)
    assert done.communicate()[1] == ""
    assert machine.settled() in (machine.before, machine.after)


def test_update_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path)
    monkeypatch.setenv("LMS_DATA", str(machine.data))
    machine.sign("0.3.0", MIGRATION + "; raise SystemExit('no column for that')")
    pull_from(machine.store, machine.central.repository)
    with pytest.raises(InvalidError, match="stands as before: no column for that"):
        machine.lms()
    assert machine.stands() == machine.before
    assert not machine.place.record.exists()
    # A version that does not start: what it needs says something else.
    machine.sign("0.4.0", "import missing_module")
    pull_from(machine.store, machine.central.repository)
    with pytest.raises(InvalidError, match="stands as before"):
        machine.lms()
    assert machine.stands() == machine.before
    # Without any migration the data stays where it is, both ways.
    same = machine.sign("0.5.0", "return")
    pull_from(machine.store, machine.central.repository)
    assert machine.lms().exit_code == 0
    assert machine.stands() == (same, "0.1.0", 500, False)
    with closing(sqlite3.connect(machine.database)) as rows, rows:
        rows.execute("INSERT INTO work (text) VALUES ('handed in since')")
    assert "the data stays" in machine.lms("--back").output
    assert machine.stands() == (machine.old, "0.1.0", 501, False)


def test_what_central_did_not_sign_is_found(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert machine.lms().exit_code == 0
    path = machine.place.root / machine.new / "requirements.txt"
    whole = path.read_text()
    path.write_text(whole + "# more\n")
    with pytest.raises(ConflictError, match="is not what central signed"):
        machine.lms()
    path.write_text(whole)
    monkeypatch.setenv("LMS_DATABASE_URL", "postgresql+psycopg://lms@127.0.0.1:9/lms")
    with pytest.raises(ConflictError, match="Only a box with its own database"):
        machine.lms("--back")
    with pytest.raises(InvalidError, match="no software that install"):
        CliRunner().invoke(
            cli, ["centre", "update", "--place", str(machine.data)], catch_exceptions=False
        )


@pytest.mark.slow
def test_update_is_killed_at_any_moment(machine: Machine) -> None:
    """The same, at random moments: inside the migration, the copying and the installing, too."""
    seed = time.time_ns()
    moments = random.Random(seed)  # noqa: S311 - said below
    seen = {machine.before: 0, machine.after: 0}
    for number in range(60):
        machine.reset()
        if number % 4 == 0:
            shutil.rmtree(machine.place.root / machine.new, ignore_errors=True)
        done = machine.run_until(99)
        time.sleep(moments.random() * (4 if number % 4 == 0 else 1.5))
        if done.poll() is None:
            os.killpg(done.pid, signal.SIGKILL)
        done.communicate()
        found = machine.settled()
        assert found in seen, f"seed {seed}"
        seen[found] += 1
    assert min(seen.values()) > 0, seen


def test_next_command_finishes_what_was_cut_off(machine: Machine) -> None:
    assert machine.lms().exit_code == 0
    # As it is between the migration and the switch.
    machine.place.switch(machine.old)
    machine.place.move(machine.place.way_back, machine.place.record)
    line = f"""
import sys
sys.prefix = {str(machine.place.root / machine.old)!r}
sys.argv = ["lms", "--version"]
from lms.cli.main import main
main()
"""
    argv = [sys.executable, "-c", line]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout == "lms, version 0.2.0\n", "it goes on as the new version"
    assert machine.stands() == machine.after


@pytest.mark.slow
def test_nobody_settles_while_the_new_program_still_migrates(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    new = machine.sign("0.3.0", f"__import__('time').sleep(4); {MIGRATION}")
    pull_from(machine.store, machine.central.repository)
    done = machine.run_until(99)
    while not machine.place.record.exists():
        time.sleep(0.05)
    time.sleep(0.5)
    os.kill(done.pid, signal.SIGKILL)
    with machine.place.locked() as lock:
        assert lock is None, "the program that migrates holds the lock"
    done.communicate()
    assert machine.settled() == (new, "0.3.0", 500, True)
