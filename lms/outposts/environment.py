"""The one place in the outposts that reads and replaces the process environment."""

import os
from collections.abc import Mapping, MutableMapping


def process_environment() -> dict[str, str]:
    """Return a copy of this process's environment; who reads it parses it into a dataclass."""
    return dict(os.environ)


def own_environment() -> MutableMapping[str, str]:
    """Return this process's environment itself, for a sandbox's program that completes it."""
    return os.environ


def replace_environment(values: Mapping[str, str]) -> None:
    """Make `values` the whole environment of this process and of what it starts."""
    os.environ.clear()
    os.environ.update(values)
