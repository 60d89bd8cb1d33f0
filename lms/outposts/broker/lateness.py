"""Bounds what a process waits for when it closes what strangers have sent.

A socket that was set to linger keeps its last holder in `close` for as long as the stranger wants,
unless a signal comes. So the broker has one sent to itself.
"""

import contextlib
import resource
import signal
import threading
from collections.abc import Iterator

#: Wakes a thread that waits; it does nothing else.
WAKE = signal.SIGUSR1
_SECONDS = 0.5


def allow_hurry() -> None:
    """Take the signals, and as many open files as there may be; for the main thread."""
    for number in (WAKE, signal.SIGALRM):
        signal.signal(number, lambda *_: None)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def may_hurry() -> bool:
    """Say whether this process takes the signals."""
    return callable(signal.getsignal(WAKE)) and callable(signal.getsignal(signal.SIGALRM))


@contextlib.contextmanager
def hurried() -> Iterator[None]:
    """Let no call in the block wait for long; it only helps in the main thread."""
    if threading.current_thread() is not threading.main_thread() or not may_hurry():
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, _SECONDS, _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
