"""One pull in a process of its own, for its memory: prints what it received and took.

python -m lms.cli.bench.sync_pull REPOSITORY CENTRE
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from lms.foundation.clock import now
from lms.outposts.bundles.pull import How, pull
from lms.outposts.bundles.source import FolderSource
from lms.outposts.bundles.store import Store


class CountedSource(FolderSource):
    """A folder that counts everything that is read from it, metadata too."""

    received = 0

    def read(self, path: str, start: int, length: int, whole: int) -> Iterator[bytes]:
        """Yield bytes of a file."""
        for part in super().read(path, start, length, whole):
            self.received += len(part)
            yield part

    def small(self, path: str, most: int) -> bytes:
        """Return a small file."""
        content = super().small(path, most)
        self.received += len(content)
        return content


def _peak_megabytes() -> float:
    # getrusage would tell of the process that started this one, too.
    status = Path("/proc/self/status").read_text("utf-8")
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


def main() -> None:
    """Pull, then read everything once more, and print the figures."""
    source, store = CountedSource(Path(sys.argv[1])), Store(Path(sys.argv[2]))
    begin, busy = time.perf_counter(), time.process_time()
    pulled = pull(store, How(sources=[source], machine_time=now()))
    seconds, cpu = time.perf_counter() - begin, time.process_time() - busy
    [one] = pulled
    stands = store.installed(one.course)
    manifest = store.manifest(stands.digest) if stands else None
    busy = time.process_time()
    damaged = store.damaged(manifest) if manifest else []
    found = {
        "changed": one.changed and not damaged,
        "received": source.received,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "verify_cpu_seconds": time.process_time() - busy,
        "memory_megabytes": _peak_megabytes(),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
