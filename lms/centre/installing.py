"""A pulled bundle becomes a course of this box, loaded from its files as any course folder is."""

import base64
import binascii
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from lms.catalogue.environments import WHEELS
from lms.catalogue.loading import Loaded, import_tree
from lms.catalogue.models import Assignment, Course, Release
from lms.catalogue.service import is_sealed
from lms.centre.corrections import follow_corrections
from lms.centre.models import CentreSelf
from lms.foundation.blobs import BlobStore
from lms.foundation.db import transaction
from lms.foundation.errors import InvalidError, NotFoundError
from lms.grading.queue import unpark_sealed
from lms.identity.scopes import SYSTEM
from lms.outposts.bundles.problems import BundleError
from lms.outposts.bundles.store import Store
from lms.outposts.bundles.trust import Trust
from lms.protocol.sentences import sentence


@contextmanager
def told() -> Iterator[None]:
    """Turn what bundles say into an error of ours, with the same sentence."""
    try:
        yield
    except BundleError as error:
        raise InvalidError(error.sentence) from error


def read_root(repository: Path) -> str:
    """Return the newest root of a repository for tickets, base64; raises NotFoundError."""
    roots = {
        int(number): path
        for path in (repository / "metadata").glob("*.root.json")
        if (number := path.name.partition(".")[0]).isdigit()
    }
    if not roots:
        raise NotFoundError(
            sentence(
                "%(folder)s holds no signed bundles. Make them with lms bundle build.",
                folder=str(repository),
            )
        )
    return base64.b64encode(roots[max(roots)].read_bytes()).decode()


def begin_trust(store: Store, me: CentreSelf) -> None:
    """Trust the root and the time of this box's ticket, once; later roots come signed.

    Raises InvalidError when the ticket named no root.
    """
    if (store.root / "root.json").exists():
        return
    if not me.root:
        raise InvalidError(
            sentence(
                "This centre's ticket names no signed repository, so no bundle can be trusted. "
                "Ask central for a new ticket made with lms centre invite --bundles REPOSITORY."
            )
        )
    try:
        root = base64.b64decode(me.root, validate=True)
    except binascii.Error as error:
        raise InvalidError(sentence("The repository's root in the ticket is damaged.")) from error
    with told():
        Trust(store.root, store.disk).begin(root, me.signed_at)


def install(
    sessions: sessionmaker[Session], blobs: BlobStore, store: Store, course: str, *, now: datetime
) -> Loaded | None:
    """Load the version of a course that stands in the store; None when it is loaded already.

    Cut off anywhere, the next call does it again: what is loaded twice changes nothing. Raises
    InvalidError, or CourseFileError when this software cannot read the course.
    """
    with told():
        stands = store.installed(course)
        if stands is None:
            return None
        manifest = store.manifest(stands.digest)
        note = store.root / "loaded" / course
        # What is opened later is loaded once more, with what was closed before.
        state = " ".join((stands.digest, *store.opened(manifest)))
        if note.exists() and note.read_text("ascii") == state:
            return None
        # Named as the course: a course folder's name is its key.
        folder = store.root / "laid" / course
        shutil.rmtree(folder, ignore_errors=True)
        try:
            store.lay_out(manifest, folder, without=WHEELS)
            for seal in store.opened(manifest):
                with store.unsealed(manifest, seal) as opened:
                    _keep_sealed(sessions, blobs, course, opened.contents())
            with transaction(sessions) as session:
                loaded = import_tree(session, blobs, folder, actor=SYSTEM, now=now)
                follow_corrections(session, blobs, folder, now=now)
                for release in _releases(session, course):
                    if not is_sealed(blobs, release.digest):
                        unpark_sealed(session, release.digest)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        store.disk.write(note, state.encode("ascii"))
    return loaded


def _keep_sealed(
    sessions: sessionmaker[Session], blobs: BlobStore, course: str, contents: dict[str, Path]
) -> None:
    """Keep what earlier releases of a course lack, too: work was handed in for them."""
    with sessions() as session:
        for release in _releases(session, course):
            if is_sealed(blobs, release.digest):
                for digest in json.loads(blobs.get(release.digest))["instructor"].values():
                    path = contents.get(digest.removeprefix("sha256:"))
                    if path is not None:
                        blobs.put(path.read_bytes())


def _releases(session: Session, course: str) -> Sequence[Release]:
    return session.scalars(
        select(Release)
        .join(Assignment, Assignment.id == Release.assignment_id)
        .join(Course, Course.id == Assignment.course_id)
        .where(Course.key == course)
    ).all()
