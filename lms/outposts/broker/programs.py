"""What a zygote's fork runs instead of executing a program, and how it is made as good as new.

A fork keeps what its parent was: signals, descriptors, variables, random state. Here all of that
becomes what a fresh interpreter would have.
"""

import atexit
import contextlib
import gc
import importlib
import os
import random
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import NoReturn, Protocol, cast

from lms.outposts.broker import syscalls
from lms.outposts.broker.descriptors import close_all_but
from lms.outposts.broker.forks import MODULES
from lms.outposts.broker.signals import reset_signals
from lms.outposts.broker.spec import Spec
from lms.outposts.environment import replace_environment

#: A program that raised what nobody caught, as Python itself ends.
_UNCAUGHT_EXIT = 1
#: Python ignores these two from its start.
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)
_STANDARD_STREAMS = (0, 1, 2)


class _Program(Protocol):
    def run(self, channel: socket.socket | None, argv: list[str]) -> int: ...


def load(program: str) -> "_Program":
    """Return the program's module; raises ImportError."""
    return cast("_Program", importlib.import_module(MODULES[program]))


def prepare(program: str) -> None:
    """Import the program's module and let it build what forks share; raises ImportError."""
    prepare_it: Callable[[], None] | None = getattr(load(program), "prepare", None)
    if prepare_it is not None:
        prepare_it()


def run(spec: Spec, channel: int | None, started: int) -> NoReturn:
    """Run the program of `spec` in this process and end with it; closing `started` says it began.

    Everything else must have been done: rights, root, limits and the system call filter.
    """
    code = _UNCAUGHT_EXIT
    try:
        # What was set aside as nobody's business is not even open any more.
        close_all_but([*_STANDARD_STREAMS, started, *([] if channel is None else [channel])])
        # Who was root is a stranger to its own /proc until an exec, or this. From here on other
        # processes of the user can take what is open, so the keeper's pipes and groups are not.
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)
        _be_fresh(spec)
        _discard_others(spec["program"])
        program = load(spec["program"])
        line = None if channel is None else socket.socket(fileno=channel)
        os.close(started)
        code = program.run(line, list(spec["argv"]))
    except SystemExit as error:
        code = _exit_code(error)
    except BaseException:  # noqa: BLE001 - the edge of a process
        with contextlib.suppress(BaseException):
            traceback.print_exc()
    finally:
        _leave(code)


def _discard_others(wanted: str) -> None:
    """Let the other programs forget what they prepared: there is one kernel a process."""
    for program, name in MODULES.items():
        discard = getattr(sys.modules.get(name), "discard", None)
        if program != wanted and discard is not None:
            discard()


def _be_fresh(spec: Spec) -> None:
    reset_signals()
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    replace_environment(spec["env"])
    sys.argv = [spec["program"], *spec["argv"]]
    _forget_folders()
    seed_random(spec["seed"])
    gc.enable()
    syscalls.name_process(f"seodang-{spec['program']}")


def _forget_folders() -> None:
    """Let matplotlib look for its folders again, in the home it has now."""
    matplotlib = sys.modules.get("matplotlib")
    for name in ("get_configdir", "get_cachedir"):
        forget = getattr(getattr(matplotlib, name, None), "cache_clear", None)
        if forget is not None:
            forget()


def seed_random(seed: int) -> None:
    """Start every random generator that is loaded afresh; forks would otherwise all be alike."""
    random.seed(seed)
    words = [seed & 0xFFFF_FFFF, seed >> 32]
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed(words)
    torch: ModuleType | None = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)


def _exit_code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    with contextlib.suppress(BaseException):
        sys.stderr.write(f"{error.code}\n")
    return _UNCAUGHT_EXIT


def _leave(code: int) -> NoReturn:
    """End this process without running what belongs to the zygote's own end."""
    try:
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()  # noqa: SLF001 - what the interpreter's end would do
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(BaseException):
                stream.flush()
    finally:
        os._exit(code)
