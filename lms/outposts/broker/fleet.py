"""The zygotes of one broker, by kind and by environment: started when first needed.

One that ends is started again, but an environment's only when it is needed again. Beyond a few of
those, the one that was used longest ago is ended; what it has forked goes on.
"""

import logging
import selectors
import time
from collections import OrderedDict

from lms.outposts.broker.spec import Spec
from lms.outposts.broker.zygotes import MOST_ENVIRONMENTS, ZygoteProcess

_log = logging.getLogger(__name__)
#: A zygote younger than this is not ended for another environment that a server asks for: whoever
#: asks for one after another would keep a processor busy with imports.
_YOUNG_SECONDS = 60.0


class Fleet:
    """A broker's zygotes; `selector` tells when one of them has something to say."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        #: By kind and folder of packages, those used last at the end.
        self._zygotes: OrderedDict[tuple[str, str], ZygoteProcess] = OrderedDict()

    def start(self, kind: str, packages: str = "") -> ZygoteProcess:
        """Return the zygote of that kind and environment, started now if there was none."""
        key = (kind, packages)
        zygote = self._zygotes.get(key)
        if zygote is None:
            zygote = self._zygotes[key] = ZygoteProcess(kind, packages)
            self._selector.register(zygote, selectors.EVENT_READ)
        self._zygotes.move_to_end(key)
        self._end_some()
        return zygote

    def _end_some(self) -> None:
        """End the environments' zygotes that were used longest ago, beyond those we keep."""
        keys = [key for key in self._zygotes if key[1]]
        for key in keys[: max(0, len(keys) - MOST_ENVIRONMENTS)]:
            zygote = self._zygotes.pop(key)
            self._selector.unregister(zygote)
            zygote.end()

    def has_room(self, packages: str) -> bool:
        """Say whether a zygote of that environment is there, or may take another's place."""
        others = [zygote for (_, folder), zygote in self._zygotes.items() if folder]
        if not packages or any(one.packages == packages for one in others):
            return True
        is_full = len(others) >= MOST_ENVIRONMENTS
        return not is_full or time.monotonic() - others[0].started_at > _YOUNG_SECONDS

    def environments(self) -> list[str]:
        """Return the folders of the environments that have a zygote now."""
        return [packages for _, packages in self._zygotes if packages]

    def fork(
        self, kind: str, spec: Spec, control: int, channel: int | None, *, packages: str = ""
    ) -> None:
        """Hand a launch to the zygote of that kind; raises ZygoteError when it cannot."""
        self.start(kind, packages).fork(spec, control, channel)

    def look(self, zygote: ZygoteProcess) -> None:
        """Take what a zygote says; when its nursery has ended, start another."""
        zygote.read()
        if zygote.problem:
            _log.warning("the zygote of %s cannot start: %s", zygote.kind, zygote.problem)
        if zygote.has_ended:
            _log.warning("the nursery of the zygote of %s ended; starting another", zygote.kind)
            self._selector.unregister(zygote)
            del self._zygotes[zygote.kind, zygote.packages]
            if not zygote.packages:
                self.start(zygote.kind)

    def problem(self, kind: str) -> str:
        """Return why there is no zygote of that kind, or nothing when there is or will be one."""
        zygote = self._zygotes.get((kind, ""))
        return "" if zygote is None else zygote.problem

    def end(self) -> None:
        """End them all; what they have forked goes on."""
        for zygote in self._zygotes.values():
            zygote.end()
