"""Requirements: what is taken, what is refused in which words, and what a digest hangs on."""

import importlib.metadata
from pathlib import Path

import pytest

from lms.outposts.environments.identity import environment_id, kernel_name
from lms.outposts.environments.requirements import Requirements, RequirementsError, parse
from lms.outposts.environments.stack import conflicts, problems_with
from lms.outposts.runner.version import environment_digest

A, B = (f"--hash=sha256:{letter * 64}" for letter in "ab")


def read(text: str) -> Requirements:
    return parse(text.encode())


def test_the_same_packages_are_the_same_however_they_are_written() -> None:
    plain = read(f"tiny==2 {A} {B}\nother==1.0 {A}\n")
    compiled = read(
        "# by a tool\n--require-hashes\n"
        f"Other == 1.0 \\\n    {A}\n    # via nobody\n\ntiny==2 \\\n    {B} \\\n    {A}\n"
    )
    assert compiled.digest == plain.digest
    assert compiled.text == f"other==1.0 {A}\ntiny==2 {A} {B}\n"
    assert read(compiled.text).digest == plain.digest
    for changed in (f"tiny==2.0.1 {A} {B}\nother==1.0 {A}", f"tiny==2 {A}\nother==1.0 {A}"):
        assert read(changed).digest != plain.digest


def test_conditions_are_kept_and_say_what_is_meant_here() -> None:
    requirements = read(
        f'tiny==2 ; python_version >= "3" {A}\nonly-there==1 ; sys_platform == "win32" {A}'
    )
    assert [one.name for one in requirements.here()] == ["tiny"]
    assert 'only-there==1 ; sys_platform == "win32"' in requirements.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tiny==2", "Line 1: tiny has no hash"),
        (f"\ntiny {A}", "Line 2: tiny has no exact version"),
        (f"tiny>=2 {A}", "Line 1: tiny has no exact version"),
        (f"tiny==2.* {A}", "Line 1: tiny has no exact version"),
        (f"tiny @ https://example.org/tiny.whl {A}", "is no pinned package"),
        ("-r other.txt", "is no pinned package"),
        ("-e .", "is no pinned package"),
        ("--index-url https://example.org", "is no pinned package"),
        (f"tiny==2 --no-binary=tiny {A}", "is no pinned package"),
        ("tiny==2 --hash=md5:0123", "“md5:0123”, which is no sha256"),
        (f"tiny==2 ; no condition {A}", "cannot be read"),
        (f"tiny==2 {A}\nTiny==3 {A}", "Line 2: tiny stands in line 1 already."),
        ("# nothing\n", "name no package"),
    ],
)
def test_what_cannot_be_used_is_told_by_line(text: str, said: str) -> None:
    with pytest.raises(RequirementsError) as raised:
        read(text)
    assert said in str(raised.value.problems[0])
    assert len(raised.value.problems) == 1


def test_every_line_has_its_own_sentence_and_bytes_have_one() -> None:
    with pytest.raises(RequirementsError) as raised:
        read(f"one\ntwo==2\nthree==3 {A}")
    assert len(raised.value.problems) == 2
    with pytest.raises(RequirementsError, match="not a text file"):
        parse(b"tiny\xff==2")


def test_what_a_kernel_is_made_of_cannot_be_replaced() -> None:
    own = importlib.metadata.version("ipykernel")
    assert list(problems_with(read(f"ipykernel=={own} {A}"))) == []
    for text in (f"ipykernel==6.0 {A}", f"IPython==8.0 {A}", f"Seodang==9 {A}"):
        (problem,) = problems_with(read(text))
        assert "would take the place of our own kernel's" in str(problem)
    (problem,) = problems_with(read(f"packaging==20.0 {A}"))
    assert "packaging is pinned at 20.0, but ipykernel" in str(problem)
    # What only a course needs is the course's business, and so are libraries for notebooks.
    assert list(problems_with(read(f"tiny==2 {A}\nnumpy==2.1.0 {A}\nflask==2.0 {A}"))) == []


def test_the_default_environment_has_no_conflicts(tmp_path: Path) -> None:
    assert list(conflicts(tmp_path)) == []


def test_digests_tell_environments_apart() -> None:
    one, two = (read(f"tiny=={version} {A}").digest for version in "12")
    assert environment_id(one) == environment_id(one) != environment_id(two)
    digests = {environment_digest(), environment_digest(one), environment_digest(two)}
    assert len(digests) == 3
    assert kernel_name(one) != kernel_name(two)
    assert kernel_name(one).startswith("seodang-")
