"""What Slurm says becomes one plain sentence, in both languages."""

import re

import pytest
from tornado import web

from lms.outposts.hub import slurm_words
from lms.outposts.kernels.slurm_said import Words, both, ended, missing, waits
from lms.outposts.kernels.srun import KernelRefusedError

HANGUL = re.compile("[가-힣]")


def _in_both(words: Words) -> str:
    korean, english = words
    assert HANGUL.search(korean)
    assert not HANGUL.search(english)
    assert both(words) == f"{korean} {english}"
    return english


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("TIMEOUT", "time on its GPU is over"),
        ("PREEMPTED", "cluster ended"),
        ("CANCELLED", "cluster ended"),
        ("OUT_OF_MEMORY", "more memory"),
        ("NODE_FAIL", "The node n1 of this kernel was lost"),
        ("LOST", "The node n1 of this kernel was lost"),
    ],
)
def test_each_ending_of_a_job_has_its_sentence(state: str, said: str) -> None:
    assert said in _in_both(ended(state, "n1"))


@pytest.mark.parametrize(
    ("slurm", "said"),
    [
        ("Batch job submission failed: Invalid partition name specified", "no partition"),
        ("invalid partition specified: gpu-a100", "no partition"),
        ("Unable to allocate resources: Invalid generic resource (gres) specification", "no GPU"),
        ("Requested node configuration is not available", "No node"),
        ("Job request does not match any supported policy: Invalid qos specification", "QOS"),
        ("Invalid account or account/partition combination specified", "no account"),
    ],
)
def test_what_the_cluster_does_not_have_is_told_for_servers_and_kernels(
    slurm: str, said: str
) -> None:
    words = missing(slurm)
    assert words is not None
    assert said in _in_both(words)
    assert "tell the operator" in words[1]
    assert slurm_words.refused(slurm) == words


def test_other_refusals_are_not_taken_for_something_missing() -> None:
    for slurm in ("Job violates accounting/QOS policy (job submit limit)", "Socket timed out", ""):
        assert missing(slurm) is None


def test_waiting_in_vain_names_the_reason() -> None:
    assert "(Resources)" in _in_both(waits("Resources"))


def test_a_refused_kernel_is_an_answer_with_its_sentence_and_no_traceback() -> None:
    error = KernelRefusedError("100 % are taken.")
    assert isinstance(error, web.HTTPError)
    assert (error.status_code, str(error)) == (503, "100 % are taken.")
