"""A person's notebook server as a program of the server zygote.

The zygote imports what every such server imports and does nothing else; each server is a fork of
it, which reads its own configuration and listens as if it had been executed.
"""

import functools
import importlib
import importlib.metadata
import socket
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType

#: What a server loads, extensions included; a module that is not installed is left out.
IMPORTS = (
    "jupyterhub.singleuser.extension",
    "jupyterlab.labapp",
    "jupyterlab.handlers.extension_manager_handler",
    "jupyterlab_server.handlers",
    "jupyter_lsp.serverextension",
    "jupyter_server_terminals.app",
    "notebook.app",
    "notebook_shim.nbserver",
    "nbconvert.exporters",
    "nbgrader.server_extensions.formgrader",
    "nbgrader.server_extensions.validate_assignment",
    "lms.outposts.notebook.extension",
    "lms.outposts.notebook.gpu",
    "babel.localedata",
    "tornado.platform.asyncio",
    # What these import only once they run.
    "h11",
    "httpcore",
    "IPython",
    "IPython.paths",
    "jinja2.ext",
    "jupyter_core.migrate",
    "jupyter_lsp.virtual_documents_shadow",
    # What the first kernel would bring in.
    "jupyter_client.asynchronous",
    "jupyter_client.localinterfaces",
    "jupyter_client.provisioning.local_provisioner",
    "jupyter_server.services.kernels.connection.channels",
    "jupyter_server.services.kernels.kernelmanager",
    "jupyter_server.services.kernels.websocket",
    "lms.outposts.kernels.connection",
    "lms.outposts.kernels.provisioner",
    "lms.outposts.kernels.specs",
    "tornado.websocket",
    "zmq.asyncio",
    "zmq.eventloop.zmqstream",
)


#: Compiles a grammar when it is imported, which is a third of everything, for a check of addresses
#: (jsonschema's format "iri") that servers hardly ever make.
_LATE = "rfc3987_syntax"


def import_late() -> None:
    """Let `_LATE` be imported by the first call of its function."""
    if _LATE in sys.modules:
        return
    stand_in = ModuleType(_LATE)

    def is_valid_syntax(term: str, value: str) -> bool:
        sys.modules.pop(_LATE, None)
        module = importlib.import_module(_LATE)
        return bool(module.is_valid_syntax(term, value))

    stand_in.__dict__["is_valid_syntax"] = is_valid_syntax
    sys.modules[_LATE] = stand_in


def remember_entry_points() -> None:
    """Read once which plug-ins are installed; forks see the same packages.

    JupyterLab's page asks for all of nbconvert's formats when it opens, and each question would
    read the list of every installed package again.
    """
    if not hasattr(importlib.metadata.entry_points, "cache_clear"):
        importlib.metadata.__dict__["entry_points"] = functools.cache(
            importlib.metadata.entry_points
        )


def prepare() -> None:
    """Import what servers load, and make ready what all of them send."""
    import_late()
    remember_entry_points()
    from jupyter_server.serverapp import JUPYTER_SERVICE_HANDLERS

    services = [name for names in JUPYTER_SERVICE_HANDLERS.values() for name in names or ()]
    for name in (*IMPORTS, *services):
        with suppress(ModuleNotFoundError):
            importlib.import_module(name)
    nbconvert = importlib.import_module("nbconvert.exporters.base")
    for name in nbconvert.get_export_names():
        nbconvert.get_exporter(name)
    packed = importlib.import_module("lms.outposts.notebook.packed")
    for folder in ("lab/static", "labextensions"):
        packed.pack_folder(Path(sys.prefix, "share", "jupyter", folder))


def run(channel: socket.socket | None, argv: list[str]) -> int:
    """Be the notebook server that `argv` describes, until it is told to end."""
    del channel
    from jupyterhub.singleuser import main

    sys.argv = ["jupyterhub-singleuser", *argv]
    main()
    return 0
