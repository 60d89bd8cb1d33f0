"""What a Dask worker of the cluster loads first: it must not outlive its job or its scheduler.

Dask waits without an end for a job that still runs when it closes, and the job script that started
it may be killed alone; either would leave a sandbox at work for nobody.
"""

import os
import signal
import threading

from lms.outposts.broker.syscalls import PR_SET_PDEATHSIG, prctl
from lms.outposts.environment import process_environment

#: From the word that it closes to its end, in seconds.
CLOSE_SECONDS = 10.0


def dask_setup(_worker: object) -> None:
    """End with the Slurm job's script, if it is one that started us."""
    if "SLURM_JOB_ID" in process_environment():
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def dask_teardown(_worker: object) -> None:
    """End soon, whatever still runs here."""
    end = threading.Timer(CLOSE_SECONDS, os._exit, (0,))
    end.daemon = True
    end.start()
