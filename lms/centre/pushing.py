"""Pushing over the line: the journal first, then the blobs that central asks for.

A cut costs one request: both go on where they stopped.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from sqlalchemy.orm import Session, sessionmaker

from lms.centre.erasure import obey
from lms.centre.models import CentreSelf
from lms.centre.rules import clock_error
from lms.centre.sending import Answer, make_parcel, newest, read_answer, sign_request
from lms.centre.tickets import get_self
from lms.foundation import clock
from lms.foundation.blobs import BlobStore
from lms.foundation.db import transaction
from lms.foundation.errors import ConflictError, UnavailableError
from lms.foundation.signing import Signer, SigningKeys
from lms.protocol.sentences import Sentence, sentence

#: Bytes of a blob in one request: what a cut line costs at most.
CHUNK = 256 << 10
#: Tries of one exchange before the push gives up; the next one goes on where it stopped.
_TRIES = 5


class Line(Protocol):
    """The way to central."""

    def call(self, method: str, path: str, body: bytes, header: str) -> bytes:
        """Return the answer's bytes; raises UnavailableError when there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What a push has brought about."""

    records: int
    blobs: int
    #: Records that central has with everything that belongs to them, of how many.
    complete: int
    newest: int
    #: What is wrong with this machine's clock.
    clock: Sentence | None = None


@dataclass(slots=True, kw_only=True)
class Push:
    """One push of this centre."""

    sessions: sessionmaker[Session]
    blobs: BlobStore
    line: Line
    signer: Signer
    receipt_keys: SigningKeys
    tell: Callable[[str], None] = lambda _what: None
    _clock: Sentence | None = None

    def run(self) -> Pushed:
        """Send what central lacks; raises ConflictError when central refuses it."""
        with self.sessions() as session:
            me = get_self(session)
            root = f"/api/sync/{me.centre}"
            epoch, last = me.epoch, newest(session, me)
        answer = self._ask("GET", f"{root}/state?epoch={epoch}", b"")
        records = 0
        while (parcel := self._next(answer)) is not None:
            before = answer.to
            answer = self._ask("POST", f"{root}/journal", parcel)
            if answer.to <= before:
                break
            records += answer.to - before
            self.tell(f"{answer.to} of {max(last, answer.to)} records")
        sent = self._send_blobs(root, answer)
        answer = self._ask("GET", f"{root}/state?epoch={epoch}", b"")
        with self.sessions() as session:
            return Pushed(
                records=records,
                blobs=sent,
                complete=answer.complete,
                newest=newest(session, get_self(session)),
                clock=self._clock,
            )

    def _next(self, answer: Answer) -> bytes | None:
        with self.sessions() as session:
            return make_parcel(
                session,
                get_self(session),
                self.signer,
                after=answer.to,
                receipt_keys=self.receipt_keys.published(),
            )

    def _send_blobs(self, root: str, answer: Answer) -> int:
        sent = 0
        for digest in answer.wanted:
            if digest in self.blobs:
                self._send_blob(root, digest)
                sent += 1
                self.tell(f"{sent} of {len(answer.wanted)} files")
        return sent

    def _send_blob(self, root: str, digest: str) -> None:
        content = self.blobs.get(digest)
        name = digest.removeprefix("sha256:")
        have = int(self._call("GET", f"{root}/blobs/{name}", b""))
        for _ in range(len(content) // CHUNK + _TRIES):
            chunk = content[have : have + CHUNK]
            path = f"{root}/blobs/{name}?offset={have}&total={len(content)}"
            have = int(self._call("PUT", path, chunk))
            if have >= len(content):
                return
        raise UnavailableError(sentence("Central does not take the file %(name)s.", name=name[:16]))

    def _ask(self, method: str, path: str, body: bytes) -> Answer:
        """Ask for central's signed answer, note it and do what it orders."""
        text = self._call(method, path, body).decode()
        with transaction(self.sessions) as session:
            me = get_self(session)
            answer = read_answer(session, me, text, now=clock.now())
            gone = obey(session, me, answer.orders, now=clock.now())
        self._clock = _clock_sentence(clock_error(clock.now(), answer.signed_at))
        for digest in gone:
            self.blobs.remove(digest)
        _stop_if_refused(self.sessions)
        return answer

    def _call(self, method: str, path: str, body: bytes) -> bytes:
        with self.sessions() as session:
            centre = get_self(session).centre
        header = sign_request(self.signer, centre, method, path)
        for attempt in range(1, _TRIES + 1):
            try:
                return self.line.call(method, path, body, header)
            except UnavailableError:
                if attempt == _TRIES:
                    raise
        raise AssertionError("unreachable")


def _clock_sentence(off: timedelta) -> Sentence | None:
    if not off:
        return None
    wrong = sentence(
        "This machine's clock is %(hours)s hours ahead of central's. Set it: what is handed in "
        "meanwhile gets the time at which it comes to central.",
        hours=f"{off.total_seconds() / 3600:.1f}",
    )
    if off < timedelta():
        wrong = sentence(
            "This machine's clock is %(hours)s hours behind central's. Set it: nobody can tell "
            "whether what is handed in meanwhile is in time.",
            hours=f"{-off.total_seconds() / 3600:.1f}",
        )
    return wrong


def _stop_if_refused(sessions: sessionmaker[Session]) -> None:
    with sessions() as session:
        me: CentreSelf = get_self(session)
        if me.refusal is not None:
            raise ConflictError(Sentence.from_json(me.refusal))
