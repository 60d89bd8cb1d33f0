"""Runs a program and prints the CPU and wall seconds of it and all it started."""

import ctypes
import os
import resource
import subprocess
import sys
import time

_PR_SET_CHILD_SUBREAPER = 36


def main(argv: list[str]) -> int:
    """Run `argv`; what it leaves behind becomes our child, and is waited for too."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    began = time.monotonic()
    # The program's words go to stderr: stdout is for the two numbers.
    code = subprocess.call(argv, stdout=sys.stderr)
    wall = time.monotonic() - began
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    sys.stdout.write(f"{used.ru_utime + used.ru_stime} {wall}\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
