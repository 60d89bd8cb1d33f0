"""What a student's copy of an older release needs to become the current one."""

import json
from collections.abc import Mapping
from typing import Any

from lms.catalogue.models import OfferedAssignment, Release
from lms.exchange.errors import NotReleasedError, ReleaseNotFoundError
from lms.foundation.blobs import BlobStore

#: The member of a correction that says what the others are.
CONTENTS = "correction.json"


def find_base(task: OfferedAssignment, since: str) -> Release:
    """Return the release that a copy was made from; the first one when the copy does not know.

    Raises NotReleasedError, and ReleaseNotFoundError for a digest of another assignment.
    """
    if task.release is None:
        raise NotReleasedError
    releases = task.assignment.releases
    if not since:
        return releases[0]
    for release in releases:
        if release.digest == since:
            return release
    raise ReleaseNotFoundError


def correction(blobs: BlobStore, base: Release, current: Release) -> dict[str, bytes]:
    """Return the students' files that differ: notebooks of both releases, data of the new one.

    `old/` and `new/` hold them; CONTENTS says which release is which, and what data files were, so
    that a copy can be told from a student's own work without sending the old data.
    """
    old, new = (_student_files(blobs, release) for release in (base, current))
    changed = [path for path in new if old.get(path) != new[path]]
    files = {f"new/{path}": blobs.get(new[path]) for path in changed}
    notebooks = [path for path in changed if path.endswith(".ipynb") and path in old]
    files |= {f"old/{path}": blobs.get(old[path]) for path in notebooks}
    contents: dict[str, object] = {
        "from": base.digest,
        "to": current.digest,
        "number": current.number,
        "notebooks": sorted(notebooks),
        "data": {path: old.get(path) for path in sorted(set(changed) - set(notebooks))},
        "removed": sorted(set(old) - set(new)),
    }
    return files | {CONTENTS: json.dumps(contents, ensure_ascii=False).encode()}


def _student_files(blobs: BlobStore, release: Release) -> Mapping[str, str]:
    manifest: dict[str, Any] = json.loads(blobs.get(release.digest))
    files: dict[str, str] = manifest["student"]
    return files
