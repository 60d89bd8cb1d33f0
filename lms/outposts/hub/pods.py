"""Notebook servers as pods: our spawner, and the settings of a Hub that runs on Kubernetes itself.

The Hub's own database, address, proxy and cookie secret are those of whoever deploys it, such as
Zero to JupyterHub; ours are sign-in, roles, pages, sizes and what a server knows of the LMS.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubespawner import KubeSpawner
from traitlets import Unicode

from lms.outposts.environment import process_environment
from lms.outposts.hub.config import configure_sign_in, make_roles, make_services
from lms.outposts.hub.kubernetes import POD, profiles_for, read_pods
from lms.outposts.hub.place import HubPlace
from lms.outposts.hub.profiles import groups_teach, read_profiles

#: How long a pod usually takes whose image is on its node; only the waiting page's bar goes by it.
USUAL_SECONDS = 20
#: Where a person's volume is mounted: the home of jovyan, the user of the servers' image. nbgrader
#: believes the Hub about who somebody is under that name alone.
HOME = "/home/jovyan"


class PodSpawner(KubeSpawner):
    """One notebook server a person, as a pod."""

    lms_url = Unicode(help="Address of the LMS as servers reach it.").tag(config=True)
    jupyter_config = Unicode(help="Folder of the servers' own configuration, in their image.").tag(
        config=True
    )
    home = Unicode(HOME, help="Where the person's volume is mounted.").tag(config=True)

    def get_env(self) -> dict[str, str]:
        """Return the server's environment; the only secret in it is its own token."""
        env: dict[str, str] = super().get_env()
        base = Path(self.jupyter_config)
        teaches = groups_teach(group.name for group in self.user.groups)
        # Earlier folders win. Students do not see the tools of people who teach.
        path = [base] if teaches else [base / "student", base]
        return env | {
            "HOME": self.home,
            "LMS_URL": self.lms_url,
            "JUPYTER_CONFIG_PATH": ":".join(map(str, path)),
        }

    async def get_options_form(self) -> str:
        """Return the choice of sizes; "" where there is none, so that links lead straight on."""
        if len(self.profile_list(self)) < 2:  # noqa: PLR2004 - a choice is one of two
            return ""
        form: str = await super().get_options_form()
        return form


def configure_pods(
    c: Any,  # noqa: ANN401 - traitlets' config
    hub_config: Path,
    templates: Path,
    *,
    profiles: Path,
    gpus: Mapping[str, str],
) -> None:
    """Put our settings on top of those in `c`.

    `hub_config` and `templates` are our folders, the first at the same path in the servers' image.
    `profiles` is the file of sizes, `gpus` what the cluster calls a GPU: see `read_pods`.
    """
    place = HubPlace.from_env(process_environment())
    _configure_hub(c, place, templates)
    configure_sign_in(c, place)
    c.JupyterHub.spawner_class = PodSpawner
    for name, value in POD.items():
        setattr(c.KubeSpawner, name, value)
    c.KubeSpawner.profile_list = profiles_for(read_profiles(profiles), read_pods(profiles, gpus))
    c.KubeSpawner.working_dir = HOME
    c.KubeSpawner.working_dir = HOME
    c.PodSpawner.lms_url = place.lms_url
    c.PodSpawner.jupyter_config = str(hub_config)


def _configure_hub(c: Any, place: HubPlace, templates: Path) -> None:  # noqa: ANN401
    c.JupyterHub.template_paths = [str(templates)]
    c.JupyterHub.template_vars = {"lms_url": place.lms_url, "usual_seconds": USUAL_SECONDS}
    c.JupyterHub.logo_file = str(templates / "logo.svg")
    c.JupyterHub.allow_named_servers = False
    c.JupyterHub.tornado_settings.update({"cookie_options": {"samesite": "Lax"}})
    # The chart has services and roles of its own, such as the one that ends idle servers.
    c.JupyterHub.services.extend(make_services(place))
    c.JupyterHub.load_roles.extend(make_roles())
