"""What a result depends on besides files, seed and limits: this engine and its environment."""

import functools
import hashlib
import importlib.metadata
import platform
import sys
import sysconfig

#: Rises with every change that can change a score, an integrity verdict or a feedback page.
ENGINE_VERSION = "2"


@functools.cache
def environment_digest() -> str:
    """Return the digest of Python and every package with its version, as notebooks find them.

    Only the environment's own folders count: where a process was started must not matter.
    """
    folders = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    packages = sorted(
        {
            f"{one.name.lower()}=={one.version}"
            for one in importlib.metadata.distributions(path=folders)
        }
    )
    lines = [sys.implementation.name, platform.python_version(), platform.machine(), *packages]
    return "sha256:" + hashlib.sha256("\n".join(lines).encode()).hexdigest()
