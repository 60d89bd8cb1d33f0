"""What must stand before the parts start: folders, keys, tables, courses, first accounts."""

import os
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from lms.bootstrap import System, build, receipt_keys
from lms.catalogue.loading import import_tree
from lms.catalogue.models import Offering
from lms.enrolment.service import assign_role, find_enrolment
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.foundation.settings import Settings
from lms.identity.keys import ensure_keys
from lms.identity.models import Person
from lms.identity.oauth import ensure_hub_client
from lms.identity.scopes import SYSTEM, Role
from lms.identity.service import add_person
from lms.migrations.run import upgrade

#: Folders of a centre's bundles that change when hidden tests are opened.
_WRITTEN_BY_WEB = ("opened", "loaded", "laid")


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstAccount:
    """An account that a new system starts with."""

    username: str
    display_name: str
    is_admin: bool = False
    #: Its role in every offering, if it has one from the start.
    role: Role | None = None
    demo: bool = True


ACCOUNTS = (
    FirstAccount(username="admin", display_name="관리자 Administrator", is_admin=True, demo=False),
    FirstAccount(username="teacher", display_name="박지훈", role=Role.INSTRUCTOR),
    FirstAccount(username="student", display_name="김민서"),
)


def prepare(
    settings: Settings, courses: Path | None, *, demo: bool = False, accounts: bool = True
) -> None:
    """Bring the data folder up to date; doing it again keeps everything."""
    before = os.umask(0o007)
    try:
        _make_folders(settings)
        _, hub_keys = ensure_keys(settings)
        _make_receipt_keys(settings)
        system = build(settings)
        upgrade(system.engine)
        with transaction(system.sessions) as session:
            now = clock.now()
            ensure_hub_client(session, settings, hub_keys.client_secret, now=now)
            if courses is not None:
                import_tree(session, system.blobs, courses, actor=SYSTEM, now=now)
        if accounts:
            _make_accounts(system, demo=demo)
        _return_homes(system)
        system.engine.dispose()
    finally:
        os.umask(before)
    _share(settings)


def credentials_path(settings: Settings) -> Path:
    """Return the file with the first accounts' passwords, readable by its owner alone."""
    return settings.data_dir / "credentials.txt"


def _make_folders(settings: Settings) -> None:
    uids = settings.uids
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    for path, uid, gid, mode in (
        (settings.data_dir, 0, 0, 0o700),
        (settings.data_dir / "db", 0, uids.service_gid, 0o2770),
        (settings.blobs_dir, 0, uids.service_gid, 0o2770),
        (settings.keys_dir, 0, 0, 0o755),
        (settings.keys_dir / "grading", uids.worker, uids.service_gid, 0o700),
        (settings.keys_dir / "public", 0, 0, 0o755),
        # At a centre the page opens hidden tests, and the course is loaded again.
        (settings.bundles_dir, 0, uids.service_gid, 0o2770),
        *((settings.bundles_dir / name, 0, uids.service_gid, 0o2770) for name in _WRITTEN_BY_WEB),
        (settings.data_dir / "hub", uids.hub, uids.service_gid, 0o700),
        (settings.homes_dir, 0, 0, 0o711),
        (settings.run_dir, 0, 0, 0o755),
        (settings.environments_dir, 0, 0, 0o755),
        (settings.repository_dir, 0, 0, 0o755),
        (settings.logs_dir, 0, 0, 0o700),
    ):
        path.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            os.chown(path, uid, gid)
        _set_mode(path, mode)


def _set_mode(path: Path, mode: int) -> None:
    """Set the mode where it is ours to set: folders and secrets that a cluster mounts are not."""
    state = path.stat()
    if state.st_mode & 0o7777 != mode and os.geteuid() in {0, state.st_uid}:
        path.chmod(mode)


def make_keys(settings: Settings) -> None:
    """Make every key that is missing, and nothing else."""
    ensure_keys(settings)
    _make_receipt_keys(settings)


def _make_receipt_keys(settings: Settings) -> None:
    """Make the key that signs receipts: the worker's alone, its public half everybody's."""
    keys = receipt_keys(settings)
    keys.signer(clock.now())
    for path in keys.public_dir.iterdir():
        _set_mode(path, 0o644)
    if os.geteuid() == 0:
        _hand_over(keys.private_dir, settings.uids.worker, settings.uids.service_gid)


def _share(settings: Settings) -> None:
    """Let web and worker write the database and the blobs, whoever made them."""
    if os.geteuid() != 0:
        return
    gid = settings.uids.service_gid
    for root in (settings.data_dir / "db", settings.blobs_dir):
        for path in root.rglob("*"):
            state = path.stat()
            if state.st_gid != gid:
                os.chown(path, -1, gid)
            wanted = 0o2770 if path.is_dir() else (0o640 if root == settings.blobs_dir else 0o660)
            if state.st_mode & 0o7777 != wanted:
                path.chmod(wanted)
    _hand_over(settings.data_dir / "hub", settings.uids.hub, gid)
    for path in (settings.bundles_dir / "opened").iterdir():
        os.chown(path, -1, gid)
        _set_mode(path, 0o640)


def _return_homes(system: System) -> None:
    """Give each home that root holds, as after a restore, back to its learner."""
    if os.geteuid() != 0:
        return
    with system.sessions() as session:
        owners = {person.username: person.os_uid for person in session.scalars(select(Person))}
    for home in system.settings.homes_dir.iterdir():
        uid = owners.get(home.name)
        if uid is not None and home.lstat().st_uid == 0 and not home.is_symlink():
            for path in (home, *home.rglob("*")):
                os.lchown(path, uid, uid)
            home.chmod(0o700)


def _hand_over(folder: Path, uid: int, gid: int) -> None:
    # A restored backup belongs to whoever restored it.
    for path in folder.rglob("*"):
        if path.stat().st_uid != uid:
            os.chown(path, uid, gid)


def _make_accounts(system: System, *, demo: bool) -> None:
    made: list[tuple[str, str]] = []
    for account in ACCOUNTS:
        if account.demo and not demo:
            continue
        with transaction(system.sessions) as session:
            secret = _make_account(session, system.settings, account)
        if secret is not None:
            made.append((account.username, secret))
    if made:
        _write_credentials(system.settings, made)


def _make_account(session: Session, settings: Settings, account: FirstAccount) -> str | None:
    """Make the account unless it is there; return the password of a new one."""
    now = clock.now()
    person = session.scalar(select(Person).where(Person.username == account.username))
    secret = None
    if person is None:
        person, secret = add_person(
            session,
            account.username,
            account.display_name,
            actor=SYSTEM,
            now=now,
            uids=settings.uids,
            is_admin=account.is_admin,
        )
        # The password stands in a file that only the operator can read: no change is forced.
        person.must_change_password = False
    if account.role is not None:
        for offering_id in session.scalars(select(Offering.id)).all():
            if find_enrolment(session, person.id, offering_id) is not None:
                continue
            assign_role(session, person.id, offering_id, account.role, actor=SYSTEM, now=now)
    return secret


def _write_credentials(settings: Settings, made: list[tuple[str, str]]) -> None:
    path = credentials_path(settings)
    known = path.read_text("utf-8") if path.exists() else ""
    lines = "".join(f"{username:10} {secret}\n" for username, secret in made)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(known + lines)
        file.flush()
        os.fsync(file.fileno())
