"""Whom a centre trusts, and when: attacks on signatures, versions and clocks."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, MetaFile, Snapshot, Timestamp
from tuf.ngclient import Updater
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet

from lms.outposts.bundles.clock import Clock, set_reference_time
from lms.outposts.bundles.disk import Disk
from lms.outposts.bundles.keys import ONLINE, ROOTS, Keys
from lms.outposts.bundles.problems import BundleError, SourceError, UntrustedError
from lms.outposts.bundles.signing import Signed
from lms.outposts.bundles.store import Store
from lms.outposts.bundles.trust import Trust
from tests.factories.bundles import (
    NOW,
    Central,
    course_files,
    installed_files,
    make_store,
    next_files,
    pull_from,
)

FILES = {"a.txt": b"one" * 100}
DAY = timedelta(days=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture
def central(tmp_path: Path) -> Central:
    central = Central(tmp_path)
    central.publish(FILES)
    return central


@pytest.fixture
def store(tmp_path: Path, central: Central) -> Store:
    return make_store(tmp_path, central)


def _stick(central: Central, name: str) -> Path:
    stick = central.base / name
    shutil.copytree(central.repository, stick)
    return stick


def test_older_stick_is_a_rollback(central: Central, store: Store) -> None:
    old = _stick(central, "old")
    central.publish({"a.txt": b"two" * 100})
    pull_from(store, central.repository)

    with pytest.raises(UntrustedError, match="older than what this centre has seen"):
        pull_from(store, old)
    assert installed_files(store) == {"a.txt": b"two" * 100}


def test_frozen_stick_expires(central: Central, store: Store) -> None:
    pull_from(store, central.repository, now=NOW + 119 * DAY)

    with pytest.raises(UntrustedError, match="has expired"):
        pull_from(store, central.repository, now=NOW + 121 * DAY)


def test_parts_of_two_versions_do_not_mix(central: Central, store: Store) -> None:
    old = _stick(central, "old")
    central.publish({"a.txt": b"two" * 100})
    mixed = _stick(central, "mixed")
    # The new timestamp with what the old one stood for under the new one's names.
    shutil.copy(old / "metadata/2.snapshot.json", mixed / "metadata/3.snapshot.json")

    with pytest.raises(UntrustedError, match="do not fit together"):
        pull_from(store, mixed)


def test_fast_forward_is_mended_by_new_keys(central: Central, store: Store) -> None:
    keys = central.keys
    metadata = central.repository / "metadata"
    stolen = _stick(central, "stolen") / "metadata"
    snapshot: Metadata[Snapshot] = Metadata.from_file(str(metadata / "2.snapshot.json"))
    snapshot.signed.version = 1 << 30
    snapshot.signatures.clear()
    snapshot.sign(keys.get("snapshot"))
    snapshot.to_file(str(stolen / f"{1 << 30}.snapshot.json"))
    timestamp: Metadata[Timestamp] = Metadata.from_file(str(metadata / "timestamp.json"))
    timestamp.signed.version = 1 << 30
    timestamp.signed.snapshot_meta = MetaFile(1 << 30)
    timestamp.signatures.clear()
    timestamp.sign(keys.get("timestamp"))
    timestamp.to_file(str(stolen / "timestamp.json"))
    pull_from(store, stolen.parent)
    central.publish({"a.txt": b"two" * 100})
    with pytest.raises(UntrustedError, match="older"):
        pull_from(store, central.repository)

    for name in ("timestamp", "snapshot"):
        central.signed.rotate(name, NOW)
    pull_from(store, central.repository)

    assert installed_files(store) == {"a.txt": b"two" * 100}


def test_another_central_is_not_trusted(tmp_path: Path, store: Store) -> None:
    other = Central(tmp_path / "other")
    other.publish(FILES)
    other.publish(FILES | {"b.txt": b"x"})

    with pytest.raises(UntrustedError, match="not signed by the keys"):
        pull_from(store, other.repository)


def test_course_signed_with_another_courses_key_is_refused(central: Central, store: Store) -> None:
    central.publish(FILES, course="bio")
    metadata = central.repository / "metadata"
    path = next(metadata.glob("*.ml.json"))
    forged = Metadata.from_file(str(path))
    forged.signatures.clear()
    forged.sign(central.keys.get("course-bio"))
    size = len(forged.to_bytes())
    forged.to_file(str(path))
    _resign(central, "ml.json", path, size)

    with pytest.raises(UntrustedError, match="not signed by the keys"):
        pull_from(store, central.repository)


def _resign(central: Central, role: str, path: Path, size: int) -> None:
    """Sign a snapshot and a timestamp that name what an attacker put in a role's place."""
    metadata = central.repository / "metadata"
    timestamp: Metadata[Timestamp] = Metadata.from_file(str(metadata / "timestamp.json"))
    version = timestamp.signed.snapshot_meta.version
    snapshot: Metadata[Snapshot] = Metadata.from_file(str(metadata / f"{version}.snapshot.json"))
    snapshot.signed.meta[role] = MetaFile(snapshot.signed.meta[role].version, size)
    snapshot.signatures.clear()
    snapshot.sign(central.keys.get("snapshot"))
    snapshot.to_file(str(metadata / f"{version}.snapshot.json"))
    timestamp.signed.snapshot_meta = MetaFile(version)
    timestamp.signatures.clear()
    timestamp.sign(central.keys.get("timestamp"))
    timestamp.to_file(str(metadata / "timestamp.json"))


