"""`lms broker`: the compute broker, as the supervisor starts it."""

import logging

import click

from lms.foundation.settings import Settings, load_settings
from lms.outposts.broker.config import BrokerConfig
from lms.outposts.broker.server import serve
from lms.outposts.broker.servers import ServerPlaces


@click.command()
def broker() -> None:
    """Start sandboxes for the worker and notebook servers for the Hub until told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    serve(broker_config(load_settings()))


def broker_config(settings: Settings) -> BrokerConfig:
    """Return the broker's part of the settings."""
    uids = settings.uids
    return BrokerConfig(
        socket_path=settings.run_dir / "broker.sock",
        places=ServerPlaces(
            homes_dir=settings.homes_dir,
            state_dir=settings.run_dir / "servers",
            logs_dir=settings.logs_dir / "servers",
            learner_first=uids.learner_first,
            learner_end=uids.learner_end,
            environments_dir=settings.environments_dir,
            asking_dir=settings.run_dir / "kernels",
            forks=settings.server_start == "zygote",
        ),
        simulated_gpus=settings.simulated_gpus,
        gpu_time_slices=settings.gpu_time_slices,
        unsafe=settings.unsafe_grading,
        worker_uid=uids.worker,
        hub_uid=uids.hub,
        other_uids=(uids.web,),
    )
