"""A kernel inside one's own notebook server's sandbox, forked by the broker of the machine."""

import json
import os
import socket

from lms.outposts.broker.address import socket_address
from lms.outposts.broker.launcher import KernelProcess, SandboxUnavailableError
from lms.protocol.broker import ServerKernelRequest

_START_SECONDS = 20.0


def start_joined(
    broker: str | os.PathLike[str], request: ServerKernelRequest, channel: socket.socket
) -> KernelProcess:
    """Start the kernel of `request`; raises SandboxUnavailableError. `channel` is closed here.

    A byte comes over the channel's other end when the kernel listens.
    """
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with channel:
        try:
            with socket_address(broker) as address:
                control.connect(address)
            question = json.dumps({"server_kernel": request.to_json()}).encode()
            socket.send_fds(control, [question], [channel.fileno()])
        except OSError as error:
            control.close()
            raise SandboxUnavailableError(f"the broker does not answer: {error}") from error
    return KernelProcess(control, None, start_seconds=_START_SECONDS)
