"""Starts a person's notebook server through the compute broker."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from jupyterhub.spawner import Spawner
from jupyterhub.utils import random_port
from traitlets import Integer, Unicode

from lms.outposts.environment import process_environment
from lms.outposts.hub.launchers import LocalLauncher, ServerLauncher, ServerStart, server_command
from lms.outposts.hub.profiles import groups_teach

#: What a server may see of the Hub's own environment.
KEPT = ("LANG", "LC_ALL", "PATH", "TZ")


class BrokerSpawner(Spawner):
    """One notebook server a person, in the person's home, as the person's OS user."""

    homes_dir = Unicode(help="Folder of the homes.").tag(config=True)
    logs_dir = Unicode(help="Folder of the servers' logs.").tag(config=True)
    lms_url = Unicode(help="Address of the LMS as servers reach it.").tag(config=True)
    jupyter_config = Unicode(help="Folder of the servers' own configuration.").tag(config=True)
    #: Who starts servers; one for all people, since it may know those that it started. Not a
    #: trait: JupyterHub copies the values of those.
    launcher: ClassVar[ServerLauncher] = LocalLauncher()

    process_limit = Integer(0, help="Processes a server may have, 0 for no limit.").tag(config=True)

    pid = Integer(0, help="Process id of the server, 0 when there is none.")

    def get_state(self) -> dict[str, Any]:
        """Return what a new Hub process needs to find the server again."""
        state: dict[str, Any] = super().get_state()
        if self.pid:
            state["pid"] = self.pid
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up the state of an earlier Hub process."""
        super().load_state(state)
        self.pid = state.get("pid", 0)

    def clear_state(self) -> None:
        """Forget the server."""
        super().clear_state()
        self.pid = 0

    def get_env(self) -> dict[str, str]:
        """Return the server's whole environment; the only secret in it is its own token."""
        env: dict[str, str] = super().get_env()
        home = str(self.home)
        env.update(
            HOME=home,
            USER=self.user.name,
            SHELL="/bin/bash",
            LMS_URL=self.lms_url,
            JUPYTER_CONFIG_PATH=":".join(self._config_path()),
        )
        # The Hub's deprecated name for the same token.
        env.pop("JPY_API_TOKEN", None)
        return env

    @property
    def home(self) -> Path:
        """The person's home folder."""
        return Path(self.homes_dir) / str(self.user.name)

    async def start(self) -> tuple[str, int]:
        """Start the server and return where it will listen."""
        self.port = random_port()
        state = await self.user.get_auth_state() or {}
        start = ServerStart(
            username=self.user.name,
            server_name=self.name,
            uid=os_uid(state),
            argv=(*server_command(), *self.get_args()),
            env=self._kept() | self.get_env(),
            home=self.home,
            log=Path(self.logs_dir) / f"{self.user.name}.log",
            memory_bytes=int(self.mem_limit or 0),
            processes=self.process_limit,
        )
        self.pid = await asyncio.to_thread(self.launcher.start, start)
        return ("127.0.0.1", self.port)

    async def poll(self) -> int | None:
        """Return None while the server runs, else its exit status."""
        if not self.pid:
            return 0
        status = await asyncio.to_thread(self.launcher.poll, self.user.name, self.name, self.pid)
        if status is not None:
            self.clear_state()
        return status

    async def stop(self, now: bool = False) -> None:  # noqa: FBT001, FBT002 - JupyterHub's signature
        """End the server; returns when it is gone."""
        del now
        if self.pid:
            await asyncio.to_thread(self.launcher.stop, self.user.name, self.name, self.pid)
        self.clear_state()

    def _kept(self) -> dict[str, str]:
        env = process_environment()
        return {name: env[name] for name in KEPT if name in env}

    def _config_path(self) -> list[str]:
        base = Path(self.jupyter_config)
        teaches = groups_teach(group.name for group in self.user.groups)
        # Earlier folders win. Students do not see the tools of people who teach.
        return [str(base)] if teaches else [str(base / "student"), str(base)]


def os_uid(auth_state: Mapping[str, Any]) -> int:
    """Return the person's OS user id as the LMS gave it; raises ValueError without one."""
    uid = auth_state.get("oauth_user", {}).get("os_uid")
    if not isinstance(uid, int) or isinstance(uid, bool) or uid <= 0:
        raise ValueError("the LMS gave no OS user id for this person; sign in again")
    return uid
