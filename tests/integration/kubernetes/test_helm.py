"""Our chart: linted, rendered in several ways, taken by Kubernetes' schema, and safe."""

import re
from copy import deepcopy
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]

from lms.bootstrap import build
from lms.cli.main import cli
from lms.cli.parts import make_parts
from lms.cli.prepare import make_keys
from lms.cli.wsgi import make_application
from lms.foundation.settings import Settings
from tests.integration.kubernetes.rendered import (
    CHART,
    FOLDER,
    WAYS,
    containers,
    helm,
    of_kind,
    pods,
    rendered,
)

NEWEST = kubernetes_validate.latest_version()
#: The only pods that may do more than others: they start sandboxes.
SANDBOXES = "grading-workers"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("way", WAYS)
def test_helm_and_kubernetes_take_it(way: str) -> None:
    said = helm("lint", "--strict", CHART, *WAYS[way])
    assert said.code == 0, said.text
    for document in rendered(way):
        taken_by = kubernetes_validate.validate(document, NEWEST, strict=True)
        assert NEWEST.startswith(taken_by)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("lms.url=lms.example.org", "at '/lms/url': 'lms.example.org' does not match"),
        ("hub.url=https://lms.example.org:8443", "both on lms.example.org; they need two host"),
        ("image.tag=latest", "image.tag is latest; name a version"),
        ("databases.url=x", "additional properties 'databases' not allowed"),
        ("secrets.password=x", "additional properties 'password' not allowed"),
        ("web.replicas=0", "at '/web/replicas': minimum: got 0, want 1"),
        ("web.resources.limits.memory=much", "at '/web/resources/limits/memory'"),
    ],
)
def test_values_that_cannot_be_used_are_named(given: str, said: str) -> None:
    answer = helm("template", "seodang", CHART, "--set", given)
    assert answer.code != 0
    assert said in answer.text


def test_what_can_be_left_out_is_left_out() -> None:
    kinds = {way: {one["kind"] for one in rendered(way)} for way in WAYS}
    assert "Ingress" in kinds["defaults"]
    assert "Ingress" not in kinds["no-ingress"]
    assert "PersistentVolumeClaim" not in kinds["pages-alone"]
    assert "PodDisruptionBudget" not in kinds["pages-alone"]
    assert set(pods(rendered("pages-alone"))) == {"seodang-web", "seodang-prepare"}


def test_pages_and_hub_are_two_origins_everywhere() -> None:
    documents = rendered("defaults")
    hosts = {
        name: [rule["host"] for rule in one["spec"]["rules"]]
        for name, one in of_kind(documents, "Ingress").items()
    }
    assert hosts == {"seodang-lms": ["lms.example.org"], "seodang-hub": ["hub.example.org"]}
    behind = {
        name: one["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"]
        for name, one in of_kind(documents, "Ingress").items()
    }
    assert behind == {"seodang-lms": "seodang-web", "seodang-hub": "proxy-public"}
    for pod in ("seodang-web", "seodang-worker", "seodang-prepare"):
        env = _environment(pods(documents)[pod]["spec"]["containers"][0])
        urls = [urlsplit(env[name]).hostname for name in ("LMS_URL", "HUB_URL")]
        assert urls == ["lms.example.org", "hub.example.org"]


def _environment(container: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one.get("value", "") for one in container.get("env", [])}


@pytest.mark.parametrize("way", WAYS)
def test_no_pod_may_more_than_it_needs(way: str) -> None:
    for name, pod in pods(rendered(way)).items():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        assert not [one for one in spec["volumes"] if "hostPath" in one], name
        for container in containers(pod):
            security = container["securityContext"]
            assert "privileged" not in security
            if name == SANDBOXES:
                # Root and SYS_ADMIN of a user namespace of its own are nobody on the node.
                assert spec["hostUsers"] is False
                continue
            assert spec["securityContext"]["runAsNonRoot"] is True, name
            assert spec["securityContext"]["runAsUser"] >= 190000, name
            assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
            assert security == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name


@pytest.mark.parametrize("way", WAYS)
def test_every_container_says_what_it_needs_and_which_version_it_is(way: str) -> None:
    for name, pod in pods(rendered(way)).items():
        for container in containers(pod):
            assert set(container["resources"]["requests"]) == {"cpu", "memory"}, name
            assert "memory" in container["resources"]["limits"], name
            image, _, tag = container["image"].partition(":")
            assert image
            assert re.fullmatch(r"\d[\w.-]*", tag), container["image"]


@pytest.mark.parametrize("way", WAYS)
def test_every_pod_is_under_a_policy_that_denies_what_is_not_allowed(way: str) -> None:
    documents = rendered(way)
    policies = [
        (one["metadata"].get("namespace"), one["spec"])
        for one in documents
        if one["kind"] == "NetworkPolicy"
    ]
    for one in documents:
        if one["kind"] not in {"Deployment", "StatefulSet", "Job"}:
            continue
        labels = one["spec"]["template"]["metadata"]["labels"]
        over = [
            spec
            for namespace, spec in policies
            if namespace == one["metadata"].get("namespace")
            and (spec["podSelector"].get("matchLabels", {}).items() <= labels.items())
        ]
        assert [spec for spec in over if not {"ingress", "egress"} & set(spec)], "nothing is denied"
        for spec in over:
            assert spec["policyTypes"] == ["Ingress", "Egress"]
            for rule in [*spec.get("ingress", []), *spec.get("egress", [])]:
                assert rule.get("ports") or rule.get("to") or rule.get("from"), "all is allowed"


