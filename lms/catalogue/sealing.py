"""Which files of a course folder travel closed, and the open releases that take their place."""

from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path

from lms.catalogue.course_file import AssignmentFile, read_course
from lms.catalogue.environments import keep, load_requirements
from lms.catalogue.loading import build_for
from lms.catalogue.publishing import prepare
from lms.catalogue.sealed import FOLDER, write_prepared
from lms.foundation.blobs import BlobStore
from lms.outposts.runner.release import BuiltRelease


def seal_course(
    folder: Path, files: Mapping[str, Path], scratch: Path, *, today: date
) -> tuple[dict[str, Path], dict[str, datetime]]:
    """Return the files of a course's bundle, and until when some of them stay closed.

    Of an assignment with `sealed_until`, whatever students do not get as it is; the release that
    they get, made as it is at central, lies in the open beside it. Raises CourseFileError.
    """
    if not (folder / "course.toml").is_file():
        return dict(files), {}
    entry = read_course(folder, today=today)
    blobs = BlobStore(scratch / "blobs")
    requirements = load_requirements(folder, entry)
    environment = "" if requirements is None else keep(blobs, requirements)
    found, sealed = dict(files), dict[str, datetime]()
    for one in entry.assignments:
        if one.sealed_until is None:
            continue
        built = build_for(folder, one.key, entry.key, environment)
        found |= _open_files(one, built, blobs, scratch)
        for path in files:
            if path.startswith(f"source/{one.key}/"):
                inner = path.removeprefix(f"source/{one.key}/")
                if built.student_files.get(inner) != files[path].read_bytes():
                    sealed[path] = one.sealed_until
    return found, sealed


def _open_files(
    entry: AssignmentFile, built: BuiltRelease, blobs: BlobStore, scratch: Path
) -> dict[str, Path]:
    made = prepare(blobs, entry.key, entry.limits, built)
    contents = {f"{FOLDER}/{entry.key}.json": write_prepared(made)}
    for path, content in built.student_files.items():
        contents[f"{FOLDER}/{entry.key}/{path}"] = content
    for path, content in contents.items():
        (scratch / path).parent.mkdir(parents=True, exist_ok=True)
        (scratch / path).write_bytes(content)
    return {path: scratch / path for path in contents}
