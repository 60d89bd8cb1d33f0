"""A kernel provisioner for stock Jupyter: kernels are forks instead of fresh interpreters.

Named `seodang-zygote` in a kernelspec's metadata, it serves JupyterLab, nbclient and nbgrader as
they are. With a broker's socket, kernels run in its sandboxes; without, in the rights of whoever
starts them. It is never worse than stock: as long as the zygote is not ready, or where it cannot
help, a kernel starts as it always did.
"""

import asyncio
import atexit
import os
import signal
import socket
import sys
from functools import partial
from pathlib import Path
from typing import Any, cast

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase
from traitlets import Float, Integer, Unicode, default

from lms.outposts.broker.launcher import (
    BrokerLauncher,
    KernelProcess,
    KernelRequest,
    SandboxUnavailableError,
)
from lms.outposts.broker.zygotes import ZygoteError, shared_zygote
from lms.outposts.environment import process_environment
from lms.outposts.kernels import notices
from lms.outposts.kernels.joined import start_joined
from lms.outposts.kernels.leasing import LeaseApi
from lms.outposts.kernels.open import Connection, OpenKernel, OpenKernelError, pool
from lms.outposts.kernels.seat import Seat, offering_of
from lms.outposts.notebook.place import find_place
from lms.protocol.broker import ServerKernelRequest, Verdict
from lms.protocol.grading import Limits

_STOCK_WORDS = ("-m", "ipykernel_launcher")
#: What a kernelspec calls whichever interpreter reads it.
_PYTHONS = ("python", "python3")
_READY_SECONDS = 60.0
_REFILL_SECONDS = 0.5
#: Of the caller's variables, those that mean something in a sandbox.
_SANDBOX_VARIABLES = ("JPY_SESSION_NAME", "NBGRADER_EXECUTION", "PYTHONHASHSEED")
_OUT_OF_MEMORY = (
    "이 커널은 쓸 수 있는 메모리를 넘겨서 끝났고, 변수는 사라졌어요. · "
    "This kernel used more memory than it may and was ended; its variables are gone."
)

# The kernels first, then the zygote they come from (which was registered earlier).
atexit.register(pool.close)
os.register_at_fork(after_in_child=pool.forget)


class SandboxedKernel:
    """A kernel in the broker's sandbox, used as jupyter_client uses a Popen."""

    stdin = stdout = stderr = None

    def __init__(self, process: KernelProcess, connection: Connection) -> None:
        self._process = process
        self.connection = connection
        self.pid = process.pid

    def fileno(self) -> int:
        """Return what is readable when the kernel has ended."""
        return self._process.fileno()

    def poll(self) -> int | None:
        """Return the exit code or None while it runs."""
        return self._process.poll()

    def wanted_memory(self) -> bool:
        """Say whether it was ended because it used more memory than there is for it."""
        return self._process.usage().verdict is Verdict.OUT_OF_MEMORY

    def wait(self) -> int:
        """Return the exit code once it has ended."""
        return self._process.wait()

    def send_signal(self, number: int) -> None:
        """Send a signal to the kernel."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End the whole sandbox."""
        self._process.kill()

    def terminate(self) -> None:
        """Ask the kernel to end."""
        self._process.send_signal(signal.SIGTERM)


