"""Files in and out of requests: multipart in, zip archives out, always the same bytes."""

import io
import zipfile
from collections.abc import Mapping
from urllib.parse import unquote

from flask import Response, request

from lms.exchange.rules import clean_path
from lms.foundation.errors import InvalidError
from lms.protocol.sentences import sentence

#: The form field that carries files.
FIELD = "files"
#: Two zips of the same files are the same bytes: no entry says when it was packed.
EPOCH = (1980, 1, 1, 0, 0, 0)


def received_files() -> dict[str, bytes]:
    """Return the request's files under clean paths; raises InvalidError.

    Paths travel percent-encoded in the file name of each part, in UTF-8.
    """
    files: dict[str, bytes] = {}
    for part in request.files.getlist(FIELD):
        path = clean_path(unquote(part.filename or ""))
        if path in files:
            raise InvalidError(
                sentence("Two files are named “%(name)s”. Keep one and send again.", name=path)
            )
        files[path] = part.read()
    if not files:
        raise InvalidError(sentence("No file was sent; choose at least one and send again."))
    return files


def zip_response(files: Mapping[str, bytes], **headers: str) -> Response:
    """Answer with an archive of `files`; underscores in header names stand for dashes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(files):
            entry = zipfile.ZipInfo(path, EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[path])
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(
        content.getvalue(),
        mimetype="application/zip",
        headers={"Cache-Control": "private, no-store", **named},
    )
