"""Finding and using control groups of both versions, on folders that look like theirs."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lms.outposts.broker.cgroups import NO_CGROUPS, Group, find_hierarchy, sweep


def v1_machine(root: Path, own: str = "/") -> tuple[str, str]:
    for controller in ("memory", "pids"):
        (root / controller).joinpath(own.lstrip("/")).mkdir(parents=True)
    mounts = "".join(
        f"cgroup {root / name} cgroup rw,nosuid,{name} 0 0\n" for name in ("cpu", "memory", "pids")
    )
    return mounts, f"9:name=systemd:/\n4:memory:{own}\n8:pids:{own}\n0::/\n"


def v2_machine(root: Path, controllers: str, enabled: str = "") -> tuple[str, str]:
    root.mkdir()
    for folder in (root, root / "seodang"):
        folder.mkdir(exist_ok=True)
        (folder / "cgroup.controllers").write_text(controllers)
        (folder / "cgroup.subtree_control").write_text(enabled)
    return f"cgroup2 {root} cgroup2 rw,nosuid 0 0\n", "0::/user.slice\n"


def test_v1_groups_lie_below_our_own_group(tmp_path: Path) -> None:
    hierarchy = find_hierarchy(*v1_machine(tmp_path, "/box/7"))
    assert hierarchy.version == "v1"
    assert hierarchy.folders == {
        "memory": str(tmp_path / "memory/box/7/seodang"),
        "pids": str(tmp_path / "pids/box/7/seodang"),
        "cpu": str(tmp_path / "cpu/seodang"),
    }


def test_v1_in_a_container_that_hides_our_group_uses_the_root(tmp_path: Path) -> None:
    mounts, _ = v1_machine(tmp_path)
    hierarchy = find_hierarchy(mounts, "4:memory:/docker/abc\n8:pids:/docker/abc\n")
    assert hierarchy.folders["memory"] == str(tmp_path / "memory/seodang")


def test_v2_hands_its_controllers_down(tmp_path: Path) -> None:
    hierarchy = find_hierarchy(*v2_machine(tmp_path / "cg", "cpu memory pids"))
    assert hierarchy.version == "v2"
    control = tmp_path / "cg" / "seodang" / "cgroup.subtree_control"
    assert control.read_text() == "+memory +pids +cpu"


def test_a_machine_that_cannot_share_processors_still_limits_memory(tmp_path: Path) -> None:
    hierarchy = find_hierarchy(*v2_machine(tmp_path / "cg", "memory pids"))
    assert set(hierarchy.folders) == {"memory", "pids"}
    group = Group(hierarchy, "12-300001")
    group.limit_cpu(150)
    assert list((tmp_path / "cg/seodang/12-300001").iterdir()) == []


def test_a_share_of_the_processors_is_written_as_each_version_wants_it(tmp_path: Path) -> None:
    for root, machine, files in (
        (
            tmp_path / "two",
            v2_machine(tmp_path / "two", "cpu memory pids"),
            {"cpu.max": "150000 100000"},
        ),
        (
            tmp_path / "one/cpu",
            v1_machine(tmp_path / "one"),
            {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "150000"},
        ),
    ):
        folder = root / "seodang/12-300001"
        hierarchy = find_hierarchy(*machine)
        folder.mkdir()
        for name in files:
            (folder / name).touch()
        Group(hierarchy, folder.name).limit_cpu(150)
        assert {name: (folder / name).read_text() for name in files} == files


def test_groups_of_parts_lie_beside_the_processes_of_the_whole(tmp_path: Path) -> None:
    hierarchy = find_hierarchy(*v2_machine(tmp_path / "cg", "memory pids"))
    folder = tmp_path / "cg/seodang/12-300001"
    group = Group(hierarchy, folder.name, has_parts=True)
    (folder / "main/cgroup.procs").touch()
    group.add(42)
    assert (folder / "main/cgroup.procs").read_text() == "42"
    (folder / "main/cgroup.procs").unlink()
    (folder / "cgroup.subtree_control").unlink()
    (folder / "kernel-7").mkdir()
    group.remove()
    assert not folder.exists()


def test_v2_without_the_controllers_is_as_good_as_none(tmp_path: Path) -> None:
    assert find_hierarchy(*v2_machine(tmp_path / "cg", "hugetlb")) == NO_CGROUPS


def test_machine_without_groups_has_none() -> None:
    assert find_hierarchy("proc /proc proc rw 0 0\n", "") == NO_CGROUPS


def test_v2_group_is_limited_filled_read_and_removed(tmp_path: Path) -> None:
    hierarchy = find_hierarchy(*v2_machine(tmp_path / "cg", "memory pids"))
    folder = tmp_path / "cg" / "seodang" / "12-300001"
    folder.mkdir()
    for name in ("memory.max", "memory.swap.max", "pids.max", "cgroup.procs"):
        (folder / name).touch()
    (folder / "memory.peak").write_text("4096\n")
    (folder / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    group = Group(hierarchy, "12-300001")
    group.limit(memory_bytes=1000, processes=7)
    group.add(42)
    assert (folder / "memory.max").read_text() == "1000"
    assert (folder / "memory.swap.max").read_text() == "0"
    assert (folder / "pids.max").read_text() == "7"
    assert (folder / "cgroup.procs").read_text() == "42"
    assert (group.memory_peak_bytes(), group.oom_kills()) == (4096, 2)
    for path in folder.iterdir():
        path.unlink()
    group.remove()
    assert not folder.exists()


def test_v1_group_reads_what_the_kernel_ended(tmp_path: Path) -> None:
    hierarchy = find_hierarchy(*v1_machine(tmp_path))
    group = Group(hierarchy, "12-300001")
    folder = tmp_path / "memory/seodang/12-300001"
    (folder / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    assert group.oom_kills() == 1
    assert group.memory_peak_bytes() == 0  # not told


def test_sweep_removes_only_groups_whose_keeper_is_gone(tmp_path: Path) -> None:
    hierarchy = find_hierarchy(*v1_machine(tmp_path))
    folder = tmp_path / "memory/seodang"
    (folder / f"{os.getpid()}-300001").mkdir()
    (folder / "4194305-300002").mkdir()  # above the highest pid there can be
    assert sweep(hierarchy) == 1
    assert [path.name for path in folder.iterdir()] == [f"{os.getpid()}-300001"]


@pytest.fixture
def sleepers() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two processes that wait."""
    found = [subprocess.Popen(["sleep", "600"]) for _ in range(2)]
    yield found
    for one in found:
        one.kill()
        one.wait()


