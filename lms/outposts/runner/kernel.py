"""One sandboxed kernel for one notebook: its folders, its connection and its client."""

import asyncio
import json
import secrets
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from queue import Empty
from time import monotonic
from types import TracebackType
from typing import Any, Self

import zmq
import zmq.asyncio
from jupyter_client.asynchronous.client import AsyncKernelClient

from lms.outposts.broker.launcher import KernelLauncher, KernelRequest
from lms.outposts.runner.errors import KernelStartError
from lms.outposts.runner.outputs import DROWN_FACTOR
from lms.outposts.runner.place import Place, environment, place
from lms.outposts.runner.relay import Relay
from lms.outposts.runner.sandboxed import SandboxedProcess
from lms.protocol.grading import Limits
from lms.protocol.sentences import sentence

_PORTS = {"shell_port": 1, "iopub_port": 2, "stdin_port": 3, "control_port": 4, "hb_port": 5}
_START_SECONDS = 60.0
#: Messages waiting in our memory per channel; more wait in the kernel, whose memory is limited.
_QUEUED_MESSAGES = 64


class SandboxKernel(SandboxedProcess):
    """A kernel started through a launcher; on leaving, it and its folders are gone.

    It plays nbclient's kernel manager as far as nbclient asks: `interrupt_kernel`, `has_kernel`.
    """

    has_kernel = True

    def __init__(
        self,
        launcher: KernelLauncher,
        files: Mapping[str, bytes],
        limits: Limits,
        seed: int,
        fonts: Mapping[str, bytes],
    ) -> None:
        self._launcher = launcher
        self._files = files
        self._limits = limits
        self._seed = seed
        self._fonts = fonts
        self._stack = ExitStack()
        self._relay: Relay | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folders = stack.enter_context(place(self._files, self._fonts))
            stack.callback(self.kill)
            self._launch(folders)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        if self._relay is not None:
            self._relay.stop()
        self._stack.close()

    def _launch(self, folders: Place) -> None:
        connection = folders.connection
        info = {
            "ip": str(connection / "s"),
            "transport": "ipc",
            "key": secrets.token_hex(16),
            "signature_scheme": "hmac-sha256",
            "kernel_name": "python3",
            **_PORTS,
        }
        file = connection / "kernel.json"
        file.write_text(json.dumps(info))
        file.chmod(0o644)
        self._process = self._launcher.launch(
            KernelRequest(
                argv=_argv(file),
                seed=self._seed,
                env=environment(self._seed, folders.fonts),
                connection_dir=str(connection),
                files_dir=str(folders.files),
                limits=self._limits,
            )
        )
        ours = folders.root / "c"
        ours.mkdir(mode=0o700)
        self._info = {**info, "ip": str(ours / "s")}
        self._relay = Relay(
            ours,
            connection,
            _PORTS.values(),
            DROWN_FACTOR * self._limits.output_bytes,
            self._process.kill,
        )
        self._relay.start()

    async def interrupt_kernel(self) -> None:
        """Send the interrupt that ends a cell."""
        self.interrupt()

    @property
    def is_drowned(self) -> bool:
        """The kernel sent far more than anybody reads and was ended for it."""
        return self._relay is not None and self._relay.is_exceeded

    def client(self) -> "SandboxClient":
        """Return a client for this kernel; close it with `aclose`."""
        context = zmq.asyncio.Context()
        context.linger = 0
        context.rcvhwm = _QUEUED_MESSAGES
        client = SandboxClient(context=context, **self._client_info())
        client.kernel = self
        return client

    def _client_info(self) -> dict[str, Any]:
        info = {key: value for key, value in self._info.items() if key != "kernel_name"}
        key = str(info.pop("key")).encode()
        scheme = info.pop("signature_scheme")
        from jupyter_client.session import Session

        return {**info, "session": Session(key=key, signature_scheme=scheme)}


class SandboxClient(AsyncKernelClient):
    """A client that asks the launcher, not a heartbeat, whether its kernel lives."""

    kernel: SandboxKernel
    allow_stdin = False

    async def ready(self) -> None:
        """Wait until the kernel answers and our subscription to its output stands.

        The XPUB welcome message replaces jupyter_client's fixed 200 ms of waiting for silence.
        Raises KernelStartError.
        """
        self.start_channels(stdin=False, hb=False)
        deadline = monotonic() + _START_SECONDS
        await self._until(self.iopub_channel, "iopub_welcome", deadline)
        request = self.kernel_info()
        await self._until(self.shell_channel, "kernel_info_reply", deadline)
        while True:
            message = await self._next(self.iopub_channel, deadline)
            if (
                message["msg_type"] == "status"
                and message["content"].get("execution_state") == "idle"
                and message["parent_header"].get("msg_id") == request
            ):
                return

    async def _until(self, channel: Any, kind: str, deadline: float) -> None:  # noqa: ANN401 (jupyter_client has no types)
        while (await self._next(channel, deadline))["msg_type"] != kind:
            pass

    async def _next(self, channel: Any, deadline: float) -> dict[str, Any]:  # noqa: ANN401 (jupyter_client has no types)
        while monotonic() < deadline:
            try:
                message: dict[str, Any] = await channel.get_msg(timeout=0.5)
            except Empty:
                if not self.kernel.is_alive():
                    raise KernelStartError(
                        sentence("The kernel ended before it was ready."),
                    ) from None
            else:
                return message
        raise KernelStartError(sentence("The kernel did not answer in time."))

    async def is_alive(self) -> bool:
        """Say whether the kernel still runs."""
        return self.kernel.is_alive()

    async def aclose(self) -> None:
        """Close the channels and let go of the sockets."""
        self.stop_channels()
        # Let cancelled reads end before their sockets go.
        await asyncio.sleep(0)
        self.context.destroy(linger=0)


def _argv(connection_file: Path) -> tuple[str, ...]:
    # The working folder is on the path, as in nbgrader; it holds the instructor's files only.
    return (
        sys.executable,
        "-m",
        "ipykernel_launcher",
        "-f",
        str(connection_file),
        "--HistoryManager.hist_file=:memory:",
    )
