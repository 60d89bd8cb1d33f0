"""What a Slurm job of a notebook server may ask for, say and be told; decided from values alone."""

from pathlib import Path

import pytest

from lms.outposts.hub import slurm_words
from lms.outposts.hub.place import HubPlace, PlaceError
from lms.outposts.hub.slurm_node import listening_url
from lms.outposts.hub.slurm_place import SlurmPlace, read_slurm_place
from lms.outposts.hub.slurm_port import PortError, read_port

_REACHED = {"LMS_SERVERS": "slurm", "LMS_URL": "http://lms.example.org"}


def _read(folder: Path, text: str, **env: str) -> SlurmPlace:
    file = folder / "servers.toml"
    file.write_text(text)
    return read_slurm_place(file, HubPlace.from_env({**_REACHED, **env}))


def test_a_group_has_its_own_account_and_the_rest_as_everybody(tmp_path: Path) -> None:
    place = _read(
        tmp_path,
        'hub_url = "http://head:8011"\npartition = "cpu"\nminutes = 60\n'
        '[[for]]\ngroups = ["offering:ml1:*"]\naccount = "ml1"\n',
    )
    own = place.terms_for(["offering:ml1:student"])
    assert (own.partition, own.account, own.minutes) == ("cpu", "ml1", 60)
    assert place.terms_for(["offering:np1:student"]).account == ""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "hub_url is http://127.0.0.1:8011, which the cluster's nodes cannot reach"),
        ('hub_url = "http://localhost:8011"', "nodes cannot reach"),
        ('hub_url = "head:8011"', "no address"),
        ('hub_url = "http://head:1"\npartition = "cpu --uid=0"', "partition is not a name"),
        ('hub_url = "http://head:1"\naccount = "a\\nb"', "account is not a name"),
        ('hub_url = "http://head:1"\nminutes = 0', "minutes must be a whole number"),
        ('hub_url = "http://head:1"\n[[for]]\nuid = 0', "has uid"),
        ("hub_url =", "cannot be read"),
    ],
)
def test_what_no_job_can_have_is_told_in_a_sentence(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(PlaceError, match=why):
        _read(tmp_path, text)


def test_loopback_will_do_where_all_nodes_are_this_machine(tmp_path: Path) -> None:
    place = _read(tmp_path, "one_machine = true", LMS_URL="")
    assert place.hub_url == "http://127.0.0.1:8011"


def test_an_lms_on_loopback_is_told_too(tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match=r"LMS_URL is http://127\.0\.0\.1:8000"):
        _read(tmp_path, 'hub_url = "http://head:8011"', LMS_URL="")


@pytest.mark.parametrize(
    "body",
    [
        None, [], "8888", {}, {"port": "8888"}, {"port": True}, {"port": 80.5}, {"port": 1023},
        {"port": 65536}, {"port": 8888, "cmd": ["sh"]}, {"batch_script": "id"}, {"req_username": 1},
    ],
)  # fmt: skip
def test_a_server_says_a_port_and_nothing_else(body: object) -> None:
    with pytest.raises(PortError):
        read_port(body)


def test_a_port_is_taken_from_its_first_to_its_last() -> None:
    assert [read_port({"port": port}) for port in (1024, 65535)] == [1024, 65535]


def test_a_server_listens_on_its_nodes_address_alone() -> None:
    url = "http://0.0.0.0:0/user/kim/"
    assert listening_url(url, "10.0.0.7", 4711) == "http://10.0.0.7:4711/user/kim/"
    assert listening_url(url, "fd00::7", 4711) == "http://[fd00::7]:4711/user/kim/"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (slurm_words.waiting("Resources"), "no free place"),
        (slurm_words.waiting("Priority"), "waited longer"),
        (slurm_words.waiting("QOSMaxJobsPerUserLimit"), "all that you may"),
        (slurm_words.waiting("ReqNodeNotAvail, UnavailableNodes:n1"), "down or reserved"),
        (slurm_words.waiting("BeginTime"), "BeginTime"),
        (slurm_words.waiting("None"), "stands in the cluster's queue"),
        (slurm_words.ended("TIMEOUT"), "is over"),
        (slurm_words.ended("NODE_FAIL"), "was lost"),
        (slurm_words.ended("OUT_OF_MEMORY"), "more memory"),
        (slurm_words.ended("FAILED"), "FAILED"),
        (slurm_words.refused("Job violates accounting/QOS policy (job submit limit)"), "is full"),
        (slurm_words.refused("invalid partition specified: x"), "no partition"),
        (slurm_words.refused("Socket timed out"), "did not take"),
    ],
)
def test_people_read_why_in_both_languages(words: tuple[str, str], part: str) -> None:
    korean, english = words
    assert part in english
    assert any("가" <= letter <= "힣" for letter in korean)
