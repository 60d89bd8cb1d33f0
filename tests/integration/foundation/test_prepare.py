"""`lms prepare`: keys alone, and a data folder whose mounts belong to somebody else."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from lms.cli.main import cli
from tests.fakes.reachable import reachable_python

#: Prepares as `UID`.
AS_SOMEBODY = """
import os, sys
import alembic.command, sqlalchemy.dialects.sqlite.pysqlite
from lms.cli.prepare import prepare
from lms.foundation.settings import Settings

data, uid, gid = sys.argv[1:]
os.setgroups([])
os.setresgid(int(gid), int(gid), int(gid))
os.setresuid(int(uid), int(uid), int(uid))
prepare(Settings.from_env({"LMS_DATA": data}), None, accounts=False)
"""
UID, GID = 190001, 190000


def _keys(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in (folder / "keys").rglob("*")
        if path.is_file()
    }


def _run(data: Path, *words: str) -> str:
    result = CliRunner().invoke(cli, ["prepare", *words], env={"LMS_DATA": str(data)})
    assert result.exit_code == 0, result.output
    return result.output


def test_keys_are_made_once_and_nothing_beside_them(tmp_path: Path) -> None:
    data = tmp_path / "new" / "data"
    assert "all keys are there" in _run(data, "--keys-only")
    keys = _keys(data)
    assert {path.name for path in data.iterdir()} == {"keys"}
    assert {name.split("/")[1] for name in keys} == {"web", "hub", "grading", "public"}
    _run(data, "--keys-only")
    assert _keys(data) == keys


@pytest.fixture
def volume() -> Iterator[Path]:
    """Make a folder that others can reach: pytest's own are closed to them."""
    with tempfile.TemporaryDirectory(prefix="lms-volume-") as folder:
        yield Path(folder)


@pytest.fixture
def program() -> Iterator[Path]:
    """Make a second such folder, for the program."""
    with tempfile.TemporaryDirectory(prefix="lms-program-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run as somebody else")
def test_a_volume_and_keys_of_somebody_else_are_taken_as_they_are(
    volume: Path, program: Path
) -> None:
    """As on Kubernetes: the volume is root's and its group's, the keys are mounted read-only."""
    data = volume
    _run(data, "--keys-only")
    # A mounted secret is links into a folder that is replaced as a whole.
    inner = data / "keys" / "..data"
    inner.mkdir()
    for path in [one for one in (data / "keys").iterdir() if one != inner]:
        path.rename(inner / path.name)
        path.symlink_to(Path("..data", path.name))
    os.chown(data, 0, GID)
    data.chmod(0o2775)
    for path in (data / "keys", *(data / "keys").rglob("*")):
        os.chown(path, 0, GID)
        path.chmod(0o550 if path.is_dir() else 0o440)
    keys = _keys(data)
    result = subprocess.run(
        [reachable_python(program), "-c", AS_SOMEBODY, data, str(UID), str(GID)],
        cwd=program,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert (data / "db" / "lms.sqlite").stat().st_uid == UID
    assert not (data / "credentials.txt").exists()
    assert _keys(data) == keys
