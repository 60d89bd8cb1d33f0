"""What tells one built environment from another on this machine."""

import hashlib
import platform
import sys
import sysconfig

#: How long the part of a digest is that kernels are named by.
_NAMED = 12
#: Rises with every change of the builder that changes what it builds.
BUILDER_VERSION = "1"


def environment_id(requirements: str) -> str:
    """Return the digest of what the requirements of digest `requirements` become here.

    It names Python, platform and builder too: another machine may build something else of the same.
    """
    parts = [
        f"requirements {requirements}",
        f"python {sys.implementation.name} {platform.python_version()}",
        f"platform {sysconfig.get_platform()}",
        f"builder {BUILDER_VERSION}",
    ]
    return "sha256:" + hashlib.sha256("\n".join(parts).encode()).hexdigest()


def kernel_name(requirements: str) -> str:
    """Return the name of the kernel that notebooks with these requirements ask for."""
    return f"seodang-{requirements.removeprefix('sha256:')[:_NAMED]}"