def test_stolen_course_key_is_revoked_offline(central: Central, store: Store) -> None:
    pull_from(store, central.repository)
    central.signed.revoke_course("ml", NOW)
    central.publish({"a.txt": b"two" * 100})

    pull_from(store, _stick(central, "stick"))

    assert installed_files(store) == {"a.txt": b"two" * 100}
    assert (central.base / "keys" / "course-ml.pem.old-1").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", [*ROOTS, *ONLINE])
def test_every_key_can_be_replaced_and_reaches_a_centre_by_stick(
    central: Central, store: Store, name: str
) -> None:
    pull_from(store, central.repository)
    central.signed.rotate(name, NOW)
    central.publish({"a.txt": b"two" * 100})

    pull_from(store, _stick(central, "stick"))

    assert installed_files(store) == {"a.txt": b"two" * 100}


def test_several_root_rotations_are_caught_up_at_once(central: Central, store: Store) -> None:
    pull_from(store, central.repository)
    for name in ROOTS:
        central.signed.rotate(name, NOW)

    pull_from(store, central.repository)

    assert (store.root / "trusted/root_history/4.root.json").exists()


def test_one_lost_root_key_can_be_replaced_two_cannot(tmp_path: Path, central: Central) -> None:
    folder = tmp_path / "keys"
    (folder / "root-1.pem").unlink()
    signed = Signed(central.repository, Keys(folder))
    signed.rotate("root-1", NOW)
    (folder / "root-1.pem").unlink()
    (folder / "root-2.pem").unlink()

    with pytest.raises(BundleError, match=r"cannot be told|needs 2 of its keys"):
        signed.rotate("root-1", NOW)


def test_root_keys_lie_on_separate_sticks(tmp_path: Path, central: Central) -> None:
    folder = tmp_path / "keys"
    sticks = [tmp_path / name for name in ("stick-a", "stick-b")]
    for stick, name in zip(sticks, ("root-1", "root-2"), strict=True):
        stick.mkdir()
        (folder / f"{name}.pem").rename(stick / f"{name}.pem")
    (folder / "root-3.pem").unlink()
    keys = Keys(folder, *sticks)

    Signed(central.repository, keys).rotate("timestamp", NOW)

    assert Signed(central.repository, keys).root_version() == 2
    with pytest.raises(BundleError, match="needs 2 of its keys"):
        Signed(central.repository, Keys(folder, sticks[0])).rotate("snapshot", NOW)


def test_virgin_centre_in_1970_goes_by_its_ticket(tmp_path: Path, central: Central) -> None:
    trusting = make_store(tmp_path / "a", central)
    pull_from(trusting, central.repository, now=EPOCH)
    assert installed_files(trusting) == FILES
    # A ticket of a year later makes the same stick an expired one, whatever the clock says.
    late = make_store(tmp_path / "b", central)
    Clock(late.root / "clock.json", late.disk).learn(NOW + 365 * DAY)

    with pytest.raises(UntrustedError, match="has expired"):
        pull_from(late, central.repository, now=EPOCH)


