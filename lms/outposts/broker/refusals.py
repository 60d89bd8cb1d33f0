"""Writes down whom the broker refused: nonsense neither fills the log nor forges lines in it."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable

_log = logging.getLogger(__name__)
#: Of one uid at most a line in so many seconds.
_PAUSE_SECONDS = 1.0
_MOST_CHARACTERS = 300
_MOST_UIDS = 1000


class Refusals:
    """What was refused, a line a second of each uid; for several threads at a time."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        #: uid -> when its last line was written, and how many were left out since.
        self._told: OrderedDict[int, tuple[float, int]] = OrderedDict()

    def tell(self, uid: int, why: str) -> None:
        """Write down a refusal, in one line however it is worded."""
        now = self._now()
        at, left_out = self._told.pop(uid, (now - _PAUSE_SECONDS, 0))
        if now - at < _PAUSE_SECONDS:
            self._told[uid] = at, left_out + 1
            return
        self._told[uid] = now, 0
        if len(self._told) > _MOST_UIDS:
            self._told.popitem(last=False)
        text = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in why)
        more = f" ({left_out} before it left out)" if left_out else ""
        _log.warning("refused uid %d: %s%s", uid, text[:_MOST_CHARACTERS], more)
