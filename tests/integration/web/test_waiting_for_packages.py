"""What a student reads while the environment of the course is not built."""

import pytest

from lms.bootstrap import System
from lms.grading.models import Run
from lms.grading.queue import PARKED
from tests.factories.school import School
from tests.integration.web.conftest import Browser

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", ("packages of this course are not set up here yet", "costs you nothing")),
        ("ko", ("강좌의 패키지가 아직 준비되지 않았습니다",)),
    ],
)
def test_a_submission_that_waits_for_packages_says_so(
    browse: Browser, school: School, system: System, language: str, said: tuple[str, ...]
) -> None:
    with system.sessions() as session:
        run = session.query(Run).filter_by(submission_id=school.submission.id).one()
        run.status, run.resource, run.environment = "queued", PARKED, "sha256:" + "0" * 64
        session.commit()
    page = browse(school.minseo, language).get(f"/submissions/{school.submission.id}").text
    for words in said:
        assert words in page
    assert "next in line" not in page
