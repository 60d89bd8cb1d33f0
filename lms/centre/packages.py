"""The packages of a course that came with its bundle: its environment is built from them alone."""

import shutil
from collections.abc import Callable
from pathlib import PurePosixPath

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from lms.catalogue.environments import WHEELS
from lms.catalogue.models import Course
from lms.centre.installing import told
from lms.foundation.blobs import BlobStore
from lms.foundation.errors import InvalidError
from lms.outposts.bundles.manifest import Entry
from lms.outposts.bundles.store import Store
from lms.outposts.environments.build import BuildError, build
from lms.outposts.environments.folder import Built, Environments
from lms.outposts.environments.requirements import parse


def build_packages(
    sessions: sessionmaker[Session],
    blobs: BlobStore,
    store: Store,
    environments: Environments,
    course: str,
    on_progress: Callable[[float], None] = lambda _: None,
) -> Built | None:
    """Build the environment of a course that was loaded, if its wheels came and it is not there.

    Asks no index. Raises InvalidError with what is wrong with the wheels; until it is built, what
    needs it waits and nothing is lost.
    """
    with sessions() as session:
        digest = session.scalar(select(Course.environment).where(Course.key == course)) or ""
    wheels = _wheels(store, course)
    if not wheels or environments.has(digest):
        return None
    folder = store.root / "laid" / f"{course}.wheels"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        for entry in wheels:
            # By its own name; the bytes lie in the store and are not copied.
            (folder / PurePosixPath(entry.path).name).symlink_to(store.object(entry.digest))
        return build(environments, parse(blobs.get(digest)), wheels=folder, on_progress=on_progress)
    except BuildError as error:
        raise InvalidError(error.sentence) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wheels(store: Store, course: str) -> list[Entry]:
    with told():
        stands = store.installed(course)
        manifest = store.manifest(stands.digest) if stands else None
    entries = manifest.entries if manifest else ()
    return [one for one in entries if PurePosixPath(one.path).parent.as_posix() == WHEELS]