@pytest.mark.parametrize("way", WAYS)
def test_no_secret_is_in_a_manifest(way: str) -> None:
    documents = rendered(way)
    assert not of_kind(documents, "Secret")
    assert not of_kind(documents, "ConfigMap")
    for pod in pods(documents).values():
        for container in containers(pod):
            for one in container.get("env", []):
                secret = re.search(r"KEY|TOKEN|PASSWORD|SECRET|DATABASE_URL", one["name"])
                assert ("valueFrom" in one) == bool(secret), one["name"]


def _key_files(pod: dict[str, Any]) -> set[str]:
    """Return what stands in the pod's folder of keys; each secret by the names of its keys."""
    sources = [
        source["secret"]
        for volume in pod["spec"]["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
    ]
    return {item["path"] for secret in sources for item in secret["items"]}


def test_pods_have_the_keys_they_need_and_no_others(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "made")
    settings.keys_dir.mkdir(parents=True)
    make_keys(settings)
    made = {
        path.relative_to(settings.keys_dir).as_posix()
        for path in settings.keys_dir.rglob("*")
        if path.is_file()
    }
    given = {name: _key_files(pod) for name, pod in pods(rendered("defaults")).items()}
    assert given["seodang-prepare"] == made
    assert {name.split("/")[0] for name in given["seodang-web"]} == {"web", "public"}
    assert {name.split("/")[0] for name in given["seodang-worker"]} == {"grading", "public"}
    cluster = {"authority.pem", "client.pem", "client-key.pem"}
    in_cluster = {name for name in given["seodang-worker"] if "/cluster/" in name}
    assert in_cluster == {f"grading/cluster/{name}" for name in cluster}
    # The pages start with theirs alone, and make none: their folder is read-only there.
    alone = Settings(data_dir=tmp_path / "alone")
    for name in given["seodang-web"]:
        (alone.keys_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (alone.keys_dir / name).write_bytes((settings.keys_dir / name).read_bytes())
    make_application(build(alone))
    left = {one.relative_to(alone.keys_dir).as_posix() for one in alone.keys_dir.rglob("*.*")}
    assert left <= given["seodang-web"]


def test_the_pages_start_as_lms_up_starts_them_and_are_asked_at_their_own_name(
    tmp_path: Path,
) -> None:
    web = pods(rendered("defaults"))["seodang-web"]["spec"]["containers"][0]
    settings = Settings(data_dir=tmp_path, bind="0.0.0.0")  # noqa: S104 - as in the pod
    make_keys(settings)
    (part,) = [one for one in make_parts(settings) if one.name == "web"]
    assert web["args"][1:] == [*part.argv[1:]]
    for probe in ("startupProbe", "readinessProbe"):
        asked = web[probe]["httpGet"]
        assert asked["path"] == "/healthz/pages"
        assert asked["httpHeaders"] == [{"name": "Host", "value": "lms.example.org"}]
    assert web["livenessProbe"]["tcpSocket"] == {"port": "http"}


def test_commands_and_variables_are_ours() -> None:
    known = (FOLDER.parents[1] / "lms" / "foundation" / "settings.py").read_text(encoding="utf-8")
    for pod in pods(rendered("all")).values():
        for container in pod["spec"]["containers"]:
            for name in _environment(container):
                if name.startswith(("LMS_", "HUB_")):
                    assert f'"{name}"' in known
            if container["args"][0] == "lms":
                assert cli.get_command(click.Context(cli), container["args"][1]) is not None


def _plain(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8")))


def test_the_grading_cluster_is_that_of_the_plain_manifests() -> None:
    ours = {
        (one["kind"], one["metadata"]["name"]): one["spec"]
        for one in deepcopy(rendered("defaults"))
        if one["metadata"].get("namespace") == VALUES["grading"]["namespace"]
    }
    plain = [
        *_plain("scheduler.yaml"),
        *_plain("workers.yaml"),
        *_plain("network.yaml"),
    ]
    for one in plain:
        spec = ours.pop((one["kind"], one["metadata"]["name"]))
        for container in spec.get("template", {}).get("spec", {}).get("containers", []):
            assert container.pop("imagePullPolicy") == "IfNotPresent"
        assert spec == one["spec"], one["metadata"]["name"]
    assert set(ours) == {("PodDisruptionBudget", "grading-workers"), ("NetworkPolicy", "nobody")}


def test_the_worker_reaches_the_scheduler_by_label_and_name() -> None:
    documents = rendered("defaults")
    worker = pods(documents)["seodang-worker"]
    env = _environment(worker["spec"]["containers"][0])
    host = urlsplit(env["LMS_DASK_SCHEDULER"]).hostname
    service = of_kind(documents, "Service")["grading-scheduler"]["metadata"]
    assert host == f"{service['name']}.{service['namespace']}.svc"
    door = of_kind(documents, "NetworkPolicy")["grading-scheduler"]["spec"]["ingress"][0]["from"][1]
    wanted = door["podSelector"]["matchLabels"]
    assert wanted.items() <= worker["metadata"]["labels"].items()
