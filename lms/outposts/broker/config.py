"""Where a broker listens, and who may ask it what."""

import os
from dataclasses import dataclass
from pathlib import Path

from lms.outposts.broker.servers import ServerPlaces

LEASE_VERBS = ("inventory", "grant", "revoke", "leases")


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfig:
    """Where the broker listens and whom it serves; root always may."""

    socket_path: Path
    places: ServerPlaces
    #: May launch kernels.
    worker_uid: int
    #: May handle servers.
    hub_uid: int
    #: Run kernels without a sandbox where the probe found none; the operator's choice.
    unsafe: bool = False
    #: May ask what sandboxes have here.
    other_uids: tuple[int, ...] = ()
    #: Start the zygotes with the broker, not with the first launch that needs one.
    zygote_at_start: bool = True
    #: Make devices up ("4", or "4x2" with slices), and leases that share a whole GPU by turns.
    simulated_gpus: str = ""
    gpu_time_slices: int = 1


def may(config: BrokerConfig, uid: int, verb: str) -> bool:
    """Say whether who has `uid` may ask for `verb`."""
    if verb == "server_kernel":
        return config.places.learner_first <= uid < config.places.learner_end
    allowed = {
        "probe": {config.worker_uid, config.hub_uid, *config.other_uids},
        "launch": {config.worker_uid},
        "start_server": {config.hub_uid},
        "poll_server": {config.hub_uid},
        "stop_server": {config.hub_uid},
        "homes": {config.worker_uid, config.hub_uid, *config.other_uids},
        **{name: {config.worker_uid, *config.other_uids} for name in LEASE_VERBS},
    }.get(verb)
    # Our own user is root, or on a person's own machine everyone there is.
    return allowed is not None and uid in {0, os.geteuid(), *allowed}
