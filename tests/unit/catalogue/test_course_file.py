"""course.toml: what grading needs of it, and the sentence for whatever cannot be used."""

import tomllib

import pytest

from lms.catalogue.course_file import CourseFile, parse_course
from lms.catalogue.errors import CourseFileError
from lms.catalogue.limits import BOUNDS
from lms.protocol.grading import Limits

COURSE = """
[course]
key = "ml"
title = "Machine learning"
{course}
[[assignments]]
key = "ps1"
title = "One"
{assignment}
[[offerings]]
key = "ml-2026"
title = "2026"
starts_on = 2026-11-02
ends_on = 2027-02-26
{offering}
"""


def parse(*, course: str = "", assignment: str = "", offering: str = "") -> CourseFile:
    text = COURSE.format(course=course, assignment=assignment, offering=offering)
    return parse_course("course.toml", tomllib.loads(text))


def test_what_the_file_does_not_say_is_left_as_it_is_elsewhere() -> None:
    course = parse()
    assert (course.offerings[0].practice, course.offerings[0].exams) == (None, None)
    assert (course.assignments[0].limits, course.assignments[0].resource) == ({}, "cpu")


def test_practice_exams_and_resource_are_read() -> None:
    course = parse(offering='practice = true\nexams = ["ps1"]', assignment='resource = "gpu"')
    assert (course.offerings[0].practice, course.offerings[0].exams) == (True, ["ps1"])
    assert course.assignments[0].resource == "gpu"
    assert parse(course='compute = { profile = "gpu-small" }').assignments[0].resource == "gpu"


def test_every_limit_can_be_set() -> None:
    values = {name: low for name, (low, _) in BOUNDS.items()}
    limits = ", ".join(f"{name} = {value}" for name, value in values.items())
    course = parse(assignment=f"limits = {{ {limits} }}")
    assert Limits(**course.assignments[0].limits) == Limits(**values)
    assert set(BOUNDS) == set(Limits.__dataclass_fields__)
    for name, (low, high) in BOUNDS.items():
        assert low <= getattr(Limits(), name) <= high


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"assignment": "limits = { cell_seconds = 0 }"}, "from 1 to 21600"),
        ({"assignment": "limits = { cell_seconds = 1.5 }"}, "a whole number is needed"),
        ({"assignment": "limits = { memory_bytes = 1024 }"}, "limits.memory_bytes: a whole number"),
        ({"assignment": "limits = { cell_second = 3 }"}, "no such limit; there are cell_seconds"),
        ({"assignment": "limits = { cell_seconds = 900 }"}, "wall_seconds (300)"),
        ({"assignment": 'resource = "tpu"'}, "one of cpu, gpu is needed"),
        ({"offering": 'practice = "yes"'}, "true or false is needed"),
        ({"offering": 'exams = ["final"]'}, "there is no assignment final"),
    ],
)
def test_what_cannot_be_used_is_named_by_its_place(more: dict[str, str], message: str) -> None:
    with pytest.raises(CourseFileError) as raised:
        parse(**more)
    assert message in str(raised.value)
    assert str(raised.value).startswith("course.toml.")
