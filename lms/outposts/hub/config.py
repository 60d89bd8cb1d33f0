"""Every JupyterHub setting of ours; hub_config/jupyterhub_config.py calls `configure`."""

import sys
from pathlib import Path
from typing import Any

from tornado import web

from lms.outposts.broker.client import BrokerClient
from lms.outposts.environment import process_environment
from lms.outposts.hub.authenticator import LmsAuthenticator, oauth_settings
from lms.outposts.hub.launchers import BrokerLauncher, LocalLauncher
from lms.outposts.hub.place import HubPlace
from lms.outposts.hub.profiles import Profile, ProfileError, choose_profile, read_profiles
from lms.outposts.hub.signout import SERVICE, sign_out_token
from lms.outposts.hub.spawner import BrokerSpawner


def configure(c: Any, folder: Path, templates: Path) -> None:  # noqa: ANN401 - traitlets' config
    """Fill JupyterHub's config `c`; `folder` is hub_config, `templates` our pages for the Hub."""
    place = HubPlace.from_env(process_environment())
    _configure_hub(c, place, templates)
    _configure_idleness(c, place)
    _configure_proxy(c, place)
    configure_sign_in(c, place)
    _configure_servers(c, place, folder)


def _configure_hub(c: Any, place: HubPlace, templates: Path) -> None:  # noqa: ANN401
    c.JupyterHub.bind_url = f"http://{place.bind}:{place.hub_port}"
    c.JupyterHub.hub_bind_url = place.inner_hub_url
    c.JupyterHub.db_url = f"sqlite:///{place.hub_dir / 'jupyterhub.sqlite'}"
    c.JupyterHub.cookie_secret = bytes.fromhex(place.key("cookie_secret"))
    c.JupyterHub.template_paths = [str(templates)]
    c.JupyterHub.template_vars = {"lms_url": place.lms_url, "usual_seconds": place.usual_seconds}
    c.JupyterHub.logo_file = str(templates / "logo.svg")
    # People's servers and kernels outlive a restart of the Hub.
    c.JupyterHub.cleanup_servers = False
    c.JupyterHub.cleanup_proxy = False
    # The routes of a proxy that restarted are put back at this pace, in seconds.
    c.JupyterHub.last_activity_interval = 10
    c.JupyterHub.allow_named_servers = False
    c.JupyterHub.tornado_settings = {"cookie_options": {"samesite": "Lax"}}
    c.JupyterHub.services = make_services(place)
    c.JupyterHub.load_roles = make_roles()
    c.CryptKeeper.keys = [bytes.fromhex(place.key("auth_state_key"))]


def make_services(place: HubPlace) -> list[dict[str, Any]]:
    """Return the Hub's services that are ours, with their tokens."""
    return [
        {"name": "lms", "api_token": place.key("lms_api_token")},
        {"name": SERVICE, "api_token": sign_out_token(place.key("cookie_secret"))},
    ]


def make_roles() -> list[dict[str, Any]]:
    """Return what people and our services may do at the Hub."""
    return [
        # People may use and handle their own servers. JupyterHub's default, "self", would also let
        # them make tokens that never expire and outlive a sign-out, and share their servers.
        {
            "name": "user",
            "scopes": [
                "access:servers!user",
                "read:users!user",
                "servers!user",
                "users:activity!user",
            ],
        },
        # The LMS itself: it may end people's servers and nothing else.
        {
            "name": "lms",
            "services": ["lms"],
            "scopes": ["delete:servers", "list:users", "read:servers"],
        },
        # The Hub's own word to servers that somebody has signed out.
        {"name": SERVICE, "services": [SERVICE], "scopes": ["access:servers"]},
    ]