class ZygoteProvisioner(LocalProvisioner):
    """Forks kernels, or has the broker do it."""

    #: How many kernels run before anybody asks; none in sandboxes.
    pool_size = Integer(1, min=0).tag(config=True)
    #: The broker whose sandboxes kernels run in; empty: no sandbox, the caller's own rights.
    broker_socket = Unicode("").tag(config=True)
    #: The machine's broker, asked from inside a notebook server; its kernels join the server.
    server_socket = Unicode().tag(config=True)
    #: How long a kernel may wait for the zygote before it starts the stock way.
    wait_seconds = Float(0.0, min=0).tag(config=True)
    #: How long a start waits for a GPU that is being prepared for it; behind others it begins on
    #: the CPU at once.
    gpu_wait_seconds = Float(20.0, min=0).tag(config=True)

    #: Ours are used as a Popen is, though they are none.
    process: Any
    _kernel: OpenKernel | SandboxedKernel | None = None
    _connection: Connection | None = None
    #: What the kernel knows of a GPU, where its kernelspec names a profile.
    seat: Seat | None = None
    #: Whether a person asked for this start; Jupyter also starts a kernel again that was lost.
    _is_wished_for = True

    @default("server_socket")
    def _default_server_socket(self) -> str:
        return process_environment().get("LMS_KERNEL_BROKER", "")

    @property
    def _environment(self) -> str:
        """The digest of the course's environment that the kernelspec is of; empty for none."""
        return self._named("environment")

    def _named(self, key: str) -> str:
        named = self.kernel_spec.metadata.get("seodang", {})
        return str(named.get(key, "")) if isinstance(named, dict) else ""

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401 - jupyter_client's
        """Decide whether a fork can be this kernel, and prepare for that or for a stock start."""
        self._is_ours = await self._can_fork(kwargs)
        if not self._is_ours:
            return await super().pre_launch(**kwargs)
        kwargs.pop("transport_encryption", None)
        extra = kwargs.pop("extra_arguments", [])
        return await KernelProvisionerBase.pre_launch(
            self, cmd=[*self.kernel_spec.argv, *extra], **kwargs
        )

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:  # noqa: ANN401
        """Start the kernel and return where it listens."""
        if not self._is_ours:
            return await super().launch_kernel(cmd, **kwargs)
        env = dict(kwargs.get("env") or process_environment())
        cwd = str(kwargs.get("cwd") or Path.cwd())
        try:
            kernel = await self._start(env, cwd)
        except (OpenKernelError, SandboxUnavailableError, OSError, TimeoutError) as error:
            if not self.server_socket:
                raise
            if self.seat is not None:
                await self.seat.fail()
            self.log.warning("the broker starts no kernel (%s); it starts by itself", error)
            return await self._execute(cmd, kwargs)
        self.process = self._kernel = kernel
        self._connection = kernel.connection
        self.pid = kernel.pid
        # A signal goes to the whole group, except into a sandbox, which the broker signals.
        self.pgid = kernel.pid if isinstance(kernel, OpenKernel) else None
        self.connection_info = _info(kernel.connection)
        return self.connection_info

    async def _start(self, env: dict[str, str], cwd: str) -> OpenKernel | SandboxedKernel:
        if self.server_socket:
            return await self._join(env, cwd)
        return await (self._sandbox(env, cwd) if self.broker_socket else self._fork(env, cwd))

    async def _join(self, env: dict[str, str], cwd: str) -> SandboxedKernel:
        connection = self._connection = self._connection or Connection()
        connection.clear()
        ours, theirs = socket.socketpair()
        request = ServerKernelRequest(
            connection_file=str(connection.path),
            env=env,
            cwd=cwd,
            environment=self._environment,
            lease=await self._take_seat(cwd),
        )
        with ours:
            process = await asyncio.to_thread(start_joined, self.server_socket, request, theirs)
            await _readable(ours.fileno())
        if process.poll() is not None:
            raise OpenKernelError("the kernel ended before it was ready")
        if self.seat is not None and request.lease:
            self.seat.begin(lambda: getattr(self.parent, "execution_state", "") == "busy")
        return SandboxedKernel(process, connection)

    async def _take_seat(self, cwd: str) -> str:
        """Return the lease of a kernel whose kernelspec names a GPU profile; empty: the CPU."""
        profile, place = self._named("gpu"), find_place()
        if not profile:
            return ""
        if self.seat is None:
            notices.open_board(self.kernel_id)
            self.seat = Seat(
                LeaseApi(place.lms_url, place.token),
                profile,
                self.kernel_id,
                partial(notices.tell, self.kernel_id),
                offering=offering_of(Path(cwd), place.courses_dir),
            )
        notices.begin_again(self.kernel_id)
        may_ask, self._is_wished_for = self._is_wished_for, False
        return await self.seat.take(self.gpu_wait_seconds, may_ask=may_ask)

    async def shutdown_requested(self, restart: bool = False) -> None:  # noqa: FBT001, FBT002
        """Take note that a person asked for the end, or for another start."""
        self._is_wished_for = True
        await super().shutdown_requested(restart)

    async def _execute(self, cmd: list[str], kwargs: dict[str, Any]) -> KernelConnectionInfo:
        """Start the kernel the stock way, where its clients expect it."""
        connection = self._connection = self._connection or Connection()
        connection.clear()
        path = str(connection.path)
        # A kernelspec's `python` is this interpreter, also where the PATH knows none.
        program = sys.executable if cmd[0] in _PYTHONS else cmd[0]
        words = [program, *(word.replace("{connection_file}", path) for word in cmd[1:])]
        self._kernel = None
        await super().launch_kernel(words, **kwargs)
        self.connection_info = _info(connection)
        return self.connection_info

    async def wait(self) -> int | None:
        """Return the exit code as soon as the kernel has ended."""
        kernel = self._kernel
        if kernel is None:
            return await super().wait()
        loop = asyncio.get_running_loop()
        while kernel.poll() is None:
            ended: asyncio.Future[None] = loop.create_future()
            loop.add_reader(kernel.fileno(), _set, ended)
            try:
                await ended
            finally:
                loop.remove_reader(kernel.fileno())
        code = kernel.wait()
        if isinstance(kernel, SandboxedKernel) and kernel.wanted_memory():
            notices.tell(self.kernel_id, _OUT_OF_MEMORY)
        self.process = self._kernel = None
        return code

    async def cleanup(self, restart: bool = False) -> None:  # noqa: FBT001, FBT002 - jupyter_client's
        """Give back the GPU and remove the runtime folder, unless another kernel will use them."""
        if self.seat is not None and not restart:
            await self._leave_seat(self.seat)
        if not restart:
            notices.close_board(self.kernel_id)
        if self._connection is None:
            await super().cleanup(restart)
            return
        if self._kernel is not None:
            self._kernel.kill()
            await self.wait()
        if not restart:
            self._connection.remove()
            self._connection = None

    async def _leave_seat(self, seat: Seat) -> None:
        if self._kernel is not None:
            self._kernel.kill()
        self.seat = None
        await seat.leave()

    async def _can_fork(self, kwargs: dict[str, Any]) -> bool:
        argv = list(self.kernel_spec.argv)
        is_stock = argv[1:3] == list(_STOCK_WORDS) and not kwargs.get("extra_arguments")
        encryption = kwargs.get("transport_encryption")
        encryption = encryption or getattr(self.parent, "transport_encryption", "disabled")
        if not is_stock or not _is_ours(argv[0]) or encryption in {True, "required"}:
            return False
        # Our own zygote has the default packages; with a course's only the broker's can help.
        if self._environment and not (self.server_socket or self.broker_socket):
            return False
        if self.server_socket or self.broker_socket or self._connection is not None:
            return True
        if not shared_zygote.is_ready() and self.wait_seconds:
            try:
                await asyncio.to_thread(shared_zygote.warm_up, self.wait_seconds)
            except ZygoteError:
                return False
        return shared_zygote.is_ready()

    async def _fork(self, env: dict[str, str], cwd: str) -> OpenKernel:
        connection = self._connection
        # A kernel that is started again must listen where its clients expect it.
        kernel = pool.take(env, cwd) if connection is None and self.pool_size else None
        if kernel is None:
            connection = connection or Connection()
            connection.clear()
            kernel = OpenKernel(connection, env, cwd)
            await _readable(kernel.channel_fileno())
            kernel.start()
        # The next one's start must not take the processor from this one's first cell.
        asyncio.get_running_loop().call_later(
            _REFILL_SECONDS, pool.fill, self.pool_size, process_environment()
        )
        return kernel

    async def _sandbox(self, env: dict[str, str], cwd: str) -> SandboxedKernel:
        connection = self._connection or Connection()
        connection.clear()
        ours, theirs = socket.socketpair()
        request = KernelRequest(
            program="kernel",
            argv=("-f", str(connection.path)),
            environment=self._environment,
            env={name: env[name] for name in _SANDBOX_VARIABLES if name in env},
            connection_dir=str(connection.folder),
            files_dir=cwd,
            limits=Limits(),
        )
        with ours:
            process = await asyncio.to_thread(
                BrokerLauncher(self.broker_socket).launch, request, theirs
            )
            await _readable(ours.fileno())
        if process.poll() is not None:
            raise OpenKernelError("the kernel ended before it was ready")
        return SandboxedKernel(process, connection)


def _info(connection: Connection) -> KernelConnectionInfo:
    info = {**connection.info, "key": str(connection.info["key"]).encode()}
    return cast("KernelConnectionInfo", info)


def _is_ours(program: str) -> bool:
    """Tell whether `program` is the interpreter whose environment the zygote has imported."""
    return program in {*_PYTHONS, sys.executable} or (
        Path(program).exists() and Path(program).samefile(sys.executable)
    )


async def _readable(descriptor: int) -> None:
    """Wait until there is something to read."""
    loop = asyncio.get_running_loop()
    there: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, _set, there)
    try:
        await asyncio.wait_for(there, _READY_SECONDS)
    finally:
        loop.remove_reader(descriptor)


def _set(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
