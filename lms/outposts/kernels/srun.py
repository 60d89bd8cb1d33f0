"""A kernel provisioner for Slurm: the kernel is a job of its own, so the GPU is held by the kernel.

Named `seodang-srun` in a kernelspec's metadata. The job ends with its kernel, and the kernel with
the notebook server, however that ended: the node's side (`on_node`) lives by srun's standard input.
Clients talk to a relay, so that a kernel that is started again on another node is found where the
first one was.
"""

import asyncio
import secrets
import sys
from pathlib import Path
from typing import Any, cast

import zmq
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase
from tornado import web
from traitlets import Enum, Float, Integer, List, Unicode

from lms.outposts.environment import process_environment
from lms.outposts.kernels import slurm_jobs
from lms.outposts.kernels.credentials import CredentialError, make_credential
from lms.outposts.kernels.on_node import boot_id
from lms.outposts.kernels.relay import Relay
from lms.outposts.kernels.slurm_said import Words, both
from lms.outposts.kernels.step import Step, StepError

#: Names the lease whose GPU the kernel uses; without one the kernel's own id stands in its place.
LEASE_VARIABLE = "LMS_LEASE"
_PYTHONS = ("python", "python3")
_POLL_SECONDS = 0.05


class KernelRefusedError(web.HTTPError, RuntimeError):
    """No kernel; JupyterLab shows the sentence, where for any other error it shows a traceback."""

    def __init__(self, why: str) -> None:
        super().__init__(503, why)
        self._why = why

    def __str__(self) -> str:
        return self._why


