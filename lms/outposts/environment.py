"""The one place in the outposts that reads the process environment."""

import os
from collections.abc import MutableMapping


def process_environment() -> dict[str, str]:
    """Return a copy of this process's environment; who reads it parses it into a dataclass."""
    return dict(os.environ)


def own_environment() -> MutableMapping[str, str]:
    """Return this process's environment itself, for a sandbox's program that completes it."""
    return os.environ
