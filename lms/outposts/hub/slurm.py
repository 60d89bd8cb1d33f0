"""Starts a person's notebook server as a Slurm job, which runs on any node of the cluster.

What a server may be, its environment, its state and its page are the broker spawner's; handing in,
asking and cancelling are done as the person, whose account on the cluster has the user id that the
LMS gave. Options are words of a command and never lines of a shell.
"""

import asyncio
import contextlib
import os
import pwd
import shlex
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, ClassVar, NoReturn

from batchspawner import SlurmSpawner
from batchspawner.batchspawner import JobStatus

from lms.outposts.hub import slurm_words
from lms.outposts.hub.slurm_place import SlurmPlace
from lms.outposts.hub.slurm_port import PortError, replace_handlers
from lms.outposts.hub.spawner import BrokerSpawner, ServerFailedError
from lms.outposts.kernels.slurm_jobs import command_environment
from lms.outposts.kernels.slurm_said import Words

PREFIX = "seodang-server-"
_ACTIVE = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STAGE_OUT"}
_LOOK_SECONDS, _COMMAND_SECONDS, _END_SECONDS = 1.0, 20.0, 30.0
_GONE = "Invalid job id"

replace_handlers()


class CommandError(Exception):
    """One of Slurm's commands failed; the text is what it said."""


