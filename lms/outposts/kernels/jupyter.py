"""The program "kernel": a Jupyter kernel in a zygote's fork, as any notebook client knows it.

What takes long in a kernel's start and depends on nothing of the one who starts it, is done once in
the zygote: imports, and the making of the shell. A kernel with a configuration of its own makes its
own shell.
"""

import contextlib
import importlib
import json
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from ipykernel import ipkernel
from ipykernel.compiler import XCachingCompiler
from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp
from ipykernel.zmqshell import ZMQInteractiveShell
from IPython.core.profiledir import ProfileDir
from tornado.ioloop import IOLoop
from traitlets.config import Config

from lms.outposts.broker.forks import AHEAD
from lms.outposts.broker.programs import seed_random
from lms.outposts.environment import process_environment, replace_environment

#: What a kernel says over its channel: its sockets are open; it is now what it was told to be.
READY = b"r"
TAKEN = b"k"

#: What a kernel imports while it starts.
_IMPORTS = (
    "IPython.core.debugger",
    "IPython.core.magics",
    "IPython.extensions.storemagic",
    "ipykernel.comm.manager",
    "ipykernel.debugger",
    "ipykernel.subshell_manager",
    "jupyter_client.session",
    "pdb",
    "tornado.platform.asyncio",
    "zmq.eventloop.zmqstream",
)
#: The sections of a configuration that say where a kernel listens, and nothing about its shell.
_PLAIN_SECTIONS = {"IPKernelApp", "ConnectionFileMixin", "KernelApp", "Session", "HistoryManager"}
#: Memory instead of a file that all kernels of a person would share.
_NO_HISTORY_FILE = "--HistoryManager.hist_file=:memory:"

_INLINE = "matplotlib_inline.backend_inline"

_prepared: list[Any] = []
_module_files: list[str] = []


class ReadyShell(ZMQInteractiveShell):
    """The shell that `prepare` made, given to the kernel that asks for one."""

    @classmethod
    def instance(cls, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - a kernel's trait
        """Return the prepared shell as the kernel's own, or make one."""
        parent = options.get("parent")
        if not _prepared or parent is None or set(parent.config) - _PLAIN_SECTIONS:
            return super().instance(*args, **options)
        shell = _prepared.pop()
        for kind in cls._walk_mro():
            kind._instance = shell  # noqa: SLF001 - as traitlets does
        shell.kernel = options["kernel"]
        shell.parent = parent
        shell.profile_dir = options["profile_dir"]
        user_ns = options.get("user_ns")
        if user_ns:
            shell.user_ns.update(user_ns)
        return shell


class _NoModules:
    """The module `sys` without the modules."""

    modules: ClassVar[dict[str, Any]] = {}

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - anything of sys
        return getattr(sys, name)


class ReadyKernel(IPythonKernel):
    """A kernel that takes the prepared shell."""

    shell_class = ReadyShell

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - a kernel's traits
        # It lists the files of all modules for its debugger: looking at each of them here would
        # copy some 10 MB of the zygote's memory, so the zygote has looked.
        module: Any = ipkernel
        module.sys = _NoModules() if _module_files else sys
        try:
            super().__init__(**options)
        finally:
            module.sys = sys
        self._kernel_modules += _module_files


class ReadyApp(IPKernelApp):
    """A kernel's application that knows its one usual argument without a parser for all."""

    kernel_class = ReadyKernel

    def parse_command_line(self, argv: list[str] | None = None) -> None:
        """Take `argv`; `-f` and a file is all that a launcher says."""
        match argv:
            case ["-f", path]:
                # As the parser would leave it, so that the file's own settings do not win.
                self.config.IPKernelApp.connection_file = path
                self.connection_file = path
                self.config.HistoryManager.hist_file = ":memory:"
            case _:
                super().parse_command_line([_NO_HISTORY_FILE, *(argv or [])])


def prepare() -> None:
    """Import what kernels need and make a shell, without thread, socket or file."""
    for name in _IMPORTS:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    config = Config()
    config.HistoryManager.hist_file = ":memory:"
    _module_files[:] = [
        path for module in list(sys.modules.values()) if (path := getattr(module, "__file__", None))
    ]
    folder = Path(tempfile.mkdtemp(prefix="kernel-"))
    try:
        profile = ProfileDir.create_profile_dir_by_name(str(folder), "default")
        _prepared.append(
            ReadyShell(config=config, profile_dir=profile, compiler_class=XCachingCompiler)
        )
        # What the first cell makes on demand, such as caches, is then there for every fork.
        practise(_prepared[-1])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def discard() -> None:
    """Forget what `prepare` made: another program runs in this process."""
    _prepared.clear()


class Takeover:
    """A kernel that runs before anybody has asked for it becomes the kernel of whoever does."""

    def __init__(self, app: IPKernelApp, channel: socket.socket) -> None:
        self._app = app
        self._channel = channel
        self._data = b""
        channel.setblocking(False)  # noqa: FBT003 - has no keyword
        self._loop = IOLoop.current()
        self._loop.add_handler(channel.fileno(), lambda *_: self._read(), IOLoop.READ)

    def _read(self) -> None:
        try:
            data = self._channel.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._data += data
        if data and not self._data.endswith(b"\n"):
            return
        self._loop.remove_handler(self._channel.fileno())
        with self._channel:
            if data:
                self._take(json.loads(self._data))
                self._channel.setblocking(True)  # noqa: FBT003 - has no keyword
                self._channel.sendall(TAKEN)

    def _take(self, wanted: dict[str, Any]) -> None:
        """Put on environment, folder and seed, as a kernel that starts now would have them."""
        backend = process_environment().get("MPLBACKEND", "")
        environment = {"MPLBACKEND": backend, **wanted["env"]} if backend else wanted["env"]
        replace_environment(environment)
        with contextlib.suppress(OSError):
            os.chdir(wanted["cwd"])
        seed_random(int(wanted["seed"]))
        name = environment.get("JPY_SESSION_NAME")
        shell: Any = self._app.shell
        if name and shell is not None:
            shell.user_ns["__session__"] = name


def renew_matplotlib() -> None:
    """Leave the backend to the first figure, as where matplotlib was not yet imported."""
    backend = process_environment().get("MPLBACKEND")
    matplotlib: Any = sys.modules.get("matplotlib")
    if matplotlib is not None and backend:
        matplotlib.rcParams["backend"] = backend
    # Imported for a figure, this module ties itself to the shell of that moment.
    sys.modules.pop(_INLINE, None)


def practise(shell: Any) -> None:  # noqa: ANN401 (IPython has no types)
    """Run a cell that leaves no trace, so that a person's first one finds its memory copied."""
    shell.run_cell("0", silent=True, store_history=False)
    shell.display_formatter.format(0)


def run(channel: socket.socket | None, argv: list[str]) -> int:
    """Be the kernel that `argv` describes, such as `-f connection.json`, until it is told to end.

    Over `channel` goes one byte when its sockets are open: a client that connects earlier would
    wait for ZeroMQ's next try. A line that comes over it later is what the kernel should become.
    """
    app = ReadyApp.instance()
    app.initialize([word for word in argv if word != AHEAD])
    renew_matplotlib()
    if AHEAD in argv:
        practise(app.shell)
    if channel is not None:
        channel.sendall(READY)
        Takeover(app, channel)
    app.start()
    return 0


if __name__ == "__main__":
    sys.exit(run(None, sys.argv[1:]))
