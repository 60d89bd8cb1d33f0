"""Sealed files: nothing of them shows before a code opens them; what wrong codes are told."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
import zstandard

from lms.outposts.bundles.check import check
from lms.outposts.bundles.envelopes import FOLDER
from lms.outposts.bundles.export import export
from lms.outposts.bundles.opening import Box, open_seal, seals_of
from lms.outposts.bundles.problems import BundleError, DamagedError, HostileError
from lms.outposts.bundles.sealing import Seal
from lms.outposts.bundles.store import Store
from tests.factories.bundles import (
    NOW,
    Central,
    course_files,
    installed_files,
    make_store,
    noise,
    pull_from,
    text,
)

SHARED, OTHERS = b"s" * 32, b"o" * 32
BOX = Box(centre="c1", name="Gimje", shared=(b"x" * 32, SHARED))
LATER = NOW + timedelta(days=7)
MARK = b"assert secret_answer == 42"
HIDDEN = {
    "source/hw1/hw1.ipynb": text(70, 30_000) + MARK + text(71, 30_000),
    "source/hw1/hidden-table.bin": noise(72, 5 << 20),
    "source/hw1/nothing.txt": b"",
}
FILES = course_files() | HIDDEN
SEALED = dict.fromkeys(HIDDEN, LATER)


@pytest.fixture
def central(tmp_path: Path) -> Central:
    central = Central(tmp_path)
    central.publish(FILES, sealed=SEALED)
    return central


@pytest.fixture
def store(tmp_path: Path, central: Central) -> Store:
    store = make_store(tmp_path, central)
    pull_from(store, central.repository)
    return store


def _laid(store: Store, folder: Path) -> dict[str, bytes]:
    shutil.rmtree(folder, ignore_errors=True)
    stands = store.installed("ml")
    assert stands is not None
    store.lay_out(store.manifest(stands.digest), folder)
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _open(store: Store, central: Central, number: int = 0) -> None:
    open_seal(store, BOX, "ml", central.code("c1", SHARED, number=number))


def _readable(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the bytes of all files, and what every zstd frame in them unpacks to."""
    for path in (path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        yield path.name, content
        view, at = memoryview(content), content.find(zstandard.FRAME_HEADER)
        while at >= 0:
            unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
            # A patch does not unpack by itself; what it leans on is looked at, too.
            with suppress(zstandard.ZstdError):
                yield path.name, unpacker.decompress(view[at:])
            at = content.find(zstandard.FRAME_HEADER, at + 4)


def test_nothing_of_the_hidden_tests_can_be_read_before(
    tmp_path: Path, central: Central, store: Store
) -> None:
    fixed = FILES | {"source/hw1/hw1.ipynb": FILES["source/hw1/hw1.ipynb"] + b"assert more == 1\n"}
    second = central.publish(fixed, sealed=SEALED)
    export(central.repository, tmp_path / "stick")
    pull_from(store, central.repository)

    assert any(b"gradient" in content for _, content in _readable(central.repository))
    for place in (central.repository, tmp_path / "stick", store.root):
        for name, content in _readable(place):
            assert MARK not in content, name
            assert b"hidden-table" not in content, name
            assert b"source/hw1" not in content, name
            assert b"assert more" not in content, name
            assert HIDDEN["source/hw1/hidden-table.bin"][:40] not in content, name
    assert not set(_laid(store, tmp_path / "laid")) & set(HIDDEN)
    envelopes = [entry for entry in second.manifest.entries if entry.seal]
    assert [entry.path.partition("/")[0] for entry in envelopes] == [FOLDER, FOLDER]
    assert all((entry.size - 19 - 32) % 1024 < 16 * 7 for entry in envelopes), "sizes are rounded"


def test_the_search_finds_what_is_not_sealed(tmp_path: Path) -> None:
    central = Central(tmp_path)
    central.publish(FILES)
    assert any(MARK in content for _, content in _readable(central.repository))
    assert any(b"source/hw1" in content for _, content in _readable(central.repository))


def test_code_opens_everything_and_again_changes_nothing(
    tmp_path: Path, central: Central, store: Store
) -> None:
    [before] = seals_of(store, "ml")
    assert (before.opens_at, before.is_open) == (LATER, False)

    for _ in range(2):
        _open(store, central)

    assert seals_of(store, "ml")[0].is_open
    assert _laid(store, tmp_path / "laid") == FILES
    assert {path.stat().st_mode & 0o777 for path in (store.root / "opened").iterdir()} == {0o640}
    assert not list(store.root.glob("opened-*")), "nothing in the open lies about"


def test_fix_of_a_hidden_test_is_a_patch_and_needs_no_new_code(
    tmp_path: Path, central: Central, store: Store
) -> None:
    _open(store, central)
    fixed = FILES | {
        "source/hw1/hw1.ipynb": FILES["source/hw1/hw1.ipynb"].replace(MARK, b"assert fixed"),
        "source/hw1/more.ipynb": text(73, 2000),
    }
    central.publish(fixed, sealed=dict.fromkeys([*HIDDEN, "source/hw1/more.ipynb"], LATER))

    [pulled] = pull_from(store, central.repository)

    assert pulled.received < 6000
    assert _laid(store, tmp_path / "laid") == fixed
    late = make_store(tmp_path / "late", central)
    pull_from(late, central.repository)
    _open(late, central)
    assert _laid(late, tmp_path / "laid") == fixed, "who comes later takes the whole row"


def test_unchanged_sealed_files_cost_nothing(central: Central, store: Store) -> None:
    assert not central.publish(FILES, sealed=SEALED).changed
    central.publish(FILES | {"data/values.csv": b"new"}, sealed=SEALED)

    [pulled] = pull_from(store, central.repository)

    assert pulled.received < 2500


def test_long_row_of_envelopes_is_begun_anew(tmp_path: Path, central: Central) -> None:
    files = dict(FILES)
    for number in range(3):
        files["source/hw1/hidden-table.bin"] = noise(80 + number, 3 << 20)
        added = central.publish(files, sealed=SEALED)
    store = make_store(tmp_path, central)
    pull_from(store, central.repository)
    _open(store, central)

    assert _laid(store, tmp_path / "laid") == files
    assert sum(1 for entry in added.manifest.entries if entry.seal) < 3


def test_times_have_seals_of_their_own(tmp_path: Path) -> None:
    central = Central(tmp_path)
    sealed = {"a.txt": LATER, "b.txt": LATER + timedelta(days=7), "c.txt": NOW - timedelta(days=1)}
    files = {name: text(number, 900) for number, name in enumerate(sealed)}
    central.publish(files, sealed=sealed)
    store = make_store(tmp_path, central)
    pull_from(store, central.repository)
    assert set(_laid(store, tmp_path / "laid")) == {"c.txt"}, "its time has passed"

    _open(store, central, number=0)

    assert set(_laid(store, tmp_path / "laid")) == {"a.txt", "c.txt"}
    _open(store, central, number=1)
    assert _laid(store, tmp_path / "laid") == files


def test_each_wrong_code_is_told_what_is_wrong(
    tmp_path: Path, central: Central, store: Store
) -> None:
    good = central.code("c1", SHARED)
    central.publish({"x.txt": b"1", "y.txt": b"2"}, "bio", sealed={"x.txt": LATER})
    wrong = {
        "12345": "has 25 letters and digits in five groups; this one has 5",
        good + "U": "has 25 letters",
        good[:-1] + ("2" if good[-1] != "2" else "3"): "mistyped",
        good[1] + good[0] + good[2:] if good[0] != good[1] else good[::-1]: "mistyped",
        central.code("c2", SHARED): "another centre: ask central for the one of “Gimje”",
        central.code("c1", SHARED, "bio"): "another course, or to another version of ml",
        central.code("c1", OTHERS): "does not open the hidden tests of ml",
    }
    for code, said in wrong.items():
        with pytest.raises(BundleError, match=said):
            open_seal(store, BOX, "ml", code)
    pull_from(store, central.repository)
    with pytest.raises(BundleError, match="opens bio, not ml"):
        open_seal(store, BOX, "ml", central.code("c1", SHARED, "bio"))
    with pytest.raises(BundleError, match="chem is not installed here"):
        open_seal(store, BOX, "chem", good)
    assert not seals_of(store, "ml")[0].is_open
    assert seals_of(store, "chem") == []
    typed = good.lower().replace("-", " ").replace("0", "o").replace("1", "l")
    assert open_seal(store, BOX, "ml", typed).is_open


def test_code_of_one_centre_opens_no_other_one(central: Central, store: Store) -> None:
    stolen = central.code("c2", OTHERS)
    # Even a box that says it is the other centre lacks the other one's key.
    liar = Box(centre="c2", name="c2", shared=BOX.shared)

    with pytest.raises(BundleError, match="does not open"):
        open_seal(store, liar, "ml", stolen)
    with pytest.raises(BundleError, match="another centre"):
        open_seal(store, BOX, "ml", stolen)


def test_damaged_envelope_is_found_by_the_pull_and_by_opening(
    tmp_path: Path, central: Central, store: Store
) -> None:
    _open(store, central)
    stands = store.installed("ml")
    assert stands is not None
    [envelope] = [one for one in store.manifest(stands.digest).entries if one.seal]
    content = store.object(envelope.digest).read_bytes()
    for spoilt in (
        content[:900] + b"rot" + content[903:],
        content[:-2000],
        content[: 51 + (1 << 20) + 16],
        content[:51] + content[51 + (1 << 20) + 16 :],
        b"",
    ):
        store.object(envelope.digest).write_bytes(spoilt)
        with pytest.raises(DamagedError, match="sealed file is damaged"):
            _laid(store, tmp_path / "laid")
    central.publish(FILES | {"n.txt": b"new"}, sealed=SEALED)
    pull_from(store, central.repository)
    assert _laid(store, tmp_path / "laid") == FILES | {"n.txt": b"new"}


def test_repository_with_seals_verifies(central: Central) -> None:
    assert check(central.repository, root=None, now=NOW).problems == ()


@pytest.mark.parametrize("values", [{}, {"opens": "soon"}, [], "x", {"opens": 7}])
def test_seal_that_is_none_is_refused(values: object) -> None:
    with pytest.raises(HostileError, match="sealed files cannot be understood"):
        Seal.from_json("x", values)


def test_lost_secrets_make_a_new_seal(tmp_path: Path, central: Central, store: Store) -> None:
    old = central.code("c1", SHARED)
    (central.base / "seals" / "ml.json").unlink()
    central.publish(FILES | {"n.txt": b"new"}, sealed=SEALED)
    pull_from(store, central.repository)

    with pytest.raises(BundleError, match="another version of ml"):
        open_seal(store, BOX, "ml", old)
    _open(store, central)
    assert _laid(store, tmp_path / "laid") == FILES | {"n.txt": b"new"}


def test_what_cannot_be_sealed_is_said(central: Central) -> None:
    with pytest.raises(BundleError, match="is to be sealed, but is not there"):
        central.publish({"a.txt": b"1"}, sealed={"b.txt": LATER})
    with pytest.raises(HostileError, match="may not be in a bundle"):
        central.publish({".Sealed/x": b"1"})
    (central.base / "seals" / "ml.json").write_text("{")
    with pytest.raises(BundleError, match="restore it from a backup"):
        central.publish({"a.txt": b"1"}, sealed={"a.txt": LATER})


def test_installed_files_are_only_what_anybody_may_have(store: Store) -> None:
    held = installed_files(store)
    assert {path for path in held if not path.startswith(FOLDER)} == set(course_files())
