"""The environment's digest: of what is installed, whoever asks and from wherever."""

import subprocess
import sys
from pathlib import Path

import pytest

from lms.outposts.runner.version import environment_digest

ASK = "from lms.outposts.runner.version import environment_digest as e; print(e())"


@pytest.mark.parametrize("flags", [[], ["-P"]])
def test_where_a_process_was_started_does_not_matter(tmp_path: Path, flags: list[str]) -> None:
    fake = tmp_path / "strange-1.0.dist-info"
    fake.mkdir()
    (fake / "METADATA").write_text("Metadata-Version: 2.1\nName: strange\nVersion: 1.0\n")
    said = subprocess.run(
        [sys.executable, *flags, "-c", ASK],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert said.stdout.strip() == environment_digest()
