"""`lms worker`: the grading worker, as the supervisor starts it."""

import logging
import os
import signal
import socket
import types

import click

from lms.bootstrap import build
from lms.foundation.settings import load_settings
from lms.outposts.broker.lease_client import LeaseClient
from lms.worker.executors import executor_starter, place_of, sandbox_of
from lms.worker.grading import Grader
from lms.worker.health import SandboxHealth
from lms.worker.leases import LeaseKeeper, keep_leases
from lms.worker.loop import Worker


@click.command()
@click.option(
    "--resource",
    type=click.Choice(["cpu", "gpu"]),
    default="cpu",
    show_default=True,
    help="Which assignments: the ordinary ones, or those that need a GPU.",
)
@click.option(
    "--name",
    default="",
    help="What it is called; no two workers may share a name. [default: this machine's]",
)
def worker(resource: str, name: str) -> None:
    """Grade submissions from the queue until told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    settings = load_settings()
    system, place = build(settings), place_of(settings)
    one = Worker(
        system=system,
        grade=Grader(system=system, place=place),
        start_executor=executor_starter(settings),
        probe=SandboxHealth(sandbox_of(settings)),
        resource=resource,
        name=name or socket.gethostname() + ("" if resource == "cpu" else f"-{resource}"),
    )

    def end(_number: int, _frame: types.FrameType | None) -> None:
        one.stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    socket_path = settings.run_dir / "broker.sock"
    if resource == "cpu" and socket_path.exists():
        # Beside the broker, and by one worker alone; another would only do the same twice.
        keep_leases(
            LeaseKeeper(sessions=system.sessions, broker=LeaseClient(socket_path), stop=one.stop)
        )
    one.run()
    logging.shutdown()
    # A thread may still wait for a kernel that nobody wants any more; it ends with this process.
    os._exit(0)
