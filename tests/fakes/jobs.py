"""Jobs for executors that run far away: what a grading job would do, without the grading."""

import os
import signal
import time
from pathlib import Path


def add(left: int, right: int) -> int:
    return left + right


def pid() -> int:
    return os.getpid()


def wait_in(folder: str, seconds: float) -> int:
    """Leave a file named after this process, and take a while."""
    Path(folder, str(os.getpid())).touch()
    time.sleep(seconds)
    return os.getpid()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
