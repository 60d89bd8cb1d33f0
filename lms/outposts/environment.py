"""The one place in the outposts that reads the process environment."""

import os


def process_environment() -> dict[str, str]:
    """Return a copy of this process's environment; who reads it parses it into a dataclass."""
    return dict(os.environ)
