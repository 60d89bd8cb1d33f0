"""Runs a trusted part of the service in a view: only its own folders, its own uid, no way back."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lms.outposts.broker import layout
from lms.outposts.broker.launcher import start_keeper
from lms.outposts.broker.spec import Bind, Spec, blank_spec

_HOME = "/home/part"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What one part may see and be, where the service runs as root.

    It always sees the system, Python and our package read-only, and has a private /tmp and home
    in memory. A bound folder must exist; bind a socket's folder, since a new socket is a new file.
    """

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    #: Folders (or files) that appear at the same paths; their owners and modes still count.
    read_write: tuple[Path, ...] = ()
    read_only: tuple[Path, ...] = ()
    umask: int = 0o007
    #: How much the private /tmp and home may hold.
    scratch_bytes: int = 256 << 20
    #: Seconds from a polite signal until everything in the view is killed.
    grace_seconds: float = 10.0


def view_spec(argv: Sequence[str], env: Mapping[str, str], view: View) -> Spec:
    """Return the sandbox that is `view`, for `argv` with `env` (HOME is the view's own)."""
    return blank_spec() | {
        "argv": list(argv),
        "env": {"PATH": layout.search_path(), "LANG": "C.UTF-8", **env, "HOME": _HOME},
        "cwd": _HOME,
        "umask": view.umask,
        "user": "part",
        "home": _HOME,
        "uid": view.uid,
        "gid": view.gid,
        "groups": list(view.groups),
        "network": True,
        "binds": layout.program_binds()
        + _binds(view.read_write, writable=True)
        + _binds(view.read_only, writable=False),
        "scratch_bytes": view.scratch_bytes,
        "output": "inherit",
        "grace_seconds": view.grace_seconds,
    }


def start_in_view(
    argv: Sequence[str], env: Mapping[str, str], view: View, *, log: int
) -> "subprocess.Popen[bytes]":
    """Start `argv` in `view`, writing to descriptor `log`; needs root.

    The process returned is the view's keeper: SIGTERM and SIGINT reach the program, which then has
    `grace_seconds`; when the keeper ends, however that comes, nothing in the view lives on. Its
    exit code is the program's, and 127 when it could not be started (the log says why).
    """
    return start_keeper(view_spec(argv, env, view), control=None, log=log)


def _binds(paths: Sequence[Path], *, writable: bool) -> list[Bind]:
    both = {str(path): None for given in paths for path in (given.absolute(), given.resolve())}
    return [Bind(path=path, writable=writable, optional=False) for path in both]


def can_use_views() -> bool:
    """Tell whether this process may give parts own uids and views."""
    return os.geteuid() == 0