class SlurmServerSpawner(BrokerSpawner, SlurmSpawner):
    """One notebook server a person, as a job of the person."""

    #: The cluster; the same for all people, as the broker spawner's launcher is.
    cluster: ClassVar[SlurmPlace]

    #: Slurm's words for the job: how it stands, why it waits, where it runs.
    _state, _reason, _node = "", "", ""
    _awaits_port = False

    def user_env(self, env: dict[str, str]) -> dict[str, str]:
        """Return `env`: the broker spawner sets what batchspawner would."""
        return env

    async def start(self) -> tuple[str, int]:
        """Hand in the job, wait for its turn and its port; return where it listens."""
        # Until the node has told its own address, which it then listens on alone.
        self.ip, self.port, self.ended = "0.0.0.0", 0, ""  # noqa: S104
        auth_state = await self.user.get_auth_state() or {}
        self._locale = str(auth_state.get("oauth_user", {}).get("locale", ""))
        self._account = self._find_account(await self.find_uid())
        self._state, self._reason, self._node = "PENDING", "", ""
        await asyncio.to_thread(self._make_home)
        self._awaits_port = True
        try:
            await self.submit_batch_script()
            await self._wait_for_port()
        except BaseException:
            with contextlib.suppress(CommandError):
                await asyncio.shield(self.cancel_batch_job())
            raise
        finally:
            self._awaits_port = False
        return self.ip, self.port

    async def take_port(self, port: int, peer: str) -> None:
        """Note where the server listens: once a start, from the job's node; raises PortError."""
        if not self._awaits_port or not self.job_id:
            raise PortError("No server of yours is about to start.")
        if await self.query_job_status() is not JobStatus.RUNNING:
            raise PortError("The job of this server does not run.")
        if peer not in await asyncio.to_thread(self._addresses, self._node):
            raise PortError("This is not the node that the job runs on.")
        # Asking took a while: another request may have been first.
        if not self._awaits_port:
            raise PortError("This server has said its port already.")
        self._awaits_port = False
        self.ip, self.port = peer, port

    async def submit_batch_script(self) -> str:
        """Hand the job in as the person; keep its number."""
        terms = self.cluster.terms_for(group.name for group in self.user.groups)
        env = self._kept() | self.get_env()
        words = ["sbatch", "--parsable", "--no-requeue", "--nodes=1", "--ntasks=1"]
        minutes = min(terms.minutes, self.cap_minutes or terms.minutes)
        words += [f"--job-name={PREFIX}{self.user.name}", f"--time={minutes}"]
        words += [f"--chdir={self.home}", f"--output={self.home}/.seodang-server.log"]
        words += ["--open-mode=append", f"--export={','.join(sorted(env))}"]
        if self.mem_limit:
            words.append(f"--mem={int(self.mem_limit) >> 20}M")
        if self.cpu_limit:
            words.append(f"--cpus-per-task={max(1, int(-(-self.cpu_limit // 1)))}")
        named = {"partition": terms.partition, "qos": terms.qos, "account": terms.account}
        words += [f"--{name}={value}" for name, value in named.items() if value]
        script = await self._get_batch_script()
        try:
            said = await asyncio.to_thread(self._run, words, env=env, text=script)
            self.job_id = str(self.parse_job_id(said))
        except CommandError as error:
            self.log.warning("sbatch refused the job of %s: %s", self.user.name, error)
            self._fail(slurm_words.refused(_last_line(str(error))), error)
        return str(self.job_id)

    async def query_job_status(self) -> JobStatus:
        """Ask Slurm how the job stands; a controller that is silent leaves it as it was."""
        if not self.job_id:
            return JobStatus.NOTFOUND
        words = ["squeue", "-h", "-t", "all", "-j", self.job_id, "-o", "%T|%r|%B"]
        try:
            said = await asyncio.to_thread(self._run, words)
        except CommandError as error:
            if _GONE not in str(error):
                return JobStatus.UNKNOWN
            said = ""
        self._state, self._reason, self._node = ([*said.split("|"), "", "", ""])[:3]
        self._state = self._state or "GONE"
        if self._state not in _ACTIVE:
            return JobStatus.NOTFOUND
        waits = self._state in {"PENDING", "CONFIGURING"}
        return JobStatus.PENDING if waits else JobStatus.RUNNING

    async def cancel_batch_job(self) -> None:
        """End the job, if there is one."""
        if self.job_id:
            await asyncio.to_thread(self._run, ["scancel", "--quiet", self.job_id])

    async def poll(self) -> int | None:
        """Return None while the job waits or runs, or while Slurm does not answer."""
        if not self.job_id:
            return 0
        if await self.query_job_status() is not JobStatus.NOTFOUND:
            return None
        self.clear_state()
        self.ended = slurm_words.ENDS.get(self._state, "killed")
        return 1 if self.ended else 0

    async def stop(self, now: bool = False) -> None:  # noqa: FBT001, FBT002 - JupyterHub's signature
        """Cancel the job; returns when it is gone."""
        self.ended = "idle" if self._is_idle() else ""
        await self.cancel_batch_job()
        for _ in range(0 if now else int(_END_SECONDS / _LOOK_SECONDS)):
            if await self.query_job_status() is JobStatus.NOTFOUND:
                break
            await asyncio.sleep(_LOOK_SECONDS)
        self.clear_state()

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Say why the job waits, each reason once, and when it runs."""
        said = ""
        while True:
            if self._state == "RUNNING":
                words = ("노드에서 노트북 서버를 켜요.", "Your server starts on its node.")
                yield {"progress": 70, "message": self._in_own_words(words)}
                return
            message = self._in_own_words(slurm_words.waiting(self._reason))
            if message != said:
                said = message
                yield {"progress": 20, "message": message}
            await asyncio.sleep(_LOOK_SECONDS)

    async def _get_batch_script(self, **subvars: object) -> str:
        del subvars
        python = self.cluster.python or sys.executable
        command = [python, "-P", "-m", "lms.outposts.hub.slurm_node", *self.get_args()]
        return f"#!/bin/sh\nexec {shlex.join(command)}\n"

    async def _wait_for_port(self) -> None:
        waits = float(self.cluster.queue_seconds)
        while not self.port:
            status = await self.query_job_status()
            if status is JobStatus.NOTFOUND:
                self._fail(slurm_words.ended(self._state))
            if status is JobStatus.PENDING:
                waits -= _LOOK_SECONDS
                if waits <= 0:
                    self._fail(slurm_words.waiting(self._reason))
            await asyncio.sleep(_LOOK_SECONDS)

    def _find_account(self, uid: int) -> pwd.struct_passwd:
        try:
            return pwd.getpwuid(uid)
        except KeyError as error:
            self._fail(
                (
                    "클러스터에 내 계정이 없어요. 운영자에게 알려 주세요.",
                    f"The cluster has no account with your user id {uid}; tell the operator.",
                ),
                error,
            )

    def _make_home(self) -> None:
        if self.home.is_dir():
            return
        if os.geteuid() != 0:
            self._fail(("홈 폴더가 없어요.", f"The home {self.home} does not exist."))
        self.home.mkdir(mode=0o700)
        os.chown(self.home, self._account.pw_uid, self._account.pw_gid)

    def _run(
        self, words: Sequence[str], *, env: Mapping[str, str] | None = None, text: str = ""
    ) -> str:
        """Return what a command prints that is run as the person; raises CommandError."""
        account = getattr(self, "_account", None) or self._account_of_home()
        env, ours = env or {}, os.geteuid()
        more: dict[str, Any] = {}
        if ours == 0:
            groups = os.getgrouplist(account.pw_name, account.pw_gid)
            more = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": groups}
        elif ours != account.pw_uid:
            kept = ",".join(sorted({*env, "SLURM_CONF"}))
            words = ["sudo", "-n", "-u", account.pw_name, f"--preserve-env={kept}", *words]
        try:
            result = subprocess.run(
                words, env=command_environment() | dict(env), cwd="/", input=text, text=True,
                capture_output=True, timeout=_COMMAND_SECONDS, check=False, **more,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CommandError(f"{words[0]}: {error}") from error
        if result.returncode:
            raise CommandError(result.stderr.strip() or f"{words[0]} ended {result.returncode}")
        return str(result.stdout).strip()

    def _account_of_home(self) -> pwd.struct_passwd:
        """Return whose job it is after a restart of the Hub: the home is the person's alone."""
        try:
            return pwd.getpwuid(self.home.stat().st_uid)
        except (OSError, KeyError) as error:
            raise CommandError(f"nobody owns {self.home}") from error

    def _addresses(self, node: str) -> set[str]:
        try:
            shown = self._run(["scontrol", "show", "node", "--oneliner", node])
            name = dict(word.partition("=")[::2] for word in shown.split()).get("NodeAddr", "")
            return {str(found[4][0]) for found in socket.getaddrinfo(name or node, None)}
        except (CommandError, OSError) as error:
            self.log.warning("The addresses of %s are not known: %s", node, error)
            return set()

    def _in_own_words(self, words: Words) -> str:
        korean, english = words
        return {"ko": korean, "en": english}.get(self._locale, f"{korean} {english}")

    def _fail(self, words: Words, cause: BaseException | None = None) -> NoReturn:
        raise ServerFailedError(*words, self._locale) from cause


def _last_line(text: str) -> str:
    return text.splitlines()[-1].removeprefix("sbatch: ").removeprefix("error: ").rstrip(".")
