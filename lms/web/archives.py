"""Files as one archive to download."""

import re
from collections.abc import Mapping
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile

from flask import Response


def zip_answer(files: Mapping[str, bytes], name: str) -> Response:
    """Return `files` as `name`.zip."""
    buffer = BytesIO()
    with ZipFile(buffer, "w", ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    response = Response(buffer.getvalue(), content_type="application/zip")
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
    response.headers["Content-Disposition"] = f'attachment; filename="{plain}.zip"'
    return response
