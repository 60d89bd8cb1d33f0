"""Where this notebook server stands: whose it is, where the LMS is, and its token."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lms.outposts.environment import process_environment


@dataclass(frozen=True, slots=True, kw_only=True)
class NotebookPlace:
    """What the exchange classes must know of their surroundings."""

    lms_url: str
    #: The server's own token at the Hub; it says who submits.
    token: str
    #: For the name of the person in listings only: the LMS goes by the token.
    username: str
    home: Path

    @property
    def courses_dir(self) -> Path:
        """Where assignments lie, as <offering>/<assignment>."""
        return self.home / "courses"


def find_place(env: Mapping[str, str] | None = None) -> NotebookPlace:
    """Return the place that `env` describes; by default this process's environment."""
    env = process_environment() if env is None else env
    return NotebookPlace(
        lms_url=env.get("LMS_URL", "").rstrip("/"),
        token=env.get("JUPYTERHUB_API_TOKEN", ""),
        username=env.get("JUPYTERHUB_USER", ""),
        home=Path(env.get("HOME") or "."),
    )