class SrunProvisioner(KernelProvisionerBase):
    """Starts each kernel as a Slurm job."""

    gpus = Integer(0, min=0, help="GPUs of the job.").tag(config=True)
    gres = Unicode("", help="What stands for one GPU in --gres, such as gpu:a100 or shard.").tag(
        config=True
    )
    minutes = Integer(60, min=1, help="The job's time limit: the profile's cap.").tag(config=True)
    cpus = Integer(1, min=1, help="Processors of the job.").tag(config=True)
    memory = Unicode("", help="Memory of the job, such as 8G; empty: the cluster's default.").tag(
        config=True
    )
    partition = Unicode("", help="Empty: the cluster's default.").tag(config=True)
    qos = Unicode("", help="Where the limits of the LMS's quotas stand.").tag(config=True)
    account = Unicode("", help="Slurm account that is charged.").tag(config=True)
    options = List(Unicode(), help="Further options of srun.").tag(config=True)
    python = Unicode("", help="A Python on the nodes that has Seodang; empty: this path.").tag(
        config=True
    )
    munge_socket = Unicode("", help="Socket of munged; empty: MUNGE's own.").tag(config=True)
    transport = Enum(
        ["auto", "tcp"], "auto", help="auto: ipc where the node is this machine, else tcp."
    ).tag(config=True)
    queue_seconds = Float(120.0, min=1, help="How long a start may wait for the job.").tag(
        config=True
    )
    lost_seconds = Float(20.0, min=6, help="Silence after which a node is lost.").tag(config=True)

    _relay: Relay | None = None
    _step: Step | None = None
    _swept = False

    @property
    def has_process(self) -> bool:
        """Tell whether there is a kernel that was not waited for."""
        return self._step is not None and self._step.has_kernel

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401 - jupyter_client's
        """Prepare the command as it will be on the node, its connection file still to be named."""
        extra = kwargs.pop("extra_arguments", [])
        kwargs.pop("transport_encryption", None)
        argv = [*self.kernel_spec.argv, *extra]
        if argv[0] in _PYTHONS:
            argv[0] = self._python()
        return await super().pre_launch(cmd=argv, **kwargs)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:  # noqa: ANN401
        """Start the kernel, in the job that it had or a new one; return where clients connect."""
        if not SrunProvisioner._swept:
            SrunProvisioner._swept = True
            await asyncio.to_thread(_sweep)
        if self._relay is None:
            self._keys = zmq.curve_keypair()
            self._relay = Relay(self._keys)
        if self._step is not None and self._step.is_reusable():
            place = await asyncio.to_thread(self._step.start_again)
        else:
            self._end_step()
            place = await asyncio.to_thread(self._start, cmd, kwargs)
        self._relay.connect(place)
        self.connection_info = cast("KernelConnectionInfo", dict(self._relay.info))
        return self.connection_info

    async def poll(self) -> int | None:
        """Return the exit code or None while it runs."""
        return self._step.poll() if self._step is not None else 0

    async def wait(self) -> int | None:
        """Return the exit code once the kernel has ended."""
        step = self._step
        if step is None:
            return 0
        while (code := step.poll()) is None:  # noqa: ASYNC110 - told by a thread, not by a loop
            await asyncio.sleep(_POLL_SECONDS)
        step.has_kernel = False
        return code

    async def send_signal(self, signum: int) -> None:
        """Send a signal to the kernel."""
        if self._step is not None:
            self._step.send_signal(signum)

    async def kill(self, restart: bool = False) -> None:  # noqa: FBT001, FBT002 - jupyter_client's
        """Kill the kernel; its job stays for a restart and ends in `cleanup`."""
        del restart
        await self.send_signal(9)

    async def terminate(self, restart: bool = False) -> None:  # noqa: FBT001, FBT002 - jupyter_client's
        """Ask the kernel to end."""
        del restart
        await self.send_signal(15)

    async def cleanup(self, restart: bool = False) -> None:  # noqa: FBT001, FBT002 - jupyter_client's
        """End the job, unless another kernel will use it."""
        if restart:
            if self._relay is not None:
                # jupyter_client has removed the sockets' names with the connection file's.
                self._relay.restore()
            return
        await asyncio.to_thread(self._end_step)
        if self._relay is not None:
            await asyncio.to_thread(self._relay.close)
            self._relay = None

    def get_shutdown_wait_time(self, recommended: float = 5.0) -> float:
        """Return how long the kernel may take to end."""
        return recommended

    def get_stable_start_time(self, recommended: float = 10.0) -> float:
        """Return when a start has certainly succeeded."""
        return recommended

    def command(self, lease: str) -> list[str]:
        """Return the srun command for a kernel of `lease`."""
        words = ["srun", "--quiet", "--ntasks=1", "--unbuffered", "--kill-on-bad-exit=1"]
        words += [f"--job-name={slurm_jobs.PREFIX}{lease}", f"--time={self.minutes}"]
        words += [f"--comment={slurm_jobs.own_mark()}", f"--cpus-per-task={self.cpus}"]
        if self.gpus:
            words.append(f"--gres={self.gres or 'gpu'}:{self.gpus}")
        named = {
            "mem": self.memory,
            "partition": self.partition,
            "qos": self.qos,
            "account": self.account,
        }
        words += [f"--{name}={value}" for name, value in named.items() if value]
        # Its own folder may not exist on the node.
        words += [
            "--chdir=/",
            *self.options,
            self._python(),
            "-P",
            "-m",
            "lms.outposts.kernels.on_node",
        ]
        return words + ([f"--munge-socket={self.munge_socket}"] if self.munge_socket else [])

    def _start(self, cmd: list[str], kwargs: dict[str, Any]) -> dict[str, Any]:
        relay = self._relay
        assert relay is not None  # noqa: S101 - launch_kernel has made it
        env = dict(kwargs.get("env") or process_environment())
        lease = env.get(LEASE_VARIABLE) or self.kernel_id or secrets.token_hex(8)
        step = Step(self.command(lease), on_loss=self._tell, lost_seconds=self.lost_seconds)
        self._step = step
        try:
            step.wait_for_job(self.queue_seconds)
            order = self._order(cmd, env, str(kwargs.get("cwd") or Path.cwd()))
            return step.start(make_credential(order, self.munge_socket))
        except (StepError, CredentialError) as error:
            self._end_step()
            raise KernelRefusedError(str(error)) from error

    def _order(self, cmd: list[str], env: dict[str, str], cwd: str) -> dict[str, Any]:
        relay = self._relay
        assert relay is not None  # noqa: S101 - launch_kernel has made it
        nonce = secrets.token_hex(8)
        (relay.folder / nonce).touch()
        public, secret = self._keys
        return {
            "argv": cmd,
            "env": env,
            "cwd": cwd,
            "key": relay.key.decode(),
            "curve_publickey": public.decode(),
            "curve_secretkey": secret.decode(),
            "boot_id": boot_id() if self.transport == "auto" else "",
            "folder": str(relay.folder),
            "nonce": nonce,
        }

    def _tell(self, why: Words) -> None:
        self.log.warning("%s", why[1])
        if self._relay is not None:
            self._relay.say(both(why))

    def _end_step(self) -> None:
        if self._step is not None:
            self._step.end()
            self._step = None

    def _python(self) -> str:
        return self.python or sys.executable


def _sweep() -> None:
    """End what earlier servers of this person left behind, if any did."""
    try:
        slurm_jobs.cancel_orphans()
    except slurm_jobs.SlurmError:
        # The start that follows says what is wrong.
        return
