"""ipykernel's kernel and shell without sockets: made once in the zygote, renewed in each fork."""

import io
import logging
import os
import signal
import sys
import tempfile
import threading
import uuid
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any

import ipykernel
from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp
from ipykernel.zmqshell import ZMQInteractiveShell
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.profiledir import ProfileDir
from traitlets.config import Config

from lms.outposts.environment import own_environment
from lms.outposts.kernels.streams import CellStream, LineSession, ProgramLine, Publisher
from lms.outposts.kernels.tracebacks import PlainTraceback

_INLINE = "matplotlib_inline.backend_inline"


class Leaving:
    """When a notebook's `exit()` ends the kernel: as ipykernel, a tenth of a second later.

    Cells run faster here than there, so each of them counts for what it would have taken.
    """

    _SECONDS = 0.1
    _CELL_SECONDS = 0.009

    def __init__(self) -> None:
        self._begun: float | None = None
        self._cells = 0

    def next_cell(self, *, is_asked: bool) -> bool:
        """Say whether the kernel would be gone before another cell."""
        if not is_asked:
            return False
        if self._begun is None:
            self._begun = monotonic()
        self._cells += 1
        return monotonic() - self._begun + self._cells * self._CELL_SECONDS > self._SECONDS


class CellKernel(IPythonKernel):
    """ipykernel's kernel; requests are handed to it, and it publishes on a line."""

    def __init__(self, **traits: Any) -> None:  # noqa: ANN401 (ipykernel's signature)
        publisher = Publisher()
        session = LineSession(publisher=publisher)
        super().__init__(
            session=session,
            iopub_thread=publisher,
            iopub_socket=publisher,
            # Cells run in the thread that ipykernel expects them in.
            shell_channel_thread=SimpleNamespace(parent_thread=threading.main_thread()),
            log=logging.getLogger("ipykernel"),
            **traits,
        )
        self._execute_sleep = 0
        self.line_session = session
        self.leaving = Leaving()
        self.publisher = publisher
        self.streams = {name: CellStream(session, publisher, name) for name in ("stdout", "stderr")}


def make(folder: Path) -> CellKernel:
    """Make the kernel and its shell; no thread, no socket, no file outside `folder`."""
    config = Config()
    config.HistoryManager.hist_file = ":memory:"
    # What notebooks look for to know that they run in a kernel.
    config.IPKernelApp.connection_file = "kernel.json"
    profile = ProfileDir.create_profile_dir_by_name(folder, "default")
    app = IPKernelApp.instance(config=config)
    kernel = CellKernel.instance(parent=app, profile_dir=profile)
    app.kernel = kernel
    shell: Any = kernel.shell
    shell.InteractiveTB = PlainTraceback.like(shell.InteractiveTB)
    _patch_debugger()
    shell.extension_manager.load_extension("storemagic")
    shell.user_ns_hidden.update(shell.user_ns)
    _warm_up(shell)
    return kernel


def discard() -> None:
    """Forget the kernel that was made, so that another one can be in this process."""
    for kind in (CellKernel, ZMQInteractiveShell, InteractiveShell, IPKernelApp):
        if kind.initialized():
            kind.clear_instance()


def renew(kernel: CellKernel, line: ProgramLine) -> None:
    """Make the kernel that of this process: its descriptors, folders, environment and names."""
    shell: Any = kernel.shell
    line.open()
    publisher = kernel.publisher
    publisher.open(line)
    kernel.line_session.line = line
    kernel.line_session.pid = os.getpid()
    kernel.line_session.session = kernel.ident = uuid.uuid4().hex
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = kernel.streams[name]
        stream.open(os.dup(number))
        publisher.capture(number, stream)
        setattr(sys, name, stream)
    # What pickles and forks look names up in; another program may have made a shell after us.
    sys.modules["__main__"] = shell.user_module
    tempfile.tempdir = None
    _renew_folders(shell)
    shell.init_environment()
    own_environment().setdefault("MPLBACKEND", f"module://{_INLINE}")
    _renew_path()
    _renew_matplotlib()
    kernel.shell_channel_thread.parent_thread = threading.main_thread()
    kernel.leaving = Leaving()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _renew_folders(shell: Any) -> None:  # noqa: ANN401 (IPython has no types)
    """Move IPython's folders to where this sandbox has them; they are made when they are used."""
    new = own_environment().get("IPYTHONDIR") or str(Path("~/.ipython").expanduser())
    old = shell.ipython_dir
    for kept in (shell, shell.profile_dir):
        # Not by assignment: the observers would make a dozen folders.
        values = kept._trait_values  # noqa: SLF001
        for name, value in values.items():
            if isinstance(value, str) and value.startswith(old):
                values[name] = new + value[len(old) :]
    shell.db = None
    shell.history_manager.dir_hist[:] = [Path.cwd()]
    shell.starting_dir = str(Path.cwd())


