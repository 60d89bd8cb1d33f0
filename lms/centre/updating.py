"""A box's software is updated, or put back, so that program and data always belong together.

The data is kept, then a small record is written, then the new program migrates in one transaction,
then `current` is switched. Whoever comes after a cut compares the database's revision with the
record's: as it was, and nothing has happened; another one, and the switch is made good.
"""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

from sqlalchemy.engine import make_url

from lms.foundation.errors import ConflictError, InvalidError, NotFoundError
from lms.foundation.settings import Settings, process_environment
from lms.outposts.bundles.manifest import Manifest, digest_of
from lms.outposts.bundles.store import Store
from lms.outposts.software.contents import FOLDER, INSTALLER, SOFTWARE
from lms.outposts.software.place import Place
from lms.protocol.sentences import sentence

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Back:
    """What going back means."""

    name: str
    #: Rows that came since, by table; they are lost. Empty where the data can stay.
    lost: dict[str, int]
    keeps_data: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A box's program and data."""

    place: Place
    settings: Settings
    say: Say
    #: Descriptors that children hold, so that nobody takes up what they still work at.
    locks: tuple[int, ...]

    @property
    def database(self) -> Path:
        """The SQLite file; raises ConflictError where the data lies elsewhere."""
        return _database(self.settings)

    @property
    def kept(self) -> Path:
        """Where the databases from before updates lie."""
        return self.settings.data_dir / "updates"


def settle(place: Place) -> None:
    """Finish what was cut off, or let it go; afterwards program and data belong together."""
    record = place.read(place.record)
    if record is None:
        return
    if _revision(Path(record["database"])) == record["revision"]:
        place.remove(place.record)
        return
    _finish(place, record)


def update(box: Box, store: Store) -> str | None:
    """Install the software that was pulled, and switch to it; returns its name, None if it stands.

    Raises NotFoundError, ConflictError or InvalidError; then what stood before stands.
    """
    stands = store.installed(SOFTWARE)
    if stands is None:
        raise NotFoundError(
            sentence(
                "No version of the software has come: get one with lms centre pull --course "
                "seodang-software."
            )
        )
    manifest = store.manifest(stands.digest)
    name, before = str(manifest.metadata["name"]), box.place.current()
    if name == before:
        _compare(box.place, name, manifest)
        return None
    _install(box, store, manifest, name)
    box.say("keeping the data as it is")
    kept = box.kept / f"{before}.sqlite"
    _keep(box.database, kept)
    record = {
        "from": before,
        "to": name,
        "database": str(box.database),
        "revision": _revision(box.database),
        "kept": str(kept),
    }
    box.place.write(box.place.record, record)
    box.say("migrating")
    _migrate(box, name)
    box.say("switching")
    _finish(box.place, record)
    box.place.tidy(name, before)
    _drop_others(box.kept, kept)
    return name


def look_back(box: Box) -> Back:
    """Say what going back to the version before would cost; raises NotFoundError."""
    record = _way_back(box.place)
    kept = Path(record["kept"])
    keeps = _revision(box.database) == _revision(kept)
    return Back(
        name=record["from"],
        lost={} if keeps else _more(box.database, kept),
        keeps_data=keeps,
    )


def go_back(box: Box) -> str:
    """Put program and data back as they were before the update; what is now is kept beside."""
    way = _way_back(box.place)
    kept, now = Path(way["kept"]), box.kept / f"{way['to']}.sqlite"
    if _revision(box.database) == _revision(kept):
        box.place.switch(way["from"])
    else:
        box.say("keeping the data as it is")
        _keep(box.database, now)
        record = {
            "from": way["to"],
            "to": way["from"],
            "database": str(box.database),
            "revision": _revision(box.database),
            "kept": str(now),
        }
        box.place.write(box.place.record, record)
        box.say("putting the data back")
        _copy(kept, box.database)
        box.say("switching")
        _finish(box.place, record)
    box.place.remove(box.place.way_back)
    return str(way["from"])


def _finish(place: Place, record: dict[str, str]) -> None:
    if place.current() != record["to"]:
        place.switch(record["to"])
    place.move(place.record, place.way_back)


