"""In a person's notebook server: nbgrader's exchange classes over HTTP, and our own handlers."""

from typing import Any


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    """Tell Jupyter Server where the extension is; called by its name."""
    return [{"module": "lms.outposts.notebook"}]


def _load_jupyter_server_extension(server: Any) -> None:  # noqa: ANN401
    """Load the extension; called by its name."""
    from lms.outposts.notebook.extension import load_extension

    load_extension(server)
