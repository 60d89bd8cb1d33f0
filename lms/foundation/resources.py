"""Where templates/ and hub_config/ lie: inside an installed wheel, or beside lms/ in a checkout."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def resource_dir(name: str) -> Path:
    """Return the folder `templates` or `hub_config`; raises FileNotFoundError if missing."""
    for candidate in (_PACKAGE / "_data" / name, _PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"no folder {name} in the installed package or the checkout")
