"""What may be handed in: names, sizes and kinds, decided from the bytes alone."""

import json
import unicodedata
from collections.abc import Iterable, Mapping

from lms.exchange.errors import BadSubmissionError
from lms.foundation.blobs import Digest, digest_of
from lms.protocol.sentences import sentence

MAX_FILES = 100
MAX_NAME = 200
#: Bytes of one notebook; larger ones almost always carry outputs that grading throws away.
MAX_NOTEBOOK_BYTES = 50 << 20
MAX_TOTAL_BYTES = 60 << 20


def clean_path(name: str) -> str:
    """Return `name` as a relative NFC path; raises BadSubmissionError when it leads elsewhere."""
    path = unicodedata.normalize("NFC", name.replace("\\", "/"))
    parts = path.split("/")
    bad = (
        not path
        or len(path) > MAX_NAME
        or path.startswith("/")
        or any(part in {"", ".", ".."} for part in parts)
        or any(unicodedata.category(letter) in {"Cc", "Cs"} for letter in path)
    )
    if bad:
        raise BadSubmissionError(
            sentence(
                "A file is named “%(name)s”, which cannot be used. Rename it and submit again.",
                name=ascii(name[:60]).strip("'"),
            )
        )
    return path


def check_files(files: Mapping[str, bytes], wanted: Iterable[str]) -> dict[str, bytes]:
    """Return the files under clean names, sorted; raises BadSubmissionError with what to do.

    `wanted` are the names of the release's notebooks without their ending.
    """
    cleaned: dict[str, bytes] = {}
    for name, content in files.items():
        path = clean_path(name)
        if path in cleaned:
            raise BadSubmissionError(
                sentence("Two files are named “%(name)s”. Keep one and submit again.", name=path)
            )
        cleaned[path] = content
    _check_sizes(cleaned)
    names = [f"{name}.ipynb" for name in wanted]
    present = [name for name in names if name in cleaned]
    if not present:
        raise BadSubmissionError(
            sentence(
                "This assignment takes %(wanted)s, and none of the files has that name. "
                "Nothing was submitted; choose the notebook and submit again.",
                wanted=", ".join(names) or "no notebook",
            )
        )
    for name in present:
        _check_notebook(name, cleaned[name])
    return dict(sorted(cleaned.items()))


def submission_digest(files: Mapping[str, bytes]) -> Digest:
    """Return the digest of the list of files: equal for the same names and bytes in any order."""
    listing = [[path, digest_of(files[path])] for path in sorted(files)]
    return digest_of(json.dumps(listing, ensure_ascii=False, separators=(",", ":")).encode())


def _check_sizes(files: Mapping[str, bytes]) -> None:
    if len(files) > MAX_FILES:
        raise BadSubmissionError(
            sentence(
                "There are %(count)s files; at most %(limit)s can be submitted.",
                count=len(files),
                limit=MAX_FILES,
            )
        )
    for path, content in files.items():
        if path.endswith(".ipynb") and len(content) > MAX_NOTEBOOK_BYTES:
            raise BadSubmissionError(
                sentence(
                    "“%(name)s” has %(size)s MB; at most %(limit)s MB can be submitted. "
                    "Clear its outputs (Kernel, Restart and Clear Outputs) and submit again.",
                    name=path,
                    size=len(content) >> 20,
                    limit=MAX_NOTEBOOK_BYTES >> 20,
                )
            )
    if sum(map(len, files.values())) > MAX_TOTAL_BYTES:
        raise BadSubmissionError(
            sentence(
                "The files have more than %(limit)s MB together. "
                "Leave out what the assignment does not ask for and submit again.",
                limit=MAX_TOTAL_BYTES >> 20,
            )
        )


def _check_notebook(name: str, content: bytes) -> None:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or not (
        isinstance(document.get("cells"), list) or isinstance(document.get("worksheets"), list)
    ):
        raise BadSubmissionError(
            sentence(
                "“%(name)s” is not a Jupyter notebook. "
                "Save it in JupyterLab and submit that file; nothing was submitted.",
                name=name,
            )
        )
