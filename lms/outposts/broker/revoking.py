"""Ends leases beside all else the broker does: a thread each, since nobody knows how long it takes.

What a lease's owner has started may hide a device among thousands of open files, and its keeper may
stand still. Whoever asks for an end that is under way waits for the same one.
"""

import logging
import threading
from collections.abc import Callable

_log = logging.getLogger(__name__)

#: Hears how an end went: the reason why it did not, or nothing.
Told = Callable[[str], None]


class Revoking:
    """The leases that are being ended now; `end` ends one and raises OSError when it cannot."""

    def __init__(self, end: Callable[[str], None]) -> None:
        self._end = end
        self._lock = threading.Lock()
        self._waiting: dict[str, list[Told]] = {}

    def __contains__(self, lease: str) -> bool:
        return lease in self._waiting

    def begin(self, lease: str, told: Told | None = None) -> bool:
        """Begin to end a lease; False when that is under way, and `told` hears of it all the same.

        `told` is called from another thread.
        """
        with self._lock:
            is_new = lease not in self._waiting
            self._waiting.setdefault(lease, []).extend([] if told is None else [told])
        if is_new:
            name = f"revoke {lease[:8]}"
            threading.Thread(target=self._run, args=(lease,), name=name, daemon=True).start()
        return is_new

    def _run(self, lease: str) -> None:
        problem = "the broker failed"
        try:
            self._end(lease)
            problem = ""
        except OSError as error:
            problem = f"the lease cannot be ended yet: {error}"
            _log.warning("lease %s: %s", lease, problem)
        finally:
            with self._lock:
                waiting = self._waiting.pop(lease)
            for told in waiting:
                told(problem)
