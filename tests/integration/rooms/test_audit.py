"""The audit log and grade receipts: one chain, whatever happens at once, and every change shows."""

import json
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session, sessionmaker

from lms.bootstrap import make_bus
from lms.foundation.db import make_sessions, transaction
from lms.foundation.errors import ConflictError, InvalidError, NotFoundError
from lms.foundation.signing import SigningKeys, canonical, read_public_keys, read_signed
from lms.grading.audit import NOTHING, Act, append, check_chain
from lms.grading.cache import Recipe, Turn, begin, make_recipe
from lms.grading.checking import AuditReport, check_log
from lms.grading.holds import release
from lms.grading.models import AuditEntry, CellScore, GradeReceipt, Run
from lms.grading.queue import Claim
from lms.grading.receipts import FORMAT, Recorder, get_receipt
from lms.grading.service import fail, finish
from lms.grading.values import Finding
from lms.identity.models import Person
from lms.identity.scopes import SYSTEM
from lms.protocol.grading import Integrity, Limits
from lms.protocol.sentences import sentence
from tests.factories import actor_of, make_offering, make_person, make_submission, make_task
from tests.factories.grading import claimed, finding

ISSUER = "https://lms.example.kr"


@pytest.fixture
def keys(tmp_path: Path) -> SigningKeys:
    return SigningKeys(tmp_path / "private", tmp_path / "public")


@pytest.fixture
def signing(engine: Engine, keys: SigningKeys, now: datetime) -> sessionmaker[Session]:
    """Sessions of a system that signs receipts."""
    recorder = Recorder(signer=lambda: keys.signer(now), issuer=ISSUER)
    return make_sessions(engine, make_bus(recorder))


def _grade(
    session: Session,
    now: datetime,
    integrity: Integrity = Integrity.VERIFIED,
) -> tuple[Run, Person]:
    task = make_task(session, make_offering(session))
    session.refresh(task, ["assignment"])
    # A long word: a short number would now and then stand inside a digest by chance.
    student = make_person(session, display_name="Haneulbyeol")
    submission = make_submission(session, task, student)
    claim = claimed(session, submission, now)
    recipe = make_recipe(
        source="sha256:s", tests="sha256:t", submission=submission.digest, limits=Limits()
    )
    assert finish(session, claim, [finding(integrity)], now=now, recipe=recipe)
    return session.get_one(Run, claim.run_id), student


def _check(session: Session, keys: SigningKeys, **more: str) -> AuditReport:
    session.flush()
    session.expire_all()
    return check_log(session, read_public_keys(json.dumps(keys.published())), **more)


def test_a_receipt_says_what_was_graded_how_and_with_what_result(
    signing: sessionmaker[Session], keys: SigningKeys, now: datetime
) -> None:
    with signing() as session:
        run, student = _grade(session, now)
        receipt = get_receipt(session, run.submission_id, actor=actor_of(student))
        record = read_signed(receipt.document, read_public_keys(json.dumps(keys.published())))
        entry = session.get_one(AuditEntry, receipt.sequence)
        assert (record["format"], record["issuer"], record["id"]) == (FORMAT, ISSUER, run.audit_id)
        assert record["previous"] == entry.previous_hash == NOTHING
        assert record["digests"]["source"] == "sha256:s"
        assert record["digests"]["environment"].startswith("sha256:")
        assert record["limits"]["cell_seconds"] == 30
        assert (record["status"], record["score"], record["integrity"]) == (
            "graded",
            2.0,
            "verified",
        )
        assert record["notebooks"][0]["cells"][0] == {
            "grade_id": "q1",
            "auto_score": 2.0,
            "max_score": 2.0,
            "needs_manual": False,
            "integrity": "verified",
        }
        names = (student.username, student.display_name)
        assert not any(name in receipt.document for name in names)


def test_a_changed_receipt_and_a_strangers_key_are_told(
    signing: sessionmaker[Session], keys: SigningKeys, now: datetime, tmp_path: Path
) -> None:
    with signing() as session:
        run, student = _grade(session, now)
        text = get_receipt(session, run.submission_id, actor=actor_of(student)).document
    trusted = read_public_keys(json.dumps(keys.published()))
    better = text.replace('"score": 2.0', '"score": 5.0')
    assert better != text
    with pytest.raises(InvalidError, match="changed after it was signed"):
        read_signed(better, trusted)
    strange = SigningKeys(tmp_path / "strange", tmp_path / "strange")
    strange.rotate(now)
    with pytest.raises(InvalidError, match="none of the trusted keys"):
        read_signed(text, read_public_keys(json.dumps(strange.published())))
    for broken in ("", "[]", "{}", '{"record": {}, "signature": {}}', "x" * 10):
        with pytest.raises(InvalidError, match="not a signed receipt"):
            read_signed(broken, trusted)
    # Spaces and the order of keys are no change.
    again = json.dumps(json.loads(text), sort_keys=False)
    assert canonical(read_signed(again, trusted)) == canonical(json.loads(text)["record"])


def test_after_a_rotation_old_receipts_still_hold(
    signing: sessionmaker[Session], keys: SigningKeys, now: datetime
) -> None:
    with signing() as session:
        _grade(session, now)
        newer = keys.rotate(now)
        _grade(session, now)
        used = session.scalars(select(GradeReceipt.key_id).order_by(GradeReceipt.run_id)).all()
        assert used[0] != newer == used[1]
        assert _check(session, keys).ok
        assert [bool(key.get("retired_at")) for key in keys.published()["keys"]] == [False, True]
    assert (keys.private_dir / "receipt_key.json").stat().st_mode & 0o777 == 0o600