def _configure_idleness(c: Any, place: HubPlace) -> None:  # noqa: ANN401
    """End servers that nobody uses; those whose kernels compute say themselves that they do."""
    seconds = place.idle_seconds
    c.BrokerSpawner.idle_seconds = seconds
    if not seconds:
        return
    every = min(60, max(1, seconds // 2))
    command = [sys.executable, "-m", "jupyterhub_idle_culler"]
    command += [f"--timeout={seconds}", f"--cull-every={every}"]
    c.JupyterHub.services.append({"name": "idle", "command": command})
    scopes = ["list:users", "read:users:activity", "read:servers", "delete:servers"]
    c.JupyterHub.load_roles.append({"name": "idle", "services": ["idle"], "scopes": scopes})


def _configure_proxy(c: Any, place: HubPlace) -> None:  # noqa: ANN401
    c.JupyterHub.proxy_class = "configurable-http-proxy"
    c.ConfigurableHTTPProxy.should_start = False
    c.ConfigurableHTTPProxy.api_url = place.proxy_api_url
    c.ConfigurableHTTPProxy.auth_token = place.key("proxy_token")


def configure_sign_in(c: Any, place: HubPlace) -> None:  # noqa: ANN401
    """Let people in whom the LMS names, and let them out when it says so."""
    c.JupyterHub.authenticator_class = LmsAuthenticator
    settings = oauth_settings(place.lms_url, place.hub_url, place.key("client_secret"))
    if place.lms_inner_url:
        settings["token_url"] = f"{place.lms_inner_url}/oauth/token"
        settings["userdata_url"] = f"{place.lms_inner_url}/oauth/userinfo"
    settings["sign_out_token"] = sign_out_token(place.key("cookie_secret"))
    settings["auth_refresh_age"] = place.refresh_seconds
    for name, value in settings.items():
        setattr(c.LmsAuthenticator, name, value)


def _configure_servers(c: Any, place: HubPlace, folder: Path) -> None:  # noqa: ANN401
    profiles = read_profiles(folder / "profiles.toml")

    def check(spawner: BrokerSpawner) -> None:
        groups = [group.name for group in spawner.user.groups]
        try:
            profile = choose_profile(profiles, spawner.user_options, groups)
        except ProfileError as error:
            raise web.HTTPError(403, str(error), reason="Forbidden") from error
        _apply(spawner, profile)

    c.JupyterHub.spawner_class = BrokerSpawner
    BrokerSpawner.launcher = (
        LocalLauncher(place.data_dir / "environments")
        if place.local_servers
        else BrokerLauncher(BrokerClient(place.broker_socket))
    )
    c.BrokerSpawner.homes_dir = str(place.homes_dir)
    c.BrokerSpawner.logs_dir = str(place.logs_dir)
    c.BrokerSpawner.lms_url = place.lms_inner_url or place.lms_url
    c.BrokerSpawner.jupyter_config = str(folder)
    c.BrokerSpawner.default_url = "/lab"
    c.BrokerSpawner.start_timeout = 90
    c.BrokerSpawner.http_timeout = 90
    c.BrokerSpawner.pre_spawn_hook = check
    # A server that was killed is noticed after this time, in seconds.
    c.BrokerSpawner.poll_interval = 5
    if place.slurm_servers:
        _configure_slurm(c, place, folder)


def _configure_slurm(c: Any, place: HubPlace, folder: Path) -> None:  # noqa: ANN401
    """Have servers start as Slurm jobs; what is said of the broker's spawner holds for them too."""
    # batchspawner is an extra, and importing it changes what the Hub serves: only where it is used.
    from lms.outposts.hub.slurm import SlurmServerSpawner
    from lms.outposts.hub.slurm_place import read_slurm_place

    cluster = read_slurm_place(place.slurm_file or folder / "slurm" / "servers.toml", place)
    SlurmServerSpawner.cluster = cluster
    c.JupyterHub.spawner_class = SlurmServerSpawner
    c.JupyterHub.hub_connect_url = cluster.hub_url
    if cluster.hub_url != place.inner_hub_url:
        # The proxy asks at 127.0.0.1, nodes at this machine's other addresses.
        c.JupyterHub.hub_bind_url = f"http://0.0.0.0:{place.hub_port + 1}"
    # Above what the queue may take: the spawner itself says why there was no place.
    c.SlurmServerSpawner.start_timeout = cluster.queue_seconds + 120
    c.SlurmServerSpawner.poll_interval = 15


def _apply(spawner: BrokerSpawner, profile: Profile) -> None:
    spawner.mem_limit = profile.memory_bytes
    spawner.process_limit = profile.processes
    spawner.cpu_limit = profile.cpu_percent / 100 or None
    spawner.disk_limit = profile.disk_bytes
    spawner.cap_minutes = profile.cap_minutes
