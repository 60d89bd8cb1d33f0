"""The broker's launches that wait for its zygote, which is started again whenever it ends."""

import contextlib
import json
import logging
import os
import selectors
import socket
import time
from collections.abc import Callable

from lms.outposts.broker.spec import Spec
from lms.outposts.broker.zygotes import START_SECONDS, ZygoteError, ZygoteProcess

_log = logging.getLogger(__name__)
_MAX_WAITING = 256
_FIRST_REST_SECONDS = 1.0
_LONGEST_REST_SECONDS = 60.0
#: A zygote that lived this long was well.
_WELL_SECONDS = 10.0


class Launch:
    """One launch on its way to the zygote, with descriptors of its own."""

    def __init__(self, spec: Spec, control: socket.socket, channel: int | None) -> None:
        self.spec = spec
        self.control = control.dup()
        self.channel = None if channel is None else os.dup(channel)

    def refuse(self, reason: str) -> None:
        """Tell the caller that nothing was started."""
        with contextlib.suppress(OSError):
            self.control.send(json.dumps({"failed": reason}).encode())
        self.close()

    def close(self) -> None:
        """Let go of the descriptors; whoever took the launch has its own."""
        self.control.close()
        if self.channel is not None:
            os.close(self.channel)
            self.channel = None


class Launches:
    """Hands launches to one zygote; never waits for it."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        execute: Callable[[Launch], None],
    ) -> None:
        self._selector = selector
        #: Starts a launch without a zygote, or refuses it.
        self._execute = execute
        self._process: ZygoteProcess | None = None
        self._waiting: list[Launch] = []
        self._started_at = 0.0
        self._rest_seconds = 0.0

    @property
    def pid(self) -> int | None:
        """Return the zygote's process id, or None when there is none."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the zygote if there is none."""
        if self._process is None:
            self._started_at = time.monotonic()
            self._process = ZygoteProcess()
            self._selector.register(self._process, selectors.EVENT_READ)

    def add(self, launch: Launch) -> None:
        """Hand `launch` to the zygote, now or once it is ready; without one, execute it."""
        if self._process is None and time.monotonic() >= self._rest_until():
            self.start()
        if self._process is None:
            self._execute(launch)
        elif len(self._waiting) >= _MAX_WAITING:
            launch.refuse("too many launches wait for the zygote")
        else:
            self._waiting.append(launch)
            self._hand_over()

    def is_zygote(self, source: object) -> bool:
        """Tell whether what the selector found is the zygote."""
        return source is self._process

    def read(self) -> None:
        """Take what the zygote says."""
        if self._process is not None:
            self._process.read()
            self._hand_over()
            self._look()

    def tick(self) -> None:
        """Start the zygote again when it is time; end one that is never ready."""
        now = time.monotonic()
        process = self._process
        if process is None:
            if self._started_at and now >= self._rest_until():
                self.start()
        elif not process.is_ready and now - self._started_at > START_SECONDS:
            process.end(f"it is not ready after {START_SECONDS:.0f} seconds")
            self._look()

    def close(self) -> None:
        """End the zygote and refuse what waits."""
        if self._process is not None:
            self._selector.unregister(self._process)
            self._process.end("the broker ends")
            self._process = None
        for launch in self._waiting:
            launch.refuse("the broker ends")
        self._waiting = []

    def _rest_until(self) -> float:
        return self._started_at + self._rest_seconds

    def _hand_over(self) -> None:
        process = self._process
        while self._waiting and process is not None and process.is_ready:
            launch = self._waiting[0]
            try:
                process.fork(launch.spec, launch.control.fileno(), launch.channel)
            except ZygoteError as error:
                process.end(str(error))
                self._look()
                return
            self._waiting.pop(0)
            launch.close()

    def _look(self) -> None:
        """See whether the zygote has ended; what waits then waits for the next, if one may come."""
        process = self._process
        if process is None or process.problem is None:
            return
        _log.warning("the zygote has ended: %s", process.problem)
        self._selector.unregister(process)
        self._process = None
        if process.is_ready and time.monotonic() - self._started_at > _WELL_SECONDS:
            self._rest_seconds = 0.0
        else:
            self._rest_seconds = min(
                max(_FIRST_REST_SECONDS, 2 * self._rest_seconds), _LONGEST_REST_SECONDS
            )
        if process.is_ready:
            self.start()
            return
        waiting, self._waiting = self._waiting, []
        for launch in waiting:
            self._execute(launch)
