"""A built environment's trial: in a sandbox, all that a zygote does, and one cell.

This module is also the program inside: it runs with the environment's packages before ours, as
kernels will.
"""

import importlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lms.outposts.broker import layout
from lms.outposts.broker.launcher import (
    KernelProcess,
    SandboxUnavailableError,
    kernel_spec,
    start_keeper,
)
from lms.outposts.environments.place import with_packages
from lms.protocol.broker import KernelRequest
from lms.protocol.grading import Limits
from lms.protocol.sentences import Sentence, sentence

_MARK = "seodang-trial "
_SECONDS = 300
_CUT = 300


def try_out(packages: Path) -> Sentence | None:
    """Return what is wrong with the environment in `packages`, or None when kernels can use it."""
    root = layout.source_root()
    program = (
        f"import sys; sys.path += [] if {root!r} in sys.path else [{root!r}]\n"
        "from lms.outposts.environments.trial import main; sys.exit(main())"
    )
    with tempfile.TemporaryDirectory(prefix="trial-") as folder:
        request = KernelRequest(
            argv=(sys.executable, "-s", "-P", "-c", program),
            connection_dir=folder,
            limits=Limits(wall_seconds=_SECONDS),
        )
        spec = kernel_spec(request, caller_uid=os.geteuid(), caller_pid=0)
        with_packages(spec, packages)
        try:
            tail = _run(spec)
        except SandboxUnavailableError:
            # Where nothing is graded in a sandbox either; whoever builds trusts the packages.
            spec["isolated"] = False
            tail = _run(spec)
    return _read(tail)


def _run(spec: object) -> str:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        keeper: subprocess.Popen[bytes] = start_keeper(spec, control=theirs)  # type: ignore[arg-type]
    process = KernelProcess(ours, keeper)
    process.wait(_SECONDS + 30)
    usage = process.usage()
    return f"{usage.output_tail}\n{usage.verdict}"


def _read(tail: str) -> Sentence | None:
    for line in tail.splitlines():
        if line.startswith(_MARK):
            problem = str(json.loads(line.removeprefix(_MARK)))
            break
    else:
        problem = " ".join(tail.split())[-_CUT:] or "it said nothing"
    if not problem:
        return None
    return sentence("No kernel can use the packages together: %(problem)s", problem=problem)


def main() -> int:
    """Say in one line of JSON what is wrong with the packages, empty when nothing is."""
    try:
        problem = next(_problems(), "")
    except BaseException as error:  # noqa: BLE001 - whatever somebody else's package raises
        problem = f"{type(error).__name__}: {error}"
    sys.stdout.write(f"\n{_MARK}{json.dumps(problem[:_CUT])}\n")
    sys.stdout.flush()
    return 0


def _problems() -> Iterator[str]:
    from lms.outposts.broker.zygote import IMPORTS
    from lms.outposts.kernels import cells

    importlib.import_module("lms.outposts.kernels.jupyter")
    with cells.importing():
        for name in IMPORTS:
            try:
                importlib.import_module(name)
            except ModuleNotFoundError as error:
                # Not everything is installed everywhere; but what is must find what it needs.
                if error.name is None or name.partition(".")[0] != error.name.partition(".")[0]:
                    yield f"{name} cannot be imported: {error}"
            except Exception as error:  # noqa: BLE001 - whatever somebody else's package raises
                yield f"{name} cannot be imported: {type(error).__name__}: {error}"
    own = importlib.import_module("lms").__file__ or ""
    if not own.startswith(layout.source_root()):
        yield f"lms is imported from {own}"
    yield from _one_cell()


def _one_cell() -> Iterator[str]:
    """Run a cell as grading does."""
    from lms.outposts.kernels import cells
    from lms.outposts.kernels.frames import Line

    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        os._exit(cells.run(theirs, []))
    theirs.close()
    line = Line(ours, limit_bytes=1 << 20)
    line.receive(_SECONDS)
    line.send({"do": "execute", "id": 0, "source": "print(6 * 7)"})
    printed = ""
    while "done" not in (header := line.receive(_SECONDS)[0]):
        printed += json.dumps(header)
    line.close()
    os.wait()
    if "42" not in printed:
        yield f"a cell that prints 42 printed {printed[:_CUT]}"
