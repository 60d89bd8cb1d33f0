"""What a result depends on besides files, seed and limits: this engine and its environment."""

import functools
import hashlib
import importlib.metadata
import platform
import sys

#: Rises with every change that can change a score, an integrity verdict or a feedback page.
ENGINE_VERSION = "2"


@functools.cache
def environment_digest() -> str:
    """Return the digest of Python and every package with its version, as notebooks find them."""
    packages = sorted(
        f"{found.name.lower()}=={found.version}" for found in importlib.metadata.distributions()
    )
    lines = [sys.implementation.name, platform.python_version(), platform.machine(), *packages]
    return "sha256:" + hashlib.sha256("\n".join(lines).encode()).hexdigest()
