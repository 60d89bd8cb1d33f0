"""Ends a forked process at a chosen moment, as a power cut or an operator would."""

import os
import signal
import time


def wait_or_kill(child: int, seconds: float) -> bool:
    """Give a child so long, then kill it; says whether it was killed before it was done.

    What ends by itself must end well.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0
            return False
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True
