"""Links from pages to people's notebook servers at the Hub."""

from urllib.parse import urlencode

import requests

from lms.bootstrap import System
from lms.catalogue.models import OfferedAssignment
from lms.foundation.errors import UnavailableError
from lms.foundation.settings import Settings
from lms.protocol.sentences import sentence

#: How long the Hub may take to say that it is there, in seconds.
HUB_SECONDS = 2.0


def launch_url(system: System, task: OfferedAssignment, *, notebook: str = "") -> str:
    """Return where 'Open notebook' leads; raises UnavailableError when the Hub does not answer.

    The Hub signs the person in, starts the server and shows how far it is; the server fetches what
    is missing of the assignment and lands on its notebook.
    """
    check_hub(system.settings)
    query = {"offering": task.offering.key, "assignment": task.assignment.key}
    if notebook:
        query["notebook"] = notebook
    return f"{system.settings.hub_url}/hub/user-redirect/seodang/open?{urlencode(query)}"


def check_hub(settings: Settings) -> None:
    """Ask the Hub, through its proxy, whether it is there; raises UnavailableError."""
    try:
        with requests.Session() as http:
            http.trust_env = False
            answer = http.get(settings.hub_health_url, timeout=HUB_SECONDS)
            answer.raise_for_status()
    except requests.RequestException as error:
        raise UnavailableError(
            sentence(
                "The notebook Hub does not answer. You can read, upload and see results here as "
                "usual; try to open the notebook again in a minute."
            )
        ) from error


def sign_out_url(settings: Settings) -> str:
    """Return where signing out goes on, to end the Hub's sessions too."""
    return f"{settings.hub_url}/hub/logout"
