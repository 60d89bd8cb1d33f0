"""What a result depends on besides files, seed and limits: this engine and its environment."""

import functools
import hashlib
import importlib.metadata
import platform
import sys
import sysconfig

from lms.outposts.environments.identity import environment_id

#: Rises with every change that can change a score, an integrity verdict or a feedback page.
ENGINE_VERSION = "2"


def environment_digest(requirements: str = "") -> str:
    """Return the digest of everything that notebooks find: Python and packages with versions.

    With the digest of a course's `requirements`, it is that of their environment, which lies over
    the default one.
    """
    if not requirements:
        return _default_digest()
    both = f"{_default_digest()}\n{environment_id(requirements)}"
    return "sha256:" + hashlib.sha256(both.encode()).hexdigest()


@functools.cache
def _default_digest() -> str:
    # Only the environment's own folders count: where a process was started must not matter.
    folders = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    packages = sorted(
        {
            f"{one.name.lower()}=={one.version}"
            for one in importlib.metadata.distributions(path=folders)
        }
    )
    lines = [sys.implementation.name, platform.python_version(), platform.machine(), *packages]
    return "sha256:" + hashlib.sha256("\n".join(lines).encode()).hexdigest()
