"""`lms worker`: the grading worker, as the supervisor starts it."""

import functools
import logging
import signal
import types
from collections.abc import Callable

import click

from lms.bootstrap import build
from lms.foundation.settings import Settings, load_settings
from lms.outposts.broker.client import BrokerClient
from lms.outposts.broker.launcher import BrokerLauncher, DirectLauncher, KernelLauncher, probe
from lms.protocol.broker import SandboxReport
from lms.worker.grading import grade_claim
from lms.worker.health import SandboxHealth
from lms.worker.loop import Worker


@click.command()
def worker() -> None:
    """Grade submissions from the queue until told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    settings = load_settings()
    launcher, ask = _sandboxes(settings)
    health = SandboxHealth(ask)
    one = Worker(
        system=build(settings),
        grade=functools.partial(
            grade_claim, launcher=launcher, is_sandboxed=lambda: health().sandbox_ok
        ),
        probe=health,
    )

    def end(_number: int, _frame: types.FrameType | None) -> None:
        one.stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    one.run()


def _sandboxes(settings: Settings) -> tuple[KernelLauncher, Callable[[], SandboxReport]]:
    """Ask the broker where there is one; alone, start sandboxes from here."""
    path = settings.run_dir / "broker.sock"
    if path.exists():
        return BrokerLauncher(path), BrokerClient(path).probe
    return DirectLauncher(unsafe=settings.unsafe_grading), probe
