"""What owner, nursery, keepers and zygote say to one another about forks."""

import os
import sys

from lms.outposts.broker.spec import Spec

#: The zygote has imported everything, or cannot; the reason follows.
READY = b"r"
FAILED = b"f"
#: A launch: the caller's control line, the spec and, where there is one, the program's channel.
KEEP = b"k"
#: A program for a sandbox that stands: the spec, a pidfd of its first process, the pipes for
#: status, problem and output, the channel (then a `c` follows) and the control group's doors.
JOIN = b"j"
#: Which of those is the pipe of problems.
PROBLEM = 3
#: A program in its caller's own rights, without a sandbox: the caller's line, which hears its pid
#: and its end, what to run, and the channel.
OPEN = b"o"
MAX_DESCRIPTORS = 64
#: How the reason begins when there is no zygote to fork from.
NO_ZYGOTE = "the zygote cannot start"

#: Program -> the module whose `run(channel, argv)` it is; `prepare()` runs once in the zygote.
MODULES = {
    "kernel": "lms.outposts.kernels.jupyter",
    "cells": "lms.outposts.kernels.cells",
    "server": "lms.outposts.notebook.server",
}
#: The two zygotes, and the programs each has imported: what notebooks import and what serves them
#: would be in each other's way.
KERNELS, SERVERS = "kernels", "servers"
ZYGOTES = {KERNELS: ("kernel", "cells"), SERVERS: ("server",)}
#: Among the words of program "kernel": nobody waits for it yet, so it may practise.
AHEAD = "--ahead"
#: What a program is where no zygote can be had.
_FALLBACK = {
    "kernel": (sys.executable, "-P", "-m", MODULES["kernel"]),
    "server": (sys.executable, "-P", "-m", "jupyterhub.singleuser"),
}


def without_zygote(spec: Spec) -> Spec | None:
    """Return what executes the program of `spec` afresh, or None when only a fork can run it."""
    words = _FALLBACK.get(spec["program"])
    if words is None:
        return None
    return spec | {"program": "", "argv": [*words, *spec["argv"]]}


def can_join(spec: Spec) -> bool:
    """Tell whether a zygote can put a program into this sandbox from outside."""
    return spec["isolated"] and not spec["user_namespace"]


def close_joined(descriptors: list[int]) -> None:
    """Close what came with a request, the pipe of problems last.

    Its end tells the keeper, which holds the program's channel until then, that nobody else waits
    for what lingers in it.
    """
    last = descriptors[PROBLEM : PROBLEM + 1]
    for descriptor in [*descriptors[:PROBLEM], *descriptors[PROBLEM + 1 :], *last]:
        os.close(descriptor)