def test_a_group_is_ended_by_what_its_list_says_last(
    tmp_path: Path, sleepers: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    group = Group(find_hierarchy(*v1_machine(tmp_path)), "12-300001")
    lists = [tmp_path / name / "seodang/12-300001/cgroup.procs" for name in ("memory", "pids")]
    gone, ours = sleepers
    for path in lists:
        path.write_text(f"{gone.pid}\n{ours.pid}\n")
    pin = os.pidfd_open

    def pin_late(pid: int) -> int:
        # Meanwhile the first has ended, and its number is another's.
        for path in lists:
            path.write_text(f"{ours.pid}\n")
        return pin(pid)

    monkeypatch.setattr("os.pidfd_open", pin_late)
    monkeypatch.setattr("time.sleep", lambda _: [path.write_text("") for path in lists])
    group.kill()
    assert ours.wait(5) == -signal.SIGKILL
    assert gone.poll() is None


def test_a_group_of_version_2_ends_at_once(
    tmp_path: Path, sleepers: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    group = Group(find_hierarchy(*v2_machine(tmp_path / "cg", "memory pids")), "12-300001")
    folder = tmp_path / "cg/seodang/12-300001"
    for name, text in (("cgroup.procs", f"{sleepers[0].pid}\n"), ("cgroup.kill", "")):
        (folder / name).write_text(text)
    monkeypatch.setattr("time.sleep", lambda _: (folder / "cgroup.procs").write_text(""))
    group.kill()
    assert (folder / "cgroup.kill").read_text() == "1"
    assert sleepers[0].poll() is None
    # An older kernel has no such file.
    (folder / "cgroup.kill").unlink()
    (folder / "cgroup.procs").write_text(f"{sleepers[0].pid}\n")
    group.kill()
    assert sleepers[0].wait(5) == -signal.SIGKILL
