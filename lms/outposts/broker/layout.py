"""Which host folders every sandbox and view sees besides the system: Python and our code."""

import sys
from pathlib import Path

from lms.outposts.broker.rootfs import SYSTEM
from lms.outposts.broker.spec import Bind

_PACKAGE = Path(__file__).resolve().parents[2]


def program_folders() -> tuple[str, ...]:
    """Return the interpreter's home, the environment, our package and its data, longest last."""
    wanted = [
        sys.base_prefix,
        str(Path(sys.executable).resolve().parents[1]),
        sys.prefix,
        str(_PACKAGE),
    ]
    # In a checkout templates and configuration lie beside the package, in a wheel inside it.
    wanted += [str(_PACKAGE.parent / name) for name in ("templates", "hub_config")]
    # A path through symbolic links is written in scripts, its target in what they resolve.
    both = {path for name in wanted for path in (name, str(Path(name).resolve()))}
    return tuple(sorted((path for path in both if not _is_covered(path, both)), key=len))


def program_binds() -> list[Bind]:
    """Return the folders every sandbox may read to run our Python."""
    return [Bind(path=path, writable=False, optional=True) for path in program_folders()]


def source_root() -> str:
    """Return the folder from which our package can be imported."""
    return str(_PACKAGE.parent)


def search_path() -> str:
    """Return the PATH of a sandbox: our environment's programs, then the system's."""
    return f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin"


def _is_covered(path: str, others: set[str]) -> bool:
    inside_system = any(path == root or path.startswith(f"{root}/") for root in SYSTEM)
    return inside_system or any(path.startswith(f"{other}/") for other in others) or path == "/"
