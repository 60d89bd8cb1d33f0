"""The program "kernel": a Jupyter kernel in a zygote's fork, as any notebook client knows it."""

import socket
import sys

from ipykernel.kernelapp import IPKernelApp

#: History belongs to nobody here, and its file would be shared.
_ARGUMENTS = ("--HistoryManager.hist_file=:memory:",)


def run(channel: socket.socket | None, argv: list[str]) -> int:
    """Be the kernel that `argv` describes, such as `-f connection.json`, until it is told to end.

    Over `channel` goes one byte when its sockets are open: a client that connects earlier would
    wait for ZeroMQ's next try.
    """
    app = IPKernelApp.instance()
    app.initialize([*_ARGUMENTS, *argv])
    if channel is not None:
        channel.sendall(b"r")
        channel.close()
    app.start()
    return 0


if __name__ == "__main__":
    sys.exit(run(None, sys.argv[1:]))
