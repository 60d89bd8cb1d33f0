"""Releases that came prepared: what students get lies open, the instructor's files may be sealed.

A bundle for centres carries them as `released/<assignment>.json` and the student's files beside it,
so that a centre teaches central's very release before the hidden tests are opened.
"""

import json
from pathlib import Path
from typing import Any

from lms.catalogue.course_file import is_inside
from lms.catalogue.errors import CourseFileError
from lms.catalogue.publishing import Prepared
from lms.foundation.blobs import BlobStore, digest_of

FOLDER = "released"
_FORMAT = 1


def write_prepared(made: Prepared) -> bytes:
    """Return a prepared release as a file."""
    values = {
        "format": _FORMAT,
        "manifest": made.manifest.decode(),
        "points": made.points,
        "manual_points": made.manual_points,
        "notebooks": made.notebooks,
        "environment": made.environment,
    }
    return (json.dumps(values, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


def read_prepared(folder: Path, key: str, blobs: BlobStore) -> Prepared | None:
    """Return the prepared release of an assignment and keep its files; None: it is to be built.

    Of the instructor's files those are kept that are here. Raises CourseFileError.
    """
    path = folder / FOLDER / f"{key}.json"
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_bytes())
        manifest = json.loads(values["manifest"])
        if values["format"] != _FORMAT:
            raise _broken(key)
        _keep(folder / FOLDER / key, manifest["student"], blobs, key)
        _keep_some(folder / "source" / key, manifest["instructor"], blobs)
        return Prepared(
            manifest=values["manifest"].encode(),
            points=float(values["points"]),
            manual_points=float(values["manual_points"]),
            notebooks=list(values["notebooks"]),
            environment=str(values["environment"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _broken(key) from error


def _keep(folder: Path, files: dict[str, Any], blobs: BlobStore, key: str) -> None:
    for path, digest in files.items():
        if not is_inside(path) or blobs.put((folder / path).read_bytes()) != digest:
            raise _broken(key)


def _keep_some(folder: Path, files: dict[str, Any], blobs: BlobStore) -> None:
    for path, digest in files.items():
        file = folder / path
        if is_inside(path) and file.is_file() and digest_of(content := file.read_bytes()) == digest:
            blobs.put(content)


def _broken(key: str) -> CourseFileError:
    return CourseFileError(f"{FOLDER}/{key}.json", "its files do not fit what it says of them")
