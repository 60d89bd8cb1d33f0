"""The LMS's GPU profiles for Slurm: a QOS each, which Slurm itself enforces, and a kernel each.

Slurm's are the hard limits, whoever submits a job: how long, how many at once, and no more minutes
under way than a week allows. What was used in the week that has begun is the ledger's to count.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from math import ceil

from lms.compute.profiles import GpuProfile, ServerSize, Terms
from lms.compute.rules import Need

PREFIX = "seodang-"
#: lms.outposts.kernels.srun, as pyproject.toml names it.
PROVISIONER = "seodang-srun"
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Qos:
    """A QOS and its settings, in the words of `sacctmgr`."""

    name: str
    settings: Mapping[str, str]

    def commands(self) -> list[list[str]]:
        """Return the commands that make it so, whether or not it exists."""
        settings = [f"{name}={value}" for name, value in self.settings.items()]
        return [
            ["sacctmgr", "-i", "-Q", "add", "qos", self.name],
            ["sacctmgr", "-i", "-Q", "modify", "qos", self.name, "set", *settings],
        ]


def kernel_of(size: ServerSize, profile: GpuProfile, gres: str) -> dict[str, object]:
    """Return the kernelspec whose kernels are jobs of the profile; `gres` is one of its GPUs.

    The profile's cap is the job's time limit, so Slurm ends what no lease may outlast.
    """
    config: dict[str, object] = {
        "gpus": 1,
        "gres": gres,
        "minutes": max(1, int(profile.cap / _MINUTE)),
        "qos": PREFIX + profile.key,
        "cpus": max(1, ceil(size.cpus)),
    }
    if size.memory_mb:
        config["memory"] = f"{size.memory_mb}M"
    return {
        "argv": ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": f"Python 3 (ipykernel) · {profile.title.en}",
        "language": "python",
        "metadata": {"kernel_provisioner": {"provisioner_name": PROVISIONER, "config": config}},
    }


def qos_of(terms: Terms) -> list[Qos]:
    """Return a QOS for each GPU profile."""
    return [_qos(profile, terms) for profile in terms.profiles.values()]


def _qos(profile: GpuProfile, terms: Terms) -> Qos:
    settings = {
        # Without it a job that asks for too much waits for ever instead of being refused.
        "Flags": "DenyOnLimit",
        "MaxWall": str(int(profile.cap / _MINUTE)),
        "MaxJobsPerUser": str(terms.at_once),
    }
    if profile.need is Need.WHOLE:
        # No more minutes may be under way than the week has for this price.
        minutes = int(terms.hours_a_week * 60 / profile.price) if profile.price else 0
        settings["MaxTRESPerUser"] = f"gres/gpu={terms.at_once}"
        settings["MaxTRESPerJob"] = "gres/gpu=1"
        if minutes:
            settings["MaxTRESRunMinsPU"] = f"gres/gpu={minutes}"
    return Qos(name=PREFIX + profile.key, settings=settings)
