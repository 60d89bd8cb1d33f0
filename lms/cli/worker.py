"""`lms worker`: the grading worker, as the supervisor starts it."""

import functools
import logging
import signal
import types

import click

from lms.bootstrap import build
from lms.foundation.settings import Settings, load_settings
from lms.outposts.broker.launcher import BrokerLauncher, DirectLauncher, KernelLauncher
from lms.worker.grading import grade_claim
from lms.worker.health import probe_broker, probe_here
from lms.worker.loop import Worker


@click.command()
def worker() -> None:
    """Grade submissions from the queue until told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    settings = load_settings()
    launcher = _launcher(settings)
    probe = (
        functools.partial(probe_broker, launcher)
        if isinstance(launcher, BrokerLauncher)
        else probe_here
    )
    one = Worker(
        system=build(settings),
        grade=functools.partial(grade_claim, launcher=launcher),
        probe=probe,
    )

    def end(_number: int, _frame: types.FrameType | None) -> None:
        one.stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    one.run()


def _launcher(settings: Settings) -> KernelLauncher:
    """Ask the broker where there is one; alone, start sandboxes from here."""
    socket = settings.run_dir / "broker.sock"
    if socket.exists():
        return BrokerLauncher(socket)
    return DirectLauncher(unsafe=settings.unsafe_grading)