def _warm_up(shell: Any) -> None:  # noqa: ANN401 (IPython has no types)
    """Run what every first cell runs once, so that no fork has to, and leave no trace of it."""
    names = (shell.user_ns, shell.user_ns_hidden)
    before, streams = [dict(kept) for kept in names], (sys.stdout, sys.stderr)
    sys.stdout = sys.stderr = io.StringIO()
    try:
        for source in ("6 * 7", "None", "1 / 0", "f(:"):
            shell.run_cell(source, store_history=False)
    finally:
        sys.stdout, sys.stderr = streams
    for name in ("last_traceback", "last_type", "last_value", "last_exc"):
        if hasattr(sys, name):
            delattr(sys, name)
    for kept, value in zip(names, before, strict=True):
        kept.clear()
        kept.update(value)
    shell.user_ns["_oh"].clear()
    hook, history = shell.displayhook, shell.history_manager
    hook._, hook.__, hook.___ = "", "", ""
    for kept in (history.output_hist, history.output_hist_reprs, history.outputs):
        kept.clear()
    history.exceptions.clear()
    shell.compile._filename_map.clear()  # noqa: SLF001
    shell._last_traceback = shell.InteractiveTB.tb = None  # noqa: SLF001
    _remember_transformed(shell)


def _remember_transformed(shell: Any) -> None:  # noqa: ANN401 (IPython has no types)
    """Let a cell's magics be transformed once: ipykernel asks twice for every cell."""
    manager = shell.input_transformer_manager
    transform, lists = (
        manager.transform_cell,
        (
            manager.cleanup_transforms,
            manager.line_transforms,
            manager.token_transformers,
        ),
    )
    stock = [list(kept) for kept in lists]
    known: dict[str, str] = {}

    def transform_cell(cell: str) -> str:
        if [list(kept) for kept in lists] != stock:
            return str(transform(cell))  # a notebook's own may give something else each time
        if cell not in known:
            known.clear()
            known[cell] = transform(cell)
        return known[cell]

    manager.transform_cell = transform_cell


def _renew_path() -> None:
    """Put the working folder where IPython puts it, behind the standard library."""
    sys.argv[:] = [
        str(Path(ipykernel.__file__).parent.with_name("ipykernel_launcher.py")),
        "-f",
        "kernel.json",
        "--HistoryManager.hist_file=:memory:",
    ]
    if "" in sys.path:
        return
    places = [
        place
        for place, path in enumerate(sys.path)
        if Path(path).name in {"site-packages", "dist-packages"}
    ]
    sys.path.insert(places[0] if places else 0, "")


def _renew_matplotlib() -> None:
    """Leave the inline backend to the first figure, as where nothing was imported before."""
    sys.modules.pop(_INLINE, None)
    matplotlib = sys.modules.get("matplotlib")
    if matplotlib is not None:
        matplotlib.rcParams["backend"] = own_environment()["MPLBACKEND"]


def _patch_debugger() -> None:
    """Replace pdb by IPython's, which an interrupt ends; as ipykernel does."""
    import pdb  # noqa: T100

    from IPython.core import debugger

    names: Any = debugger
    names.Pdb = debugger.InterruptiblePdb
    stock: Any = pdb
    stock.Pdb = debugger.InterruptiblePdb
    stock.set_trace = debugger.set_trace
