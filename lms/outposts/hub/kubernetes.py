"""Profiles as KubeSpawner's, for a Hub that starts notebook servers as pods.

A pod holds what it asks for until it ends, GPUs too: leases of kernels are for the Hubs that start
servers through the broker.
"""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lms.outposts.hub.profiles import Profile, is_open_to, read_profiles

#: What every server's pod is: nobody's root, no token of the cluster, no new rights.
POD: Mapping[str, Any] = {
    "uid": 1000,
    "gid": 100,
    "fs_gid": 100,
    "automount_service_account_token": False,
    "allow_privilege_escalation": False,
    "container_security_context": {
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
}


def read_pods(path: Path, resources: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return each profile of profiles.toml as one of KubeSpawner, by key.

    `resources` says what the cluster calls a GPU: {"whole": "nvidia.com/gpu"}, and for "slice" such
    as "nvidia.com/mig-1g.10gb". A profile with a kind of GPU that is not in it is left out.
    """
    tables = tomllib.loads(path.read_text(encoding="utf-8"))["profile"]
    pods = {}
    for number, (key, profile) in enumerate(read_profiles(path).items()):
        gpu = tables[key].get("gpu")
        if gpu is None or gpu in resources:
            name = None if gpu is None else resources[gpu]
            title = tables[key].get("title", {}).get("en", key)
            pods[key] = _pod(profile, title, name, default=number == 0)
    return pods


def profiles_for(
    profiles: Mapping[str, Profile], pods: Mapping[str, dict[str, Any]]
) -> Callable[[Any], list[dict[str, Any]]]:
    """Return KubeSpawner's `profile_list`: what the person's groups may have, and nothing else."""

    def allowed(spawner: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - JupyterHub's
        groups = [group.name for group in spawner.user.groups]
        return [pod for key, pod in pods.items() if is_open_to(groups, profiles[key].groups)]

    return allowed


def _pod(profile: Profile, title: str, resource: str | None, *, default: bool) -> dict[str, Any]:
    override: dict[str, Any] = {
        "mem_limit": profile.memory_bytes,
        # Half is promised: few notebooks use all they may, and a node holds twice as many.
        "mem_guarantee": profile.memory_bytes // 2,
    }
    if profile.cpu_percent:
        override["cpu_limit"] = profile.cpu_percent / 100
    if resource is not None:
        override["extra_resource_limits"] = {resource: "1"}
    return {
        "slug": profile.key,
        "display_name": title,
        "default": default,
        "kubespawner_override": override,
    }
