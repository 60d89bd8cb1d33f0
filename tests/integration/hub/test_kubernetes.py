"""Profiles as pods: made by the real KubeSpawner, taken by Kubernetes' own schema, strictly."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
from kubernetes_asyncio.client import ApiClient
from kubespawner import KubeSpawner

from lms.foundation.resources import resource_dir
from lms.outposts.hub.kubernetes import POD, profiles_for, read_pods
from lms.outposts.hub.profiles import read_profiles

PROFILES = resource_dir("hub_config") / "profiles.toml"
RESOURCES = {"whole": "nvidia.com/gpu", "slice": "nvidia.com/mig-1g.10gb"}
PODS = read_pods(PROFILES, RESOURCES)


def _manifest(key: str) -> dict[str, Any]:
    async def make() -> dict[str, Any]:
        settings = POD | PODS[key]["kubespawner_override"]
        spawner = KubeSpawner(
            _mock=True, namespace="seodang", image="registry.example.org/seodang:0.1.0", **settings
        )
        pod = await spawner.get_pod_manifest()
        async with ApiClient() as client:
            made: dict[str, Any] = client.sanitize_for_serialization(pod)
        return made

    return asyncio.run(make())


@pytest.fixture
def no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """KubeSpawner wants to know of a cluster, though it asks it nothing for a manifest."""
    file = tmp_path / "config"
    file.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: none\n"
        "contexts: [{name: none, context: {cluster: none, user: none}}]\n"
        'clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}]\n'
        "users: [{name: none, user: {}}]\n"
    )
    monkeypatch.setattr(
        "kubernetes_asyncio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(file)
    )


@pytest.mark.usefixtures("no_cluster")
@pytest.mark.parametrize("key", list(PODS))
def test_kubernetes_takes_every_profiles_pod(key: str) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", **_manifest(key)}
    kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
    spec = pod["spec"]
    (container,) = spec["containers"]
    assert spec["automountServiceAccountToken"] is False
    security = container["securityContext"]
    assert (security["runAsUser"], security["runAsNonRoot"]) == (1000, True)
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    limits = container["resources"]["limits"]
    assert int(limits["memory"]) == read_profiles(PROFILES)[key].memory_bytes
    gpus = {"gpu": "nvidia.com/gpu", "gpu-slice": "nvidia.com/mig-1g.10gb"}
    assert {name for name in limits if "nvidia" in name} == ({gpus[key]} if key in gpus else set())


def test_a_cluster_without_such_a_gpu_does_not_offer_it() -> None:
    assert set(read_pods(PROFILES, {"whole": "nvidia.com/gpu"})) == set(PODS) - {"gpu-slice"}
    assert set(read_pods(PROFILES, {})) == {"standard"}


def test_people_are_offered_what_their_groups_may_have(tmp_path: Path) -> None:
    file = tmp_path / "profiles.toml"
    file.write_text(
        "[profile.small]\nmemory_mb = 512\nprocesses = 9\n"
        '[profile.big]\nmemory_mb = 4096\nprocesses = 9\ngroups = ["offering:ai:*"]\n'
    )
    offered = profiles_for(read_profiles(file), read_pods(file, {}))

    def slugs(*groups: str) -> list[str]:
        user = SimpleNamespace(groups=[SimpleNamespace(name=group) for group in groups])
        return [one["slug"] for one in offered(SimpleNamespace(user=user))]

    assert slugs() == ["small"]
    assert slugs("offering:ai:student") == ["small", "big"]
