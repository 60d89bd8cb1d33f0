"""Pulls in children that are killed at random moments; prints what that did.

python -m tests.integration.bundles.killing FOLDER KILLS SEED
"""

import json
import os
import random
import shutil
import signal
import struct
import sys
import time
from pathlib import Path

from lms.outposts.bundles.pull import How, Progress, pull
from lms.outposts.bundles.source import FolderSource
from lms.outposts.bundles.store import Store
from tests.factories.bundles import (
    NOW,
    Central,
    course_files,
    make_store,
    next_files,
    noise,
)


def main() -> None:
    """Kill until the count is reached; every pull that is not killed must end well."""
    base, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    chance = random.Random(seed)  # noqa: S311 - repeatable
    central = Central(base)
    files = {**course_files(), "big.bin": noise(1, 12 << 20)}
    first = central.publish(files).digest
    new = next_files(files) | {"big.bin": noise(2, 9 << 20) + files["big.bin"][:1000]}
    empty = make_store(base / "empty", central).root
    old_stick = base / "old"
    shutil.copytree(central.repository, old_stick)
    second = central.publish(new).digest
    stock = base / "stock"
    shutil.copytree(empty, stock)
    _pull(Store(stock), old_stick, base / "warm")
    seconds = _time(stock, central.repository, base)
    found = {"kills": 0, "half": 0, "ended": 0, "wrong": 0, "received": 0, "needed": 0}
    round_number = 0
    while found["kills"] < kills:
        round_number += 1
        # By turns a first install and an update.
        start, size = (empty, 0) if round_number % 2 else (stock, 1)
        root = base / "centre"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(start, root)
        _until_done(root, central.repository, chance, seconds, found)
        stands = Store(root).installed("ml")
        manifest = Store(root).manifest(second)
        whole = stands is not None and stands.digest == second
        previous = stands is not None and stands.previous == (first if size else "")
        found["wrong"] += not (whole and previous and not Store(root).damaged(manifest))
        found["ended"] += 1
        found["needed"] += _needed(base, start, central.repository)
    found["received"] = _received(base / "log")
    sys.stdout.write(json.dumps(found))


def _until_done(
    root: Path, repository: Path, chance: random.Random, seconds: float, found: dict[str, int]
) -> None:
    longest = seconds
    while True:
        # On a machine that has become busy, a child must still come further than its beginning.
        longest *= 1.05
        child = os.fork()
        if not child:
            _pull(Store(root), repository, root.parent / "log")
            os._exit(0)
        time.sleep(chance.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            return
        found["kills"] += 1
        store = Store(root)
        stands = store.installed("ml")
        if stands is not None and store.damaged(store.manifest(stands.digest)):
            found["half"] += 1


def _pull(store: Store, repository: Path, log: Path) -> None:
    with log.open("ab", buffering=0) as file:
        done = 0

        def note(progress: Progress) -> None:
            nonlocal done
            file.write(struct.pack("<Q", progress.bytes_done - done))
            done = progress.bytes_done

        sources = [FolderSource(repository)]
        pull(store, How(sources=sources, machine_time=NOW, on_progress=note))


def _received(log: Path) -> int:
    return sum(count for (count,) in struct.iter_unpack("<Q", log.read_bytes()))


def _needed(base: Path, start: Path, repository: Path) -> int:
    """Return what the same pull receives when nothing is killed, measured once for each start."""
    log = base / f"needed-{start.name}"
    if not log.exists():
        root = base / "measured"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(start, root)
        _pull(Store(root), repository, log)
    return _received(log)


def _time(stock: Path, repository: Path, base: Path) -> float:
    root = base / "timed"
    shutil.copytree(stock, root)
    begin = time.monotonic()
    _pull(Store(root), repository, base / "warm")
    return time.monotonic() - begin


if __name__ == "__main__":
    main()
