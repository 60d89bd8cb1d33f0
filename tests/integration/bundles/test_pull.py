"""A centre pulls version after version from a folder."""

from pathlib import Path

import pytest

from lms.outposts.bundles.manifest import Entry
from lms.outposts.bundles.problems import BundleError, SourceError
from lms.outposts.bundles.pull import Pulled
from lms.outposts.bundles.source import FolderSource
from lms.outposts.bundles.steps import step_path
from lms.outposts.bundles.store import Store
from tests.factories.bundles import (
    Central,
    course_files,
    installed_files,
    make_store,
    next_files,
    noise,
    pull_from,
    text,
)


def test_first_version_arrives_whole_and_again_costs_nothing(tmp_path: Path) -> None:
    central = Central(tmp_path)
    added = central.publish(course_files())
    store = make_store(tmp_path, central)

    [pulled] = pull_from(store, central.repository)

    assert (pulled.version, pulled.changed, pulled.files) == (1, True, len(course_files()))
    assert installed_files(store) == course_files()
    assert store.damaged(added.manifest) == []
    [again] = pull_from(store, central.repository)
    assert (again.changed, again.received) == (False, 0)


def test_update_costs_little_more_than_what_is_new(tmp_path: Path) -> None:
    central = Central(tmp_path)
    central.publish(course_files())
    store = make_store(tmp_path, central)
    pull_from(store, central.repository)
    central.publish(next_files(course_files()))

    [pulled] = pull_from(store, central.repository)

    assert pulled.version == 2
    assert installed_files(store) == next_files(course_files())
    # New are 300 and 3000 bytes of text, a notebook of 5000 and 500 bytes of noise.
    assert pulled.received < 6_000


def test_large_file_is_updated_by_runs(tmp_path: Path) -> None:
    old = noise(1, 5 << 20)
    new = old[: 2 << 20] + noise(2, 3000) + old[2 << 20 :] + noise(3, 1000)
    central = Central(tmp_path)
    central.publish({"big.bin": old})
    store = make_store(tmp_path, central)
    pull_from(store, central.repository)
    central.publish({"big.bin": new}, level=12)

    [pulled] = pull_from(store, central.repository)

    assert installed_files(store) == {"big.bin": new}
    assert pulled.received < 6_000


def test_centre_that_missed_versions_steps_over_them(tmp_path: Path) -> None:
    files = course_files()
    central = Central(tmp_path)
    central.publish(files)
    store = make_store(tmp_path, central)
    pull_from(store, central.repository)
    for number in range(2):
        files["data/values.csv"] += text(number, 500)
        central.publish(files)

    [pulled] = pull_from(store, central.repository)

    assert (pulled.version, installed_files(store)) == (3, files)
    assert pulled.received < 4_000


def test_centre_with_a_forgotten_base_takes_the_packs(tmp_path: Path) -> None:
    files = course_files()
    central = Central(tmp_path)
    central.publish(files)
    store = make_store(tmp_path, central)
    pull_from(store, central.repository)
    for number in range(5):
        files["data/values.csv"] += text(number, 500)
        central.publish(files)

    [pulled] = pull_from(store, central.repository)

    assert (pulled.version, installed_files(store)) == (6, files)


def test_rotten_object_is_found_before_the_switch_and_fetched_again(tmp_path: Path) -> None:
    central = Central(tmp_path)
    added = central.publish(course_files())
    store = make_store(tmp_path, central)
    pull_from(store, central.repository)
    same = _entry(store, "unit-3/source/강의-3.ipynb")
    base = _entry(store, "data/values.csv")
    for entry in (same, base):
        store.object(entry.digest).write_bytes(bytes(entry.size))
    assert set(store.damaged(added.manifest)) == {same, base}
    central.publish(next_files(course_files()))

    [pulled] = pull_from(store, central.repository)

    assert pulled.version == 2
    assert installed_files(store) == next_files(course_files())


def test_previous_version_is_kept_and_the_one_before_goes(tmp_path: Path) -> None:
    central = Central(tmp_path)
    store, digests = None, []
    for number in range(4):
        digests.append(central.publish({"a.txt": text(number, 500)}).digest)
        store = store or make_store(tmp_path, central)
        pull_from(store, central.repository)
        if number == 1:
            store.lease(digests[1], "assignment-7")
    assert store is not None

    stands = store.installed("ml")

    assert stands is not None
    assert (stands.version, stands.previous) == (4, digests[2])
    kept = {path.name for path in (store.root / "manifests").iterdir()}
    assert kept == {digests[1], digests[2], digests[3]}, "a lease keeps what a class uses"
    store.release(digests[1], "assignment-7")
    assert store.collect() == 500
    assert {path.name for path in (store.root / "manifests").iterdir()} == set(digests[2:])


