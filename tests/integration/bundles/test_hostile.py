"""What a signed or unsigned bundle may not do: each is refused with one sentence."""

import os
import unicodedata
from pathlib import Path

import pytest
import zstandard

from lms.outposts.bundles.build import Content, add_version, folder_content
from lms.outposts.bundles.frames import compress, decompress
from lms.outposts.bundles.manifest import Entry, Manifest, Pack, parse
from lms.outposts.bundles.names import check_course, check_path, check_paths
from lms.outposts.bundles.problems import DamagedError, HostileError
from lms.outposts.bundles.source import FolderSource, MissingError
from tests.factories.bundles import NOW, Central, lay_out


@pytest.mark.parametrize(
    "path",
    [
        *("", "/etc/passwd", "../x", "a/../x", "a//b", "a/", "./a", "a/.", "C:/x", "a\\b", "a\0b"),
        *("aux", "sub/NUL.txt", "com1", "LPT9.md", "dot.", "space ", "a\nb", "what?", "x" * 256),
        *("a/" * 40 + "a", unicodedata.normalize("NFD", "강의.ipynb"), "\ud800", "com¹.txt"),
    ],
)
def test_path_is_refused(path: str) -> None:
    with pytest.raises(HostileError, match="may not be in a bundle"):
        check_path(path)


@pytest.mark.parametrize(
    "path", ["강의/노트.ipynb", "a b/c-d_e.txt", "console.txt", ".hidden", "x..y"]
)
def test_ordinary_path_is_taken(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize(
    "paths",
    [
        ("Data/x.csv", "data/y.csv"),
        ("a/Readme.md", "a/README.md"),
        ("straße", "STRASSE"),
        ("a", "a/b"),
        ("x/y", "x/y"),
    ],
)
def test_twins_are_refused(paths: tuple[str, str]) -> None:
    with pytest.raises(HostileError, match="cannot lie beside each other"):
        check_paths(paths)


@pytest.mark.parametrize("course", ["root", "timestamp", "../x", "ML", "", "a/b", "con", "-x"])
def test_course_key_is_refused(course: str) -> None:
    with pytest.raises(HostileError, match="cannot be a course's key"):
        check_course(course)


def test_links_and_pipes_are_not_built(tmp_path: Path) -> None:
    for number, make in enumerate((lambda path: path.symlink_to("/etc/passwd"), os.mkfifo)):
        folder = tmp_path / str(number)
        folder.mkdir()
        make(folder / "odd")
        with pytest.raises(HostileError, match="no links"):
            folder_content(folder)


def test_duplicate_and_decomposed_names_are_not_built(tmp_path: Path) -> None:
    central = Central(tmp_path)
    name = unicodedata.normalize("NFD", "강의.txt")
    files = lay_out(tmp_path / "x", {name: b"1"})
    with pytest.raises(HostileError):
        add_version(central.repository, "ml", Content(files=files), keys=central.keys, now=NOW)


def test_bomb_is_not_unpacked() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(200 << 20))

    with pytest.raises(DamagedError):
        decompress(bomb, 1000)


def test_frame_that_lies_about_its_size_is_refused() -> None:
    honest = compress(b"x" * 5000)
    streamed = zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 5000)

    assert decompress(honest, 5000) == b"x" * 5000
    for frame, size in ((honest, 4999), (streamed, 5000), (honest + honest, 5000), (b"", 0)):
        with pytest.raises(DamagedError):
            decompress(frame, size)


def test_window_beyond_the_cap_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=30, enable_ldm=True)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    frame = compressor.compress(b"x" * 100) + compressor.flush()

    with pytest.raises(DamagedError):
        decompress(frame, 100)


def _manifest(entry: Entry) -> bytes:
    return Manifest(
        course="ml",
        version=1,
        needs="0",
        metadata={},
        entries=(entry,),
        packs={"p": Pack("0" * 64, ((100, 1000),))},
    ).encode()


GOOD = Entry("a.txt", 10, "1" * 64, "p", 0, 0)


@pytest.mark.parametrize(
    "entry",
    [
        Entry("../a.txt", 10, "1" * 64, "p", 0, 0),
        Entry("a.txt", -1, "1" * 64, "p", 0, 0),
        Entry("a.txt", 10, "../../etc", "p", 0, 0),
        Entry("a.txt", 10, "1" * 64, "q", 0, 0),
        Entry("a.txt", 10, "1" * 64, "p", 1, 0),
        Entry("a.txt", 10, "1" * 64, "p", 0, 991),
        Entry("a.txt", 1 << 50, "1" * 64, "p", 0, 0),
        Entry("a.txt", 10, "1" * 64, "p", 0, 0, "no-such-seal"),
    ],
)
def test_manifest_that_breaks_the_rules_is_refused(entry: Entry) -> None:
    assert parse(_manifest(GOOD)).entries == (GOOD,)
    with pytest.raises(HostileError):
        parse(_manifest(entry))


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]\n[]", b"\xff\xfe", b"[" * 100_000, b'{"format":1}\n[]\n']
)
def test_manifest_that_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(HostileError):
        parse(content)


def test_newer_format_says_what_it_needs() -> None:
    content = (
        _manifest(GOOD)
        .replace(b'"format":1', b'"format":2')
        .replace(b'"needs":"0"', b'"needs":"9.1"')
    )

    with pytest.raises(HostileError, match=r"needs version 9\.1"):
        parse(content)


@pytest.mark.parametrize("kind", ["outside", "pipe", "folder"])
def test_stick_leads_nowhere_else(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "stick"
    root.mkdir()
    (tmp_path / "secret").write_text("secret")
    if kind == "outside":
        (root / "x").symlink_to(tmp_path / "secret")
    elif kind == "pipe":
        os.mkfifo(root / "x")
    else:
        (root / "x").mkdir()

    with pytest.raises(MissingError, match="cannot be read"):
        FolderSource(root).small("x", 100)
    with pytest.raises(MissingError):
        list(FolderSource(root).read("../secret", 0, 6, 6))