def test_a_held_runs_receipt_waits_for_the_person(
    signing: sessionmaker[Session], now: datetime
) -> None:
    with signing() as session:
        run, student = _grade(session, now, Integrity.UNVERIFIED)
        with pytest.raises(ConflictError):
            get_receipt(session, run.submission_id, actor=actor_of(student))
        assert get_receipt(session, run.submission_id, actor=SYSTEM).run_id == run.id
        release(session, run.id, actor=SYSTEM, now=now)
        assert get_receipt(session, run.submission_id, actor=actor_of(student)).run_id == run.id
        with pytest.raises(NotFoundError):
            get_receipt(session, run.submission_id, actor=actor_of(make_person(session)))


def test_a_run_that_failed_is_recorded_too(
    signing: sessionmaker[Session], keys: SigningKeys, now: datetime
) -> None:
    with signing() as session:
        task = make_task(session, make_offering(session))
        session.refresh(task, ["assignment"])
        claim = claimed(session, make_submission(session, task, make_person(session)), now)
        assert fail(session, claim, sentence("It broke."), now=now)
        assert session.scalar(select(func.count()).select_from(GradeReceipt)) == 1
        assert _check(session, keys).ok


def test_what_is_rolled_back_leaves_no_gap(sessions: sessionmaker[Session], now: datetime) -> None:
    with sessions() as session:
        append(session, Act.FINISHED, {"run": "a"}, now=now)
        session.commit()
        append(session, Act.FINISHED, {"run": "b"}, now=now)
        session.rollback()
        append(session, Act.FINISHED, {"run": "c"}, now=now)
        session.commit()
        head, flaws = check_chain(session)
        assert (head.sequence, flaws) == (2, [])


def test_many_writers_at_once_make_one_chain(
    sessions: sessionmaker[Session], now: datetime
) -> None:
    errors: list[BaseException] = []

    def write(name: str) -> None:
        try:
            for number in range(10):
                with transaction(sessions) as session:
                    append(session, Act.FINISHED, {"run": f"{name}-{number}"}, now=now)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=write, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    with sessions() as session:
        head, flaws = check_chain(session)
        assert (head.sequence, flaws) == (40, [])


def test_the_same_bytes_at_once_are_run_once_and_every_end_is_written_down(
    signing: sessionmaker[Session], keys: SigningKeys, now: datetime
) -> None:
    with transaction(signing) as session:
        task = make_task(session, make_offering(session))
        session.refresh(task, ["assignment"])
        claims = [
            claimed(session, make_submission(session, task, make_person(session)), now)
            for _ in range(8)
        ]
    recipe = make_recipe(source="s", tests="t", submission="u", limits=Limits())
    ran: list[int] = []
    errors: list[BaseException] = []

    def work(mine: list[Claim]) -> None:
        try:
            for claim in mine:
                found = _wait_for(signing, recipe, claim, now)
                if not found:
                    ran.append(claim.run_id)
                with transaction(signing) as session:
                    assert finish(session, claim, found or [finding()], now=now, recipe=recipe)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(claims[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert errors == []
    assert len(ran) == 1
    with signing() as session:
        report = _check(session, keys)
        assert (report.flaws, report.entries, report.receipts) == ([], 8, 8)


def _wait_for(
    sessions: sessionmaker[Session], recipe: Recipe, claim: Claim, now: datetime
) -> list[Finding]:
    while True:
        with transaction(sessions) as session:
            turn = begin(session, recipe, claim, now=now)
        if not isinstance(turn, Turn):
            return list(turn)
        if turn is Turn.RUN:
            return []
        time.sleep(0.02)


def _change_body(session: Session) -> None:
    session.execute(update(AuditEntry).where(AuditEntry.sequence == 2).values(body='{"run":"x"}'))


def _drop_entry(session: Session) -> None:
    session.execute(update(AuditEntry).where(AuditEntry.sequence == 3).values(sequence=99))


def _change_score(session: Session) -> None:
    session.execute(update(Run).values(score=5.0))


def _change_cell(session: Session) -> None:
    session.execute(update(CellScore).values(auto_score=1.0))


def _change_receipt(session: Session) -> None:
    receipt = session.scalars(select(GradeReceipt)).first()
    assert receipt is not None
    receipt.document = receipt.document.replace('"score": 2.0', '"score": 3.0')


def _change_decision(session: Session) -> None:
    session.execute(update(Run).where(Run.verdict.is_not(None)).values(verdict_reason="Other."))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_change_body, "it was changed"),
        (_drop_entry, "an entry before it is missing"),
        (_change_score, "stored as score differs from its receipt"),
        (_change_cell, "stored as notebooks differs from its receipt"),
        (_change_receipt, "its receipt was changed"),
        (_change_decision, "who decided, what or why was changed"),
    ],
)
def test_every_change_of_what_was_written_down_is_found(
    signing: sessionmaker[Session],
    keys: SigningKeys,
    now: datetime,
    change: Callable[[Session], None],
    problem: str,
) -> None:
    with signing() as session:
        run, _ = _grade(session, now, Integrity.UNVERIFIED)
        release(session, run.id, actor=SYSTEM, now=now, reason="I looked.")
        report = _check(session, keys)
        assert (report.ok, report.entries, report.receipts) == (True, 3, 1)
        change(session)
        report = _check(session, keys)
        assert not report.ok
        assert any(problem in flaw.problem for flaw in report.flaws), report.flaws


def test_a_head_noted_down_shows_that_the_end_was_cut_off(
    signing: sessionmaker[Session], keys: SigningKeys, now: datetime
) -> None:
    with signing() as session:
        _grade(session, now)
        noted = _check(session, keys).head.hash
        assert _check(session, keys, known_head=noted).ok
        assert not _check(session, keys, known_head="sha256:" + "1" * 64).ok
