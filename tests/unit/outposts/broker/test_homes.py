"""How full homes are: looked through carefully, remembered, and told of."""

import os
import struct
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lms.outposts.broker import sweep as sweeping
from lms.outposts.broker.homes import Homes, tell_full
from lms.outposts.broker.quota import Kind, Quotas
from lms.outposts.broker.sweep import Tree, open_below, sweep
from lms.protocol.broker import ServerLimits, ServerRequest
from lms.protocol.disk import HomeUse

MB = 1 << 20


def measure(home: Path, seconds: float = 60.0) -> Tree:
    folder = os.open(home, os.O_DIRECTORY)
    tree = Tree(folder, time.monotonic() + seconds)
    tree.measure()
    os.close(folder)
    return tree


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a megabyte in it, in a folder of homes beside which much more lies."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "big").write_bytes(bytes(8 * MB))
    home = tmp_path / "homes" / "minsu"
    (home / "work").mkdir(parents=True)
    (home / "work" / "a.bin").write_bytes(bytes(MB))
    return home


def test_what_links_lead_to_is_not_counted(home: Path) -> None:
    (home / "link").symlink_to(home.parents[1] / "outside")
    (home / "file").symlink_to(home.parents[1] / "outside" / "big")
    for number in range(5):
        os.link(home / "work" / "a.bin", home / f"same-{number}")
    os.mkfifo(home / "pipe")
    tree = measure(home)
    assert tree.complete
    assert MB <= tree.used_bytes < 1.2 * MB
    # A home that is itself a link is none.
    (home.parent / "trick").symlink_to(home.parents[1] / "outside")
    folder = os.open(home.parent, os.O_DIRECTORY)
    assert [one["username"] for one in sweep(folder, {})] == ["minsu"]
    os.close(folder)


def test_a_folder_that_became_a_link_is_not_entered(home: Path) -> None:
    (home / "work" / "inner").mkdir()
    folder = os.open(home, os.O_DIRECTORY)
    found = open_below(folder, "work/inner")
    assert found is not None
    os.close(found)
    (home / "work").rename(home / "moved")
    (home / "work").symlink_to(home.parents[1] / "outside")
    assert open_below(folder, "work/inner") is None
    os.close(folder)


