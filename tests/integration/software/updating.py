"""A process that updates a box, or puts it back, and kills itself at one of its steps.

    python updating.py ROOT DATA STEP forwards|back

A step is anything that is said, and each renaming in between, before and after; STEP counts them.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lms.centre import updating
from lms.foundation.settings import Settings
from lms.outposts.bundles.store import Store
from lms.outposts.software.place import Place


def main() -> None:
    """Do it, and die on the way."""
    root, data, step, way = sys.argv[1:]
    left = int(step)

    def count(_what: str = "") -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.killpg(0, signal.SIGKILL)

    def around(act: Callable[..., Any]) -> Callable[..., Any]:
        def acted(*args: Any, **more: Any) -> Any:  # noqa: ANN401
            count()
            done = act(*args, **more)
            count()
            return done

        return acted

    for name in ("write", "switch", "move", "remove"):
        setattr(Place, name, around(getattr(Place, name)))
    for name in ("_keep", "_copy", "_run", "_finish"):
        setattr(updating, name, around(getattr(updating, name)))
    place = Place(Path(root))
    with place.locked() as lock:
        assert lock is not None
        box = updating.Box(
            place=place, settings=Settings(data_dir=Path(data)), say=count, locks=(lock,)
        )
        if way == "back":
            updating.go_back(box)
        else:
            updating.update(box, Store(Path(data) / "bundles"))


if __name__ == "__main__":
    main()
