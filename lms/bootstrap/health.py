"""Does every part work: what /healthz, the status page and `lms status` say."""

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import requests
from sqlalchemy import select

from lms.bootstrap import System
from lms.foundation import clock
from lms.grading.models import WorkerBeat
from lms.protocol.sentences import Sentence, sentence

#: A worker that has not been heard of for this long does not work.
SILENCE = timedelta(seconds=45)
#: After this long a silent worker counts as one that was taken away.
GONE = timedelta(hours=1)
_HUB_SECONDS = 3
#: Said of a part that nothing can be seen of, since another does not answer.
UNKNOWN = sentence("Not known while the database or the worker does not answer.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartHealth:
    """Whether one part works; `reason` says what is wrong, or what is missing though it works."""

    name: str
    ok: bool
    reason: Sentence | None = None

    def to_json(self) -> dict[str, object]:
        """Return the shape of /healthz."""
        return {
            "name": self.name,
            "ok": self.ok,
            "reason": None if self.reason is None else str(self.reason),
        }


def report(system: System) -> list[PartHealth]:
    """Return how every part is: database, blobs, hub, worker, sandbox."""
    database = _database(system)
    worker, sandbox = _worker(system) if database.ok else _unknown()
    return [database, _blobs(system), _hub(system), worker, sandbox]


def report_pages(system: System) -> list[PartHealth]:
    """Return how that is without which no page can be served, and nothing else."""
    return [_database(system), _blobs(system)]


def is_well(parts: Sequence[PartHealth]) -> bool:
    """Say whether all parts work."""
    return all(part.ok for part in parts)


def _database(system: System) -> PartHealth:
    def ask() -> None:
        with system.sessions() as session:
            session.execute(select(1))

    return _try(
        "database", ask, "The database does not answer: %(why)s. Look at its log and its disk."
    )


def _blobs(system: System) -> PartHealth:
    def ask() -> None:
        # A real write: a full or read-only disk is what stops people from handing in.
        with tempfile.NamedTemporaryFile(dir=system.blobs.root, prefix=".health-") as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())

    return _try("blobs", ask, "Nothing can be stored: %(why)s. Free some disk space.")


def _hub(system: System) -> PartHealth:
    url = system.settings.hub_health_url

    def ask() -> None:
        requests.get(url, timeout=_HUB_SECONDS).raise_for_status()

    return _try("hub", ask, "JupyterHub does not answer: see hub.log and proxy.log. %(why)s")


def _worker(system: System) -> tuple[PartHealth, PartHealth]:
    now = clock.now()
    with system.sessions() as session:
        beats = session.scalars(
            select(WorkerBeat).where(WorkerBeat.at > now - GONE).order_by(WorkerBeat.name)
        ).all()
    living = [beat for beat in beats if now - beat.at <= SILENCE]
    if not living:
        reason = sentence(
            "No grading worker has been heard of for %(seconds)s seconds. "
            "Submissions are kept and will be graded once it is back.",
            seconds=int(SILENCE.total_seconds()),
        )
        return PartHealth(name="worker", ok=False, reason=reason), _unknown()[1]
    missing = [Sentence.from_json(entry) for beat in living for entry in beat.missing]
    return _silent([beat.name for beat in beats if beat not in living]), PartHealth(
        name="sandbox",
        # The operator may have allowed grading without one; every such result is marked.
        ok=all(beat.sandbox_ok for beat in living) or system.settings.unsafe_grading,
        reason=missing[0] if missing else None,
    )


def _silent(names: Sequence[str]) -> PartHealth:
    if not names:
        return PartHealth(name="worker", ok=True)
    reason = sentence(
        "%(names)s has not been heard of for %(seconds)s seconds; other workers grade. "
        "What only it can grade is kept until it is back.",
        names=", ".join(names),
        seconds=int(SILENCE.total_seconds()),
    )
    return PartHealth(name="worker", ok=False, reason=reason)


def _unknown() -> tuple[PartHealth, PartHealth]:
    return PartHealth(name="worker", ok=False, reason=UNKNOWN), PartHealth(
        name="sandbox", ok=False, reason=UNKNOWN
    )


def _try(name: str, ask: Callable[[], None], template: str) -> PartHealth:
    try:
        ask()
    except Exception as error:  # noqa: BLE001 - whatever is wrong is what the page has to say
        why = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        return PartHealth(name=name, ok=False, reason=Sentence(template, {"why": why}))
    return PartHealth(name=name, ok=True)
