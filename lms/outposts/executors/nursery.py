"""The process that job processes are forked from: it imports what they need, once, and waits.

A job process lives as long as the connection it was given. Whoever holds the other end (the worker)
ends it by closing that, or by being killed; so nothing is left behind either way.
"""

import contextlib
import gc
import importlib
import os
import pickle
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from select import POLLHUP, poll

from lms.outposts.broker.syscalls import PR_SET_PDEATHSIG, prctl

#: Exit code of a job process whose worker has gone.
ABANDONED = 3


def main(argv: Sequence[str]) -> None:
    """Fork a job process for every connection that comes over the socket `argv[0]`."""
    control = socket.socket(fileno=int(argv[0]))
    for name in argv[1:]:
        importlib.import_module(name)
    # Nobody asks how they ended: the worker sees its connection close.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # What was imported stays shared memory only while the collector does not write into it.
    gc.collect()
    gc.freeze()
    while True:
        data, descriptors, _flags, _address = socket.recv_fds(control, 1, 1)
        if not data:
            # Not sys.exit: there may be threads that an import started.
            os._exit(0)
        if os.fork() == 0:
            control.close()
            os._exit(_serve(Connection(descriptors[0])))
        os.close(descriptors[0])


def _serve(line: Connection) -> int:
    """Run one job after another until the worker has gone."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with, args=(line,), daemon=True).start()
    while True:
        try:
            function, arguments = line.recv()
        except (EOFError, OSError):
            return 0
        try:
            answer = (True, function(*arguments))
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker has to hear of it
            answer = (False, _picklable(error))
        with contextlib.suppress(OSError):
            line.send(answer)


def _die_with(line: Connection) -> None:
    watch = poll()
    watch.register(line.fileno(), POLLHUP)
    watch.poll()
    os._exit(ABANDONED)


def _picklable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    except Exception:  # noqa: BLE001 - an exception may refuse in any way it likes
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


if __name__ == "__main__":
    main(sys.argv[1:])