def _way_back(place: Place) -> dict[str, str]:
    way = place.read(place.way_back)
    if way is None or way["to"] != place.current() or not place.is_whole(way["from"]):
        raise NotFoundError(sentence("There is no version before this one to go back to."))
    return way


def _install(box: Box, store: Store, manifest: Manifest, name: str) -> None:
    if box.place.is_whole(name):
        return
    box.say(f"installing {name} beside {box.place.current()}")
    damaged = store.damaged(manifest)
    if damaged:
        raise ConflictError(
            sentence(
                "The software that was pulled is damaged on this disk (%(path)s): pull again.",
                path=damaged[0].path,
            )
        )
    fresh = box.place.root / "fresh"
    rmtree(fresh, ignore_errors=True)
    store.lay_out(manifest, fresh)
    _run(
        box,
        ("/bin/sh", str(fresh / INSTALLER), "--to", str(box.place.root), "--beside"),
        # A virtual environment's Python makes no other one that outlives it.
        {"PYTHON": str(getattr(sys, "_base_executable", sys.executable))},
    )
    rmtree(fresh)


def _migrate(box: Box, name: str) -> None:
    try:
        _run(
            box,
            (str(box.place.program(name)), "prepare", "--tables-only"),
            {"LMS_DATABASE_URL": f"sqlite:///{box.database}"},
        )
    except InvalidError:
        settle(box.place)
        raise


def _run(box: Box, argv: tuple[str, ...], more: dict[str, str]) -> None:
    done = subprocess.run(
        argv,
        env=process_environment() | more,
        pass_fds=box.locks,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise InvalidError(
            sentence(
                "The update stopped, and %(name)s stands as before: %(problem)s",
                name=box.place.current(),
                problem=lines[-1][:400],
            )
        )


def _compare(place: Place, name: str, manifest: Manifest) -> None:
    """Hold the first install, which came before any trust, to what central signed."""
    entry = manifest.by_path()[f"{FOLDER}/requirements.txt"]
    path = place.root / name / "requirements.txt"
    if not path.is_file() or digest_of(path.read_bytes()) != entry.digest:
        raise ConflictError(
            sentence(
                "What is installed as %(name)s is not what central signed: install it again from "
                "a new stick.",
                name=name,
            )
        )


def _database(settings: Settings) -> Path:
    url = make_url(settings.database)
    if url.get_backend_name() != "sqlite" or not url.database:
        raise ConflictError(
            sentence(
                "Only a box with its own database is updated this way; elsewhere use lms backup "
                "and install the new version by hand."
            )
        )
    return Path(url.database)


def _keep(database: Path, kept: Path) -> None:
    """Make a copy that is on the disk when it has its name."""
    kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = kept.with_name(f"{kept.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    _copy(database, fresh)
    # Away from the log file beside it: one file is the whole copy.
    with closing(sqlite3.connect(fresh)) as copy:
        copy.execute("PRAGMA journal_mode=DELETE")
    for path in (fresh, kept.parent):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    fresh.replace(kept)


def _copy(source: Path, target: Path) -> None:
    """Copy a database into another one, in one transaction of the other."""
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as old,
        closing(sqlite3.connect(target, timeout=30)) as new,
    ):
        new.execute("PRAGMA synchronous=FULL")
        old.backup(new)


def _revision(database: Path) -> str:
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(database)) as rows:
        found = rows.execute("SELECT version_num FROM alembic_version").fetchone()
        return str(found[0]) if found else ""
    return ""


def _more(database: Path, kept: Path) -> dict[str, int]:
    now, then = _counts(database), _counts(kept)
    return {
        table: count - then.get(table, 0)
        for table, count in now.items()
        if count > then.get(table, 0)
    }


def _counts(database: Path) -> dict[str, int]:
    with closing(sqlite3.connect(database)) as rows:
        tables = rows.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
        return {
            name: rows.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]  # noqa: S608 - our tables
            for (name,) in tables
        }


def _drop_others(folder: Path, kept: Path) -> None:
    for path in folder.glob("*.sqlite*"):
        if path != kept:
            path.unlink()
