"""Real sandboxes: a launcher, and one call that runs Python inside and says what happened."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lms.outposts.broker.launcher import DirectLauncher, KernelLauncher, KernelRequest, Usage
from lms.protocol.grading import Limits

WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Outcome:
    """How a sandboxed program ended."""

    code: int
    usage: Usage

    @property
    def said(self) -> str:
        return self.usage.output_tail


RunInside = Callable[..., Outcome]


@pytest.fixture
def connection_dir() -> Iterator[Path]:
    """A short path: sockets will lie in it."""
    with tempfile.TemporaryDirectory(prefix="k-") as folder:
        yield Path(folder)


@pytest.fixture
def launcher() -> KernelLauncher:
    return DirectLauncher()


@pytest.fixture
def run_inside(launcher: KernelLauncher, connection_dir: Path) -> RunInside:
    """Run Python source in a sandbox and wait for its end."""

    def run(
        source: str, *, files: Path | None = None, env: dict[str, str] | None = None, **limits: int
    ) -> Outcome:
        process = launcher.launch(
            KernelRequest(
                argv=(sys.executable, "-c", source),
                env=env or {},
                connection_dir=str(connection_dir),
                files_dir=None if files is None else str(files),
                limits=Limits(**limits),
            )
        )
        code = process.wait(WAIT_SECONDS)
        return Outcome(code, process.usage())

    return run


def is_root() -> bool:
    return os.geteuid() == 0
