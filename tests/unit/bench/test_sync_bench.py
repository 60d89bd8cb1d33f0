"""`lms bench sync`: what it counts and how its figures compare."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from lms.cli.bench import sync_peers
from lms.cli.bench.sync import _figure, sync
from lms.cli.bench.sync_corpus import make
from lms.cli.bench.sync_pull import CountedSource


def test_ratio_says_how_many_times_better_ours_is() -> None:
    fewer = _figure("update_over_floor", 1.02, "times", ("rsync", 2.04))
    faster = _figure("apply", 300.0, "MB/s", ("copy", 600.0))

    assert fewer["ratio"] == pytest.approx(2.0)
    assert faster["ratio"] == pytest.approx(0.5)
    assert _figure("memory", 60.0, "MB")["ratio"] is None


@pytest.mark.slow
def test_corpus_is_the_same_each_time_and_says_what_is_new(tmp_path: Path) -> None:
    one, other = (make(tmp_path / name, 0.001) for name in ("one", "other"))

    def content(folder: Path) -> dict[str, bytes]:
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    assert content(one.old) == content(other.old)
    assert content(one.new) == content(other.new)
    assert one.new_bytes == other.new_bytes
    old, new = content(one.old), content(one.new)
    assert new["data/sensors.csv"].startswith(old["data/sensors.csv"])
    assert new["data/sensors.csv"][len(old["data/sensors.csv"]) :] in one.new_bytes
    assert {path for path in new if "/new-" in path} == {
        *(f"module-03/source/new-{number}.ipynb" for number in range(5)),
        *(f"images/new-{number}.jpg" for number in range(2)),
    }


def test_every_byte_that_is_read_counts(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100)
    source = CountedSource(tmp_path)

    assert b"".join(source.read("a", 10, 50, 100)) == b"x" * 50
    assert source.small("a", 200) == b"x" * 100
    assert source.received == 150


def test_archive_and_floor_count_packed_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100_000)

    assert 50 < sync_peers.archive(tmp_path).bytes < 2_000
    assert sync_peers.floor(b"x" * 100_000) < 100


@pytest.mark.slow
def test_bench_reports_its_figures() -> None:
    done = CliRunner().invoke(sync, ["--json", "--scale", "0.01"])

    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    named = {figure["name"]: figure["value"] for figure in report["figures"]}
    assert set(report) == {"figures", "machine", "versions"}
    assert named["update_over_floor"] < 1.1
    assert named["first_install_over_tar"] < 1.03
    assert named["nothing_new"] <= 1024
    assert named["memory"] < 128
