"""Notebook servers that are jobs of a real Slurm (its GPUs are simulated), behind a real Hub."""

import pwd
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.fakes.hub_stack import Stack, free_ports, make_place, running_hub, running_proxy
from tests.fakes.identity_provider import IdentityProvider, Person, serving
from tests.fakes.reachable import reachable_python
from tests.fakes.slurm import Slurm

#: Some account of the machine that is not root's.
ACCOUNT = "games"


@pytest.fixture
def account(slurm: Slurm) -> pwd.struct_passwd:
    slurm.run("sacctmgr", "-i", "add", "user", ACCOUNT, "account=root")
    return pwd.getpwnam(ACCOUNT)


@pytest.fixture
def folder() -> Iterator[Path]:
    # Jobs of another user must come through; pytest's own folders are closed.
    with tempfile.TemporaryDirectory(prefix="lms-jobs-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711)
        yield Path(name)


@contextmanager
def _stack(folder: Path, slurm: Slurm, terms: str = "") -> Iterator[tuple[Stack, dict[str, str]]]:
    port = free_ports(1)
    place = make_place(folder / "data", f"http://127.0.0.1:{port}")
    place.homes_dir.mkdir()
    place.data_dir.chmod(0o711)
    (folder / "servers.toml").write_text(
        f'one_machine = true\nminutes = 5\npython = "{reachable_python(folder)}"\n{terms}'
    )
    more = {
        "LMS_SERVERS": "slurm",
        "LMS_SLURM_SERVERS": str(folder / "servers.toml"),
        "SLURM_CONF": slurm.env["SLURM_CONF"],
    }
    provider = IdentityProvider(place.key("client_secret"), f"{place.hub_url}/hub/oauth_callback")
    with serving(provider, port), running_proxy(place):
        yield Stack(place, provider), more


def _until(done: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.2)


def _token(stack: Stack, job: str) -> str:
    """Return the token of the job's server, which its owner can read too."""
    for process in Path("/proc").iterdir():
        try:
            words = (process / "environ").read_bytes().decode().split("\0")
        except (OSError, ValueError):
            continue
        env = dict(word.partition("=")[::2] for word in words)
        hub = env.get("JUPYTERHUB_API_URL", "")
        # Other clusters' jobs on this machine have the same numbers.
        if env.get("SLURM_JOB_ID") == job and hub.startswith(stack.place.inner_hub_url):
            return env["JUPYTERHUB_API_TOKEN"]
    raise AssertionError(job)


def test_a_server_is_the_persons_job_and_the_hub_finds_it_again(
    slurm: Slurm, account: pwd.struct_passwd, folder: Path
) -> None:
    person = Person("kim", os_uid=account.pw_uid)
    with _stack(folder, slurm) as (stack, more):
        browser = stack.browser(person)
        with running_hub(stack.place, more):
            stack.start_server(browser, "kim")
            (job,) = slurm.jobs()
            shown = slurm.run("scontrol", "show", "job", job)
            for words in (
                "JobName=seodang-server-kim", f"UserId={ACCOUNT}(", "TimeLimit=00:05:00",
                "Requeue=0", "MinMemoryNode=2G", "NumCPUs=2",
            ):  # fmt: skip
                assert words in shown
            assert (stack.place.homes_dir / "kim" / ".seodang-server.log").exists()
            _attack(stack, _token(stack, job))
        with running_hub(stack.place, more):
            assert stack.api(browser, "kim") == 200
            assert slurm.jobs() == [job]
            # A node that is lost takes the server with it, and the page says so.
            node = slurm.run("squeue", "-h", "-j", job, "-o", "%B")
            slurm.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
            try:
                _until(lambda: not slurm.jobs())
                page = f"{stack.place.hub_url}/user/kim/lab"
                _until(lambda: "server ran on was lost" in browser.get(page).text, 40)
            finally:
                slurm.run("scontrol", "update", f"nodename={node}", "state=resume")


def _attack(stack: Stack, token: str) -> None:
    """Try with a server's own token what batchspawner's handler would take."""
    attack = {"cmd": ["/bin/sh"], "batch_script": "#!/bin/sh\nid", "req_username": "root"}

    def post(path: str, body: object, token: str = token) -> int:
        headers = {"Authorization": f"token {token}"} if token else {}
        url = f"{stack.place.inner_hub_url}/hub/api/{path}"
        return requests.post(url, json=body, headers=headers, timeout=20).status_code

    assert post("batchspawner", attack) == 404
    bad = (attack, {"port": 8888, "ip": "10.0.0.1"}, {"port": 22}, {"port": "8888"}, {"port": True})
    assert [post("seodang/port", body) for body in bad] == [400] * len(bad)
    # It has started: no other port, and nobody else's.
    port = {"port": 8888}
    assert post("seodang/port", port) == 409
    assert post("seodang/port", port, token="") == 403
    assert post("seodang/port", port, token=stack.place.key("lms_api_token")) == 403


def test_a_partition_that_is_not_there_is_told_on_the_page(
    slurm: Slurm, account: pwd.struct_passwd, folder: Path
) -> None:
    person = Person("kim", os_uid=account.pw_uid, locale="ko")
    terms = 'partition = "gpu-a100"\n'
    with _stack(folder, slurm, terms) as (stack, more), running_hub(stack.place, more):
        browser = stack.browser(person)
        told = "이 프로필이 쓰는 파티션이 클러스터에 없어요."
        # At once, and whoever comes back reads it again.
        for path in ("/hub/user-redirect/lab", "/user/kim/lab"):
            page = browser.get(f"{stack.place.hub_url}{path}").content.decode()
            assert told in page, path
            assert "Traceback" not in page
        assert not slurm.jobs()


def test_no_place_in_time_is_told_and_leaves_no_job(
    slurm: Slurm, account: pwd.struct_passwd, folder: Path
) -> None:
    slurm.run("sbatch", "--exclusive", "--nodes=4", "--output=/dev/null", "--wrap=sleep 300")
    _until(lambda: len(slurm.jobs()) == 1)
    person = Person("kim", os_uid=account.pw_uid, locale="en")
    terms = "queue_seconds = 4\n"
    with _stack(folder, slurm, terms) as (stack, more), running_hub(stack.place, more):
        browser = stack.browser(person)
        browser.get(f"{stack.place.hub_url}/hub/user-redirect/lab")
        _until(lambda: slurm.jobs(states="PENDING"))
        page = f"{stack.place.hub_url}/user/kim/lab"
        # Which of the two it is, Slurm may say either.
        reasons = ("(Resources)", "(Priority)")
        _until(lambda: any(reason in browser.get(page).text for reason in reasons))
        _until(lambda: not slurm.jobs(states="PENDING"))
