"""The keeper's work on folders that a hostile program filled, and what every sandbox may see."""

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lms.outposts.broker import layout, usage
from lms.outposts.broker.address import socket_address
from lms.outposts.broker.rootfs import copy_files


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def test_purge_empties_folders_of_any_depth(tmp_path: Path, folder: int) -> None:
    here = os.open(tmp_path, os.O_DIRECTORY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    (tmp_path / "link").symlink_to("/etc")
    usage.purge(folder, keep_uid=-1)
    assert not list(tmp_path.iterdir())
    assert Path("/etc").exists()


def test_purge_keeps_what_the_caller_owns(tmp_path: Path, folder: int) -> None:
    (tmp_path / "kernel.json").touch()
    usage.purge(folder, keep_uid=os.getuid())
    assert (tmp_path / "kernel.json").exists()


def test_too_many_entries_and_too_many_bytes_are_seen(tmp_path: Path, folder: int) -> None:
    limits = {"bytes_allowed": 100_000, "entries_allowed": 5}
    assert not usage.exceeds(folder, **limits)
    (tmp_path / "big").write_bytes(b"x" * 200_000)
    assert usage.exceeds(folder, **limits)
    (tmp_path / "big").unlink()
    for number in range(6):
        (tmp_path / str(number)).mkdir()
    assert usage.exceeds(folder, **limits)


def test_size_of_a_file_with_holes_does_not_count(tmp_path: Path, folder: int) -> None:
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(1 << 30)
    assert not usage.exceeds(folder, bytes_allowed=100_000, entries_allowed=5)


def test_only_regular_files_are_copied(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "data" / "deep").mkdir(parents=True)
    target.mkdir()
    (source / "data" / "deep" / "a.csv").write_text("1,2")
    (source / "empty.txt").touch()
    (source / "secret").symlink_to("/etc/passwd")
    (source / "elsewhere").symlink_to("/etc")
    os.mkfifo(source / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(source / "socket"))
    descriptor = os.open(source, os.O_DIRECTORY)
    copy_files(descriptor, str(target), os.getuid(), os.getgid())
    os.close(descriptor)
    found = sorted(str(path.relative_to(target)) for path in target.rglob("*"))
    assert found == ["data", "data/deep", "data/deep/a.csv", "empty.txt"]
    assert (target / "data/deep/a.csv").read_text() == "1,2"


def test_python_the_environment_and_our_code_are_visible_and_little_else() -> None:
    folders = layout.program_folders()
    for needed in (sys.prefix, sys.base_prefix, str(Path(layout.__file__).parents[2])):
        assert any(f"{needed}/".startswith(f"{path}/") for path in (*folders, "/usr"))
    root = layout.source_root()
    assert root not in folders
    assert not any(path.endswith(("/tests", "/courses", "/data")) for path in folders)


def test_socket_deeper_than_107_bytes_can_be_bound_and_reached(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 60) / ("y" * 60) / "broker.sock"
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        with socket_address(path) as address:
            listener.bind(address)
        listener.listen()
        with socket_address(path) as address:
            client.connect(address)
    assert path.exists()
