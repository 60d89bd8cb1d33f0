"""Starts a person's notebook server through the compute broker."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from jupyterhub.spawner import Spawner
from jupyterhub.utils import random_port, utcnow
from tornado import web
from traitlets import Integer, Unicode

from lms.outposts.broker.client import BrokerFullError
from lms.outposts.environment import process_environment
from lms.outposts.hub.launchers import LocalLauncher, ServerLauncher, ServerStart, server_command
from lms.outposts.hub.profiles import groups_teach
from lms.protocol.disk import HomeUse

#: What a server may see of the Hub's own environment.
KEPT = ("LANG", "LC_ALL", "PATH", "TZ")


#: What a start goes through: how much is done, and what comes next.
STEPS = (
    (10, "컴퓨터에 자리를 마련하고 있어요.", "Finding a place on the machine."),
    (40, "설정과 확장을 불러오고 있어요.", "Loading your settings and extensions."),
    (80, "브라우저를 서버에 잇고 있어요.", "Connecting your browser to the server."),
)
#: How often we look whether a starting server listens, and whether it still lives.
_LISTEN_SECONDS = 0.02
_ALIVE_SECONDS = 0.5


class ServerFailedError(web.HTTPError):
    """A server did not start; the person who waits reads why.

    An answer of HTTP, since of any other error that comes within a second JupyterHub says nothing
    but that it was not expected.
    """

    def __init__(self, korean: str, english: str, locale: str = "") -> None:
        super().__init__(503, english)
        self._english = english
        #: JupyterHub shows this on the page.
        self.jupyterhub_message = in_words(locale, korean, english)

    def __str__(self) -> str:
        return self._english


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
    cap_minutes = Integer(0, help="How long a server that is a job lasts, 0: its queue's limit.")

    disk_limit = Integer(0, help="Bytes a home may hold, 0 for no limit.").tag(config=True)

    #: How many of STEPS the start has reached.
    _step = 0
    #: What the person should know of the home.
    _warning = ""
    _locale = ""
    pid = Integer(0, help="Process id of the server, 0 when there is none.")
    idle_seconds = Integer(0, help="Without use for so long a server ends, 0: never.").tag(
        config=True
    )
    #: How the last server ended, for the page that the person meets: "idle", "killed" or nothing.
    ended = Unicode("", help="How the last server ended.")

    def get_state(self) -> dict[str, Any]:
        """Return what a new Hub process needs to find the server again."""
        state: dict[str, Any] = super().get_state()
        if self.pid:
            state["pid"] = self.pid
        if self.ended:
            state["ended"] = self.ended
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up the state of an earlier Hub process."""
        super().load_state(state)
        self.pid = state.get("pid", 0)
        self.ended = state.get("ended", "")

    def clear_state(self) -> None:
        """Forget the server; JupyterHub does it before each start, too."""
        super().clear_state()
        self.pid = self._step = 0

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
        self.port, self.ended = random_port(), ""
        auth_state = await self.user.get_auth_state() or {}
        self._locale = str(auth_state.get("oauth_user", {}).get("locale", ""))
        use = await asyncio.to_thread(self.launcher.home_use, self.user.name)
        self._warning = tell_full(use, self._locale)
        start = ServerStart(
            username=self.user.name,
            server_name=self.name,
            uid=await self.find_uid(),
            argv=(*server_command(), *self.get_args()),
            # For whoever shows notices in the notebook.
            env=self._kept() | self.get_env() | {"LMS_HOME_NOTICE": self._warning},
            home=self.home,
            log=Path(self.logs_dir) / f"{self.user.name}.log",
            memory_bytes=int(self.mem_limit or 0),
            processes=self.process_limit,
            cpu_percent=int(100 * (self.cpu_limit or 0)),
            disk_bytes=self.disk_limit,
        )
        self._step = 1
        try:
            self.pid = await asyncio.to_thread(self.launcher.start, start)
        except BrokerFullError as error:
            raise ServerFailedError(
                "지금은 이 컴퓨터에 자리가 없어요. 잠시 뒤에 다시 열어 주세요.",
                f"There is no room for your server now: {error}. Try again in a while.",
                self._locale,
            ) from error
        self._step = 2
        await self._wait_until_it_listens()
        self._step = 3
        return ("127.0.0.1", self.port)

    async def find_uid(self) -> int:
        """Return the person's OS user id; raises ValueError when the LMS gave none."""
        return os_uid(await self.user.get_auth_state() or {})

    async def _wait_until_it_listens(self) -> None:
        """Return when the port answers; JupyterHub by itself would look ever more seldom."""
        loop = asyncio.get_running_loop()
        look_at = loop.time() + _ALIVE_SECONDS
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(_LISTEN_SECONDS)
            else:
                writer.close()
                return
            if loop.time() > look_at:
                look_at = loop.time() + _ALIVE_SECONDS
                status = await self.poll()
                if status is not None:
                    raise ServerFailedError(
                        "노트북 서버가 시작하다가 끝났어요.",
                        f"The notebook server ended with {status} while it started.",
                        self._locale,
                    )

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Say how far the start is, each step once."""
        said = 0
        while said < len(STEPS):
            if self._step > said:
                percent, *words = STEPS[said]
                said += 1
                yield {"progress": percent, "message": in_words(self._locale, *words)}
                if self._warning and said == len(STEPS) - 1:
                    yield {"progress": percent, "message": self._warning}
            else:
                await asyncio.sleep(_LISTEN_SECONDS)

    async def poll(self) -> int | None:
        """Return None while the server runs, else its exit status."""
        if not self.pid:
            return 0
        status = await asyncio.to_thread(self.launcher.poll, self.user.name, self.name, self.pid)
        if status is not None:
            self.clear_state()
            self.ended = "killed" if status else ""
        return status

    async def stop(self, now: bool = False) -> None:  # noqa: FBT001, FBT002 - JupyterHub's signature
        """End the server; returns when it is gone."""
        del now
        if self.pid:
            self.ended = "idle" if self._is_idle() else ""
            await asyncio.to_thread(self.launcher.stop, self.user.name, self.name, self.pid)
        self.clear_state()

    def _is_idle(self) -> bool:
        last = self.orm_spawner.last_activity
        if last is None or not self.idle_seconds:
            return False
        unused = utcnow(with_tz=False) - last
        return bool(unused.total_seconds() >= self.idle_seconds)

    def _kept(self) -> dict[str, str]:
        env = process_environment()
        return {name: env[name] for name in KEPT if name in env}

    def _config_path(self) -> list[str]:
        base = Path(self.jupyter_config)
        teaches = groups_teach(group.name for group in self.user.groups)
        # Earlier folders win. Students do not see the tools of people who teach.
        return [str(base)] if teaches else [str(base / "student"), str(base)]


def in_words(locale: str, korean: str, english: str) -> str:
    """Return a sentence in the reader's language; in both where that is not known."""
    return {"ko": korean, "en": english}.get(locale, f"{korean} {english}")


def tell_full(use: HomeUse | None, locale: str = "") -> str:
    """Return what the owner of a home that is nearly full should know; else nothing."""
    if use is None or not use.is_nearly_full:
        return ""
    used, allowed = use.used_bytes / (1 << 30), use.limit_bytes / (1 << 30)
    more, least = ("", "") if use.complete else (" 이상", "at least ")
    korean = f"홈 폴더를 {used:.1f} GB{more} 쓰고 있어요(한도 {allowed:.1f} GB)."
    english = f"Your home holds {least}{used:.1f} of {allowed:.1f} GB."
    if use.share > 1:
        korean += " 한도를 넘었으니 필요 없는 파일을 지워 주세요."
        english += " That is over the limit: please delete what you no longer need."
    return in_words(locale, korean, english)


def os_uid(auth_state: Mapping[str, Any]) -> int:
    """Return the person's OS user id as the LMS gave it; raises ValueError without one."""
    uid = auth_state.get("oauth_user", {}).get("os_uid")
    if not isinstance(uid, int) or isinstance(uid, bool) or uid <= 0:
        raise ValueError("the LMS gave no OS user id for this person; sign in again")
    return uid
