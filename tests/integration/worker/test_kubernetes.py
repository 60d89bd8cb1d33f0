"""The manifests that an operator starts from are what Kubernetes takes, and say what ours need."""

import tomllib
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import click
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]

from lms.cli.main import cli
from lms.foundation.resources import resource_dir
from lms.outposts.executors.slurm import SlurmJobs, read_jobs

MANIFESTS = sorted((resource_dir("hub_config") / "kubernetes").glob("*.yaml"))


def _documents() -> Iterator[dict[str, Any]]:
    """Yield every document; those of the operator as the pods and the service it makes of them."""
    for path in MANIFESTS:
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if document["kind"] == "DaskCluster":
                yield from _made_by_the_operator(document)
            else:
                yield document


def _made_by_the_operator(cluster: dict[str, Any]) -> Iterator[dict[str, Any]]:
    name = cluster["metadata"]["name"]
    for role in ("scheduler", "worker"):
        metadata = {"name": f"{name}-{role}"}
        spec = cluster["spec"][role]["spec"]
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    service = cluster["spec"]["scheduler"]["service"]
    metadata = {"name": f"{name}-scheduler"}
    yield {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service}


DOCUMENTS = list(_documents())
PODS = [
    document["spec"] if document["kind"] == "Pod" else document["spec"]["template"]["spec"]
    for document in DOCUMENTS
    if document["kind"] in {"Pod", "Deployment"}
]


@pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda one: f"{one['kind']}-{one['metadata']['name']}"
)
def test_kubernetes_takes_the_manifest(document: dict[str, Any]) -> None:
    newest = kubernetes_validate.latest_version()
    taken_by = kubernetes_validate.validate(document, newest, strict=True)
    assert newest.startswith(taken_by)


def test_a_misspelt_field_would_be_found() -> None:
    broken = {**DOCUMENTS[0], "spec": {**DOCUMENTS[0]["spec"], "replicaz": 1}}
    with pytest.raises(kubernetes_validate.ValidationError, match="replicaz"):
        kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("pod", PODS)
def test_pods_run_our_commands_with_the_keys_of_their_role_alone(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    assert container["args"][0] == "lms"
    command = cli.get_command(click.Context(cli), container["args"][1])
    assert isinstance(command, click.Group)
    role = container["args"][2]
    found = command.get_command(click.Context(command), role)
    assert found is not None
    known = {name for option in found.params for name in option.opts}
    assert {word for word in container["args"] if word.startswith("--")} <= known
    secrets = [one["secret"]["secretName"] for one in pod["volumes"] if "secret" in one]
    assert secrets == [f"grading-{role}-keys"]
    assert container["resources"]["limits"]["memory"]
    assert pod["automountServiceAccountToken"] is False


def test_the_slurm_file_that_operators_copy_can_be_read() -> None:
    path = resource_dir("hub_config") / "slurm" / "grading.toml"
    jobs = read_jobs(path)
    assert (jobs.minimum_jobs, jobs.maximum_jobs) == (0, 16)
    known = {field.name for field in fields(SlurmJobs)}
    assert set(tomllib.loads(path.read_text(encoding="utf-8"))) <= known
