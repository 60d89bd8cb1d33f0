"""What a kernel and a cells program have in common: a process in a sandbox of the launcher's."""

import contextlib
import signal

from lms.outposts.broker.launcher import KernelProcess, Usage
from lms.outposts.runner.errors import KernelStartError
from lms.protocol.sentences import sentence

_END_SECONDS = 10.0


class SandboxedProcess:
    """Asks after, interrupts and ends the process that a subclass has started."""

    _process: KernelProcess | None = None

    @property
    def process(self) -> KernelProcess:
        """The process; raises KernelStartError before it is started."""
        if self._process is None:
            raise KernelStartError(sentence("The kernel is not running."))
        return self._process

    def is_alive(self) -> bool:
        """Say whether the process still runs."""
        return self.process.poll() is None

    def interrupt(self) -> None:
        """Send the interrupt that ends a cell."""
        if self.is_alive():
            self.process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End the process and all its children."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            # The launcher ends the whole sandbox; if that takes long we need not wait for it.
            with contextlib.suppress(TimeoutError):
                self._process.wait(_END_SECONDS)

    def usage(self) -> Usage:
        """Return what the process used, and which limit ended it if one did."""
        return self.process.usage()
