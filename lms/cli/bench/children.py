"""A side of the benchmark that lives through it: a process that answers JSON jobs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lms.cli.bench.peer import ONE_THREAD
from lms.foundation.errors import UnavailableError
from lms.protocol.sentences import sentence


class Child:
    """A module of ours as a process, one JSON job a line in, one answer a line out."""

    def __init__(self, module: str, log: Path) -> None:
        self._module = module
        self._log = log.open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={
                "PATH": os.defpath,
                "PYTHONPATH": os.pathsep.join(sys.path),
                "HOME": str(log.parent),
                "LANG": "C.UTF-8",
                "TZ": "UTC",
                "MPLBACKEND": "agg",
                **ONE_THREAD,
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Without jobs it ends by itself, and with it what it has started.
        self._process.communicate()
        self._log.close()

    def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to `job`; raises UnavailableError with the process' last words."""
        if self._process.stdin is None or self._process.stdout is None:
            raise ValueError("a child has pipes")
        try:
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            self._process.wait()
            words = Path(self._log.name).read_text(encoding="utf-8", errors="replace").strip()
            raise UnavailableError(
                sentence(
                    "%(part)s ended: %(problem)s",
                    part=self._module,
                    problem=(words.splitlines() or ["no word"])[-1],
                )
            )
        return dict(json.loads(line))