def test_clock_that_goes_back_does_not_revive_an_old_stick(
    tmp_path: Path, central: Central, store: Store
) -> None:
    old = _stick(central, "old")
    central.publish({"a.txt": b"two" * 100}, now=NOW + 300 * DAY)
    pull_from(store, central.repository, now=NOW + 300 * DAY)
    # Even one that lost its metadata knows the time that it has seen.
    shutil.rmtree(store.root / "trusted")

    with pytest.raises(UntrustedError, match="has expired"):
        pull_from(store, old, now=NOW)


def test_clock_in_2040_refuses_until_it_is_set_and_leaves_no_trace(
    central: Central, store: Store
) -> None:
    with pytest.raises(UntrustedError, match="clock is right"):
        pull_from(store, central.repository, now=datetime(2040, 1, 1, tzinfo=UTC))

    pull_from(store, central.repository, now=NOW)

    assert installed_files(store) == FILES


def test_damaged_clock_file_is_as_none(tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock.json", Disk())
    for content in ("", "{}", "[]", '{"newest": "soon"}', '{"newest": 7}'):
        (tmp_path / "clock.json").write_text(content)
        assert clock.newest() == EPOCH
    clock.learn(NOW)
    clock.learn(NOW - DAY)
    assert clock.newest() == NOW
    assert clock.reference(EPOCH) == NOW
    assert clock.reference(NOW + DAY) == NOW + DAY


def test_centre_without_a_ticket_trusts_nobody(tmp_path: Path, central: Central) -> None:
    with pytest.raises(UntrustedError, match="join with a ticket"):
        pull_from(Store(tmp_path / "virgin"), central.repository)
    with pytest.raises(UntrustedError, match="root of trust"):
        Trust(tmp_path / "virgin", Disk()).begin(b"not a root", NOW)


def test_empty_and_torn_repositories_are_one_sentence(
    tmp_path: Path, central: Central, store: Store
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no complete repository"):
        pull_from(store, tmp_path / "empty")
    torn = _stick(central, "torn")
    (torn / "metadata" / "2.snapshot.json").write_bytes(b"{}")
    with pytest.raises(UntrustedError, match="do not fit together"):
        pull_from(store, torn)


def test_one_flipped_byte_of_a_manifest_is_seen(central: Central, store: Store) -> None:
    [path] = (central.repository / "targets/ml").iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])

    with pytest.raises(BundleError):
        pull_from(store, central.repository)
    assert store.installed("ml") is None


def test_trusted_metadata_survive_a_kill_between_two_renames(
    central: Central, store: Store
) -> None:
    pull_from(store, central.repository)
    (store.root / "trusted").rename(store.root / "trusted.old")

    [pulled] = pull_from(store, central.repository)

    assert not pulled.changed
    assert (store.root / "trusted").is_dir()


def test_update_and_metadata_cost_are_small(central: Central) -> None:
    central.publish(next_files(course_files()))
    timestamp = (central.repository / "metadata/timestamp.json").read_bytes()

    assert len(timestamp) < 600
    assert json.loads(timestamp)["signed"]["x-issued"] == NOW.isoformat()


def test_reference_time_of_python_tuf_is_where_we_set_it(tmp_path: Path, central: Central) -> None:
    """The contract that `clock.py` leans on: one attribute, read at each check of an expiry."""
    root = (central.repository / "metadata/1.root.json").read_bytes()
    updater = Updater(str(tmp_path / "m"), "x:///", bootstrap=root)
    trusted = updater._trusted_set
    assert isinstance(trusted, TrustedMetadataSet)
    assert isinstance(trusted.reference_time, datetime)

    set_reference_time(updater, NOW + 119 * DAY)
    trusted.update_timestamp((central.repository / "metadata/timestamp.json").read_bytes())

    other = Updater(str(tmp_path / "n"), "x:///", bootstrap=root)
    set_reference_time(other, NOW + 121 * DAY)
    with pytest.raises(Exception, match="expired"):
        other._trusted_set.update_timestamp(
            (central.repository / "metadata/timestamp.json").read_bytes()
        )