def test_damaged_stick_gives_its_good_objects_and_names_the_bad(tmp_path: Path) -> None:
    central = Central(tmp_path)
    added = central.publish({**course_files(), "big.bin": noise(9, 5 << 20)})
    store = make_store(tmp_path, central)
    [pack] = added.manifest.packs.values()
    victim = added.manifest.by_path()["big.bin"]
    path = central.repository / pack.path
    good = path.read_bytes()
    at = pack.starts[victim.frame] + 1000
    path.write_bytes(good[:at] + b"rot" + good[at + 3 :])

    [pulled] = pull_from(store, central.repository)

    assert pulled.damaged == ("big.bin",)
    assert "big.bin" in str(pulled.problem)
    assert store.installed("ml") is None
    others = [entry for entry in added.manifest.entries if entry.path != "big.bin"]
    assert all(store.has(entry) for entry in others)
    path.write_bytes(good)
    [mended] = pull_from(store, central.repository)
    assert mended.changed
    assert mended.received <= sum(
        pack.frames[n][0] for n in range(victim.frame, len(pack.frames))
    ) + len(_manifest_file(central).read_bytes()), "good objects were not fetched again"


def test_spoilt_step_falls_back_to_packs(tmp_path: Path) -> None:
    central = Central(tmp_path)
    first = central.publish(course_files())
    store = make_store(tmp_path, central)
    pull_from(store, central.repository)
    second = central.publish(next_files(course_files()))
    step = central.repository / step_path(second.digest, first.digest)
    step.write_bytes(step.read_bytes()[:-300] + bytes(300))

    [pulled] = pull_from(store, central.repository)

    assert pulled.changed
    assert installed_files(store) == next_files(course_files())


def test_stick_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    central = Central(tmp_path)
    central.publish(course_files())
    store = make_store(tmp_path, central)

    with pytest.raises(SourceError, match="not there any more"):
        pull_from(store, tmp_path / "gone")


def test_link_on_a_stick_leads_nowhere(tmp_path: Path) -> None:
    central = Central(tmp_path)
    added = central.publish(course_files())
    [pack] = added.manifest.packs.values()
    path = central.repository / pack.path
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    store = make_store(tmp_path, central)

    [pulled] = pull_from(store, FolderSource(central.repository))

    assert len(pulled.damaged) == len(course_files()) - 1, "all but the empty file"


def test_two_pulls_at_once_are_refused(tmp_path: Path) -> None:
    central = Central(tmp_path)
    central.publish(course_files())
    store = make_store(tmp_path, central)

    with store.locked(), pytest.raises(BundleError, match="under way"):
        pull_from(store, central.repository)


def test_two_courses_lie_in_one_repository(tmp_path: Path) -> None:
    central = Central(tmp_path)
    central.publish(course_files())
    central.publish({"x.txt": b"biology"}, course="bio")
    store = make_store(tmp_path, central)

    pulled: list[Pulled] = pull_from(store, central.repository)

    assert {one.course for one in pulled} == {"bio", "ml"}
    assert installed_files(store, "bio") == {"x.txt": b"biology"}
    assert store.courses() == ["bio", "ml"]


def _entry(store: Store, path: str) -> Entry:
    stands = store.installed("ml")
    assert stands is not None
    return store.manifest(stands.digest).by_path()[path]


def _manifest_file(central: Central) -> Path:
    [path] = (central.repository / "targets" / "ml").iterdir()
    return path


def test_older_base_is_mended_by_chunks(tmp_path: Path) -> None:
    files = course_files()
    central = Central(tmp_path)
    central.publish(files)
    store = make_store(tmp_path, central)
    pull_from(store, central.repository)
    for number in range(5):
        files = next_files(course_files()) | {"a.txt": text(number, 200)}
        central.publish(files, level=12)

    [pulled] = pull_from(store, central.repository)

    assert (pulled.version, installed_files(store)) == (6, files)
    # Whole frames would be 230 KB; new are some 9 KB.
    assert pulled.received < 60_000


def test_damaged_file_costs_its_damaged_chunks(tmp_path: Path) -> None:
    files = {**course_files(), "big.bin": noise(4, 2 << 20)}
    central = Central(tmp_path)
    central.publish(files)
    store = make_store(tmp_path, central)
    pull_from(store, central.repository)
    big = _entry(store, "big.bin")
    path = store.object(big.digest)
    content = path.read_bytes()
    path.write_bytes(content[:1_000_000] + b"rot" + content[1_000_003:])
    files["unit-0/source/강의-0.ipynb"] += b"\n"
    central.publish(files)

    [pulled] = pull_from(store, central.repository)

    assert installed_files(store) == files
    assert pulled.received < 100_000
