"""Makes signals as good as new in a fork."""

import errno
import os
import signal

#: PIDFD_SIGNAL_PROCESS_GROUP.
_TO_GROUP = 4


def reset_signals() -> None:
    """Let every signal do what it does in a process without Python, and block none."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) is not signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def send_to_group(process: int, leader: int, number: int) -> None:
    """Signal the process group that `process` leads, a descriptor of process `leader`."""
    try:
        signal.pidfd_send_signal(process, number, None, _TO_GROUP)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # Before Linux 6.9; the descriptor says whether the number still is the process's.
        signal.pidfd_send_signal(process, 0)
        os.killpg(leader, number)
