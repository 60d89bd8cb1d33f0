"""Contract: the exchange API's refusals and shapes, over real HTTP."""

import json
import unicodedata
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner
from traitlets.config import Config

from lms.cli.submit import submit as submit_command
from lms.exchange.models import Submission
from lms.foundation.errors import LmsError
from lms.identity.models import SignIn
from lms.identity.service import find_person
from lms.outposts.notebook.client import ExchangeApiError, encode_files
from tests.factories import notebook
from tests.fakes.exchange_lms import NOW, PASSWORD, Lms, graded

# --- who may ---


@pytest.mark.parametrize("name", ["minsu", "sua"])
def test_who_does_not_teach_can_neither_release_nor_collect(lms: Lms, name: str) -> None:
    made = lms.api("jiwoo").submit("py-2026", "ps1", {"ps1.ipynb": notebook("mine")})
    api = lms.api(name)
    for refused in (
        lambda: api.publish_release("py-2026", "ps1", {"ps1.ipynb": notebook("x")}),
        lambda: api.list_received("py-2026", "ps1"),
        lambda: api.fetch_submission("py-2026", "ps1", made["submission"]),
    ):
        with pytest.raises(ExchangeApiError) as caught:
            refused()
        assert caught.value.status in {403, 404}


def test_a_student_cannot_see_anothers_attempt_or_feedback(lms: Lms) -> None:
    lms.api("minsu").submit("py-2026", "ps1", {"ps1.ipynb": notebook("a")})
    graded(lms)
    assert lms.api("minsu").fetch_feedback("py-2026", "ps1", 1) == {"ps1.html": b"<p>well done</p>"}
    with pytest.raises(ExchangeApiError, match="not yours to see"):
        lms.api("jiwoo").fetch_feedback("py-2026", "ps1", 1)
    (listed,) = lms.api("jiwoo").list_assignments("py-2026")
    assert listed["submissions"] == []


def test_while_a_run_is_held_its_feedback_is_not_handed_out(lms: Lms) -> None:
    lms.api("minsu").submit("py-2026", "ps1", {"ps1.ipynb": notebook("a")})
    graded(lms, held=True)
    (listed,) = lms.api("minsu").list_assignments("py-2026")
    assert [one["feedback"] for one in listed["submissions"]] == [{}]
    with pytest.raises(ExchangeApiError, match="A person looks at this submission first"):
        lms.api("minsu").fetch_feedback("py-2026", "ps1", 1)


# --- who is it ---


def test_only_a_token_counts_and_it_decides_who_submits(lms: Lms) -> None:
    url = f"{lms.url}/api/exchange/py-2026/ps1/submissions"
    body, kind = encode_files({"ps1.ipynb": notebook("a")})
    headers = {"Content-Type": kind, "Cookie": "seodang=whatever"}
    assert requests.post(url, data=body, headers=headers, timeout=10).status_code == 401
    for bad in ("Bearer nonsense", "Basic dDp0", "Bearer ", "Bearer " + "x" * 5000):
        answer = requests.post(url, data=body, headers=headers | {"Authorization": bad}, timeout=10)
        assert answer.status_code == 401, bad
        assert "과정 페이지에서" in answer.json()["error"]["message"]


def test_the_hub_is_not_asked_again_at_once(lms: Lms) -> None:
    for _ in range(5):
        lms.api("minsu").list_courses()
    assert lms.hub.asked == 1


def test_a_hub_that_is_down_is_said_and_nothing_is_lost(lms: Lms) -> None:
    lms.hub.down = True
    with pytest.raises(ExchangeApiError, match="Hub does not answer") as caught:
        lms.api("minsu").list_courses()
    assert caught.value.status == 503


def test_a_disabled_person_is_refused_although_the_hub_still_knows_the_token(lms: Lms) -> None:
    lms.api("minsu").list_courses()
    with lms.sessions()() as session:
        person = find_person(session, "minsu")
        assert person is not None
        person.disabled_at = NOW
        session.commit()
    with pytest.raises(ExchangeApiError, match="disabled"):
        lms.api("minsu").list_courses()


# --- hostile files ---


@pytest.mark.parametrize(
    "name", ["../ps1.ipynb", "/etc/passwd", "a/../../b", "a\0b.ipynb", "a\nb.ipynb", "", "x/./y"]
)
def test_a_name_that_leads_elsewhere_is_refused(lms: Lms, name: str) -> None:
    with pytest.raises(ExchangeApiError) as caught:
        lms.api("minsu").submit("py-2026", "ps1", {"ps1.ipynb": notebook(), name: b"x"})
    assert caught.value.status == 400
    with lms.sessions()() as session:
        assert session.query(Submission).count() == 0


def test_a_decomposed_korean_name_arrives_composed(lms: Lms) -> None:
    name = unicodedata.normalize("NFD", "한글.txt")
    lms.api("minsu").submit("py-2026", "ps1", {"ps1.ipynb": notebook(), name: b"x"})
    with lms.sessions()() as session:
        assert "한글.txt" in [file["path"] for file in session.query(Submission).one().files]


def test_too_many_and_too_large_files_are_refused(lms: Lms) -> None:
    many = {f"f{n}.txt": b"" for n in range(200)} | {"ps1.ipynb": notebook()}
    with pytest.raises(ExchangeApiError, match="at most"):
        lms.api("minsu").submit("py-2026", "ps1", many)
    with pytest.raises(ExchangeApiError) as caught:
        lms.api("minsu").submit("py-2026", "ps1", {"ps1.ipynb": b"x" * (65 << 20)})
    assert caught.value.status == 413


def test_archives_of_the_same_files_are_the_same_bytes(lms: Lms) -> None:
    url = f"{lms.url}/api/exchange/py-2026/ps1/release"
    headers = {"Authorization": "Bearer t-minsu"}
    first = requests.get(url, headers=headers, timeout=10)
    assert first.content == requests.get(url, headers=headers, timeout=10).content
    assert first.headers["X-Release"].startswith("sha256:")
    with zipfile.ZipFile(BytesIO(first.content)) as archive:
        assert archive.namelist() == ["data/점수.csv", "ps1.ipynb"]
        assert b"hidden" not in archive.read("ps1.ipynb")


# --- lms submit ---


def test_lms_submit_uses_the_notebook_servers_own_token(
    lms: Lms, as_person: Callable[[str], Config], tmp_path: Path
) -> None:
    as_person("minsu")
    file = tmp_path / "ps1.ipynb"
    file.write_bytes(notebook("shell"))
    done = CliRunner().invoke(submit_command, ["py-2026", "ps1", str(file), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["student"] == "minsu"
    with lms.sessions()() as session:
        assert session.query(Submission).one().via == "command"


def test_lms_submit_asks_for_a_password_elsewhere_and_ends_its_sign_in(
    lms: Lms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JUPYTERHUB_API_TOKEN", raising=False)
    file = tmp_path / "ps1.ipynb"
    file.write_bytes(notebook("shell"))
    words = ["py-2026", "ps1", str(file), "--server", lms.url, "--username", "jiwoo"]
    wrong = CliRunner().invoke(submit_command, words, input="guess\n")
    assert isinstance(wrong.exception, LmsError)
    done = CliRunner().invoke(submit_command, words, input=f"{PASSWORD}\n")
    assert done.exit_code == 0, done.output
    assert "Attempt 1 at py-2026/ps1" in done.stdout
    with lms.sessions()() as session:
        assert session.query(SignIn).one().ended_at is not None