def test_other_file_systems_are_left_out(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = measure(home).used_bytes
    fstat, inside = os.fstat, (home / "work").stat().st_ino

    def elsewhere(descriptor: int) -> os.stat_result:
        found = fstat(descriptor)
        values = list(found)
        if found.st_ino == inside:
            values[2] += 1
        return os.stat_result(values)

    monkeypatch.setattr("os.fstat", elsewhere)
    assert before - measure(home).used_bytes >= MB


def test_any_depth_is_looked_through_and_time_is_bounded(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = os.open(home, os.O_DIRECTORY)
    for _ in range(400):
        os.mkdir("d" * 200, dir_fd=here)
        inner = os.open("d" * 200, os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open("deep", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    assert measure(home).complete
    for number in range(300):
        (home / f"f{number}").touch()
    late = measure(home, seconds=-1)
    assert not late.complete
    monkeypatch.setattr(sweeping, "_MOST_WAITING", 1)
    (home / "x").mkdir()
    (home / "y").mkdir()
    assert not measure(home).complete


def test_homes_measured_longest_ago_come_first(home: Path) -> None:
    for name in ("jiwoo", "sua", "lost+found"):
        (home.parent / name).mkdir()
    folder = os.open(home.parent, os.O_DIRECTORY)
    names = [one["username"] for one in sweep(folder, {"jiwoo": 5.0, "minsu": 3.0})]
    assert names == ["sua", "minsu", "jiwoo"]
    assert list(sweep(folder, {}, seconds=0)) == []
    os.close(folder)


def request(home: Path, disk_bytes: int, uid: int = 240_001) -> ServerRequest:
    limits = ServerLimits(disk_bytes=disk_bytes)
    return ServerRequest(
        username=home.name, uid=uid, argv=("x",), env={}, home=str(home), limits=limits
    )


def test_a_sweep_fills_in_what_homes_take_and_is_remembered(home: Path, tmp_path: Path) -> None:
    homes = Homes(home.parent, tmp_path / "state", first=0)
    homes.allow(request(home, MB))
    (before,) = homes.list_uses()
    assert (before.used_bytes, before.limit_bytes, before.enforced) == (0, MB, False)
    assert tell_full(homes.list_uses()) == []
    end = time.monotonic() + 30
    while not homes.list_uses()[0].used_bytes:
        assert time.monotonic() < end
        homes.tick(time.monotonic())
        time.sleep(0.02)
    (use,) = homes.list_uses()
    assert use.used_bytes >= MB
    assert use.complete
    assert use.is_nearly_full
    assert "1 homes are nearly full: minsu 1" in str(tell_full([use])[0])
    homes.end()
    again = Homes(home.parent, tmp_path / "state")
    assert again.list_uses() == [use]
    assert HomeUse.from_json(use.to_json()) == use
    # What takes too long to look through is not less than was known.
    again._note({"username": "minsu", "used_bytes": 5, "measured_at": 9.0, "complete": False})
    assert again.list_uses() == [replace(use, measured_at=9.0, complete=False)]


@pytest.mark.parametrize("value", [None, {}, {"username": "a"}, [1]])
def test_nonsense_is_no_home(value: object) -> None:
    with pytest.raises(ValueError, match="home's use"):
        HomeUse.from_json(value)


class FakeKernel:
    """A file system with quotas of one kind, or none."""

    def __init__(self, kind: Kind | None) -> None:
        self.kind = kind
        self.limits: dict[int, int] = {}
        self.mark = bytearray(28)

    def quotactl(self, folder: int, command: int, number: int, data: bytearray) -> None:
        del folder
        verb, kind = command >> 8, command & 0xFF
        if self.kind is None or kind != self.kind:
            raise OSError(3, "No such process")
        if verb == 0x800008:
            self.limits[number] = struct.unpack_from("Q", data)[0] << 10
            assert struct.unpack_from("I", data, 64)[0] == 1
        if verb == 0x800007:
            struct.pack_into("Q", data, 16, 7 * MB)

    def ioctl(self, folder: int, request: int, data: bytearray) -> None:
        del folder
        if request == 0x801C581F:
            data[:] = self.mark
        else:
            self.mark[:] = data


def test_quotas_of_users_keep_homes_where_there_are_some(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    kernel = FakeKernel(Kind.USER)
    homes = Homes(home.parent, tmp_path / "state", quotas=Quotas(home.parent, kernel))
    homes.allow(request(home, 10 * MB))
    (use,) = homes.list_uses()
    assert kernel.limits == {240_001: 10 * MB}
    assert (use.enforced, use.used_bytes, use.limit_bytes) == (True, 7 * MB, 10 * MB)


def test_quotas_of_projects_mark_new_homes_alone(home: Path) -> None:
    kernel = FakeKernel(Kind.PROJECT)
    quotas = Quotas(home.parent, kernel)
    assert not quotas.limit(home, 240_001, MB)
    assert kernel.limits == {}
    empty = home.parent / "jiwoo"
    empty.mkdir()
    assert quotas.limit(empty, 240_002, MB)
    assert struct.unpack("5I8x", kernel.mark) == (0x200, 0, 0, 240_002, 0)
    (empty / "a").touch()
    assert quotas.limit(empty, 240_002, 2 * MB)
    assert kernel.limits == {240_002: 2 * MB}


def test_where_there_are_no_quotas_nothing_is_kept(home: Path) -> None:
    assert not Quotas(home.parent, FakeKernel(None)).limit(home, 240_001, MB)
    assert Quotas(home.parent, FakeKernel(None)).used_bytes(240_001) is None
    # The real call, wherever this runs: an answer, or none, but no trouble.
    assert Quotas(home.parent).kind() in {None, *Kind}
