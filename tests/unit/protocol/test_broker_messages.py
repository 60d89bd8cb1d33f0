"""Messages of the broker: there and back unchanged, and nothing else gets in."""

import json
from dataclasses import replace

import pytest

from lms.protocol.broker import (
    KernelRequest,
    SandboxReport,
    ServerLimits,
    ServerRequest,
    ServerState,
    Verdict,
)
from lms.protocol.grading import Limits
from lms.protocol.sentences import sentence

KERNEL = KernelRequest(
    argv=("/usr/bin/python3", "-c", "1"),
    env={"A": "가"},
    connection_dir="/srv/k",
    files_dir="/srv/f",
    limits=Limits(cell_seconds=7),
)
SERVER = ServerRequest(
    username="minsu",
    server_name="gpu-1",
    uid=200_001,
    argv=("jupyterhub-singleuser",),
    home="/data/homes/minsu",
    limits=ServerLimits(memory_bytes=5),
)


def test_requests_come_back_as_they_were_sent() -> None:
    assert KernelRequest.from_json(json.loads(json.dumps(KERNEL.to_json()))) == KERNEL
    assert ServerRequest.from_json(json.loads(json.dumps(SERVER.to_json()))) == SERVER
    plain = replace(KERNEL, files_dir=None)
    assert KernelRequest.from_json(plain.to_json()) == plain


def test_answers_come_back_as_they_were_sent() -> None:
    state = ServerState(running=False, pid=5, exit_code=-9, verdict=Verdict.KILLED)
    assert ServerState.from_json(json.loads(json.dumps(state.to_json()))) == state
    report = SandboxReport(
        namespaces=True,
        seccomp=False,
        cgroups="v2",
        own_uids=True,
        missing=(sentence("No %(thing)s.", thing="filter"),),
    )
    assert SandboxReport.from_json(json.loads(json.dumps(report.to_json()))) == report
    assert not report.ok


@pytest.mark.parametrize(
    "change",
    [
        {"argv": []},
        {"argv": "python"},
        {"argv": ["a\0b"]},
        {"argv": ["x"] * 1000},
        {"argv": ["x" * 100_000]},
        {"argv": [1]},
        {"env": []},
        {"env": {"A=B": "c"}},
        {"env": {"": "c"}},
        {"env": {"A": 1}},
        {"env": {"A": "\0"}},
        {"connection_dir": "relative"},
        {"connection_dir": "/srv/../etc"},
        {"connection_dir": "/"},
        {"connection_dir": None},
        {"files_dir": "/srv/./x"},
        {"limits": {"memory_bytes": 0}},
        {"limits": {"memory_bytes": -1}},
        {"limits": {"memory_bytes": True}},
        {"limits": {"memory_bytes": 1.5}},
        {"limits": {"gold": 1}},
        {"limits": []},
    ],
)
def test_wrong_kernel_request_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        KernelRequest.from_json(KERNEL.to_json() | change)


@pytest.mark.parametrize(
    "change",
    [
        {"username": ".."},
        {"username": ""},
        {"username": "a/b"},
        {"username": "a~b"},
        {"username": "x" * 65},
        {"username": ["a"]},
        {"server_name": ".."},
        {"server_name": "a/b"},
        {"server_name": "a~b"},
        {"uid": -1},
        {"uid": "200001"},
        {"uid": True},
        {"home": "homes/minsu"},
        {"limits": None},
    ],
)
def test_wrong_server_request_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        ServerRequest.from_json(SERVER.to_json() | change)


@pytest.mark.parametrize("value", [None, [], "x", 1])
def test_what_is_no_object_is_no_request(value: object) -> None:
    for kind in (KernelRequest, ServerRequest, ServerState, SandboxReport):
        with pytest.raises(ValueError, match=r"."):
            kind.from_json(value)
