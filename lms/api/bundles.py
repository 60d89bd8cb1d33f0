"""The signed repository for centres that joined: any part of any of its files.

What is in it proves itself by its signatures; a centre signs each request only so that courses are
not everybody's.
"""

import json
from threading import BoundedSemaphore

from flask import Blueprint, Response, abort, send_file
from werkzeug.security import safe_join

from lms.api.database import reading, system, transaction
from lms.api.sync import recognise
from lms.bootstrap import sync_signer
from lms.centre.errors import RevokedCentreError
from lms.centre.keys import seals_dir
from lms.centre.line import CONTENT_TYPE
from lms.centre.opening import give_codes
from lms.centre.rules import CentreState
from lms.foundation import clock
from lms.identity.access import machine
from lms.outposts.bundles.sealing import Seals

bp = Blueprint("bundles", __name__, url_prefix="/api/sync")

#: Files given out at once by one web process: a thin line holds a thread for as long as it takes.
AT_ONCE = 4
#: What a repository is made of; nothing else of its folder is given out.
_PARTS = ("metadata", "targets", "objects", "deltas", "chunks")
#: Seconds after which who found no place asks again.
_AGAIN = "5"
_places = BoundedSemaphore(AT_ONCE)


@bp.get("/<centre>/bundles/<path:path>")
@machine
def bundle(centre: str, path: str) -> Response:
    """Return a file of the repository, or the range of it that is asked for."""
    with reading() as session:
        found = recognise(session, centre)
        if found.state == CentreState.REVOKED:
            raise RevokedCentreError(found.name)
    file = safe_join(str(system().settings.repository_dir), path)
    if file is None or path.partition("/")[0] not in _PARTS:
        abort(404)
    if not _places.acquire(blocking=False):
        return Response(status=503, headers={"Retry-After": _AGAIN})
    try:
        answer = send_file(file, mimetype="application/octet-stream", max_age=0)
    except OSError:
        _places.release()
        abort(404)
    except BaseException:
        _places.release()
        raise
    # A response that is passed on as a file tells nobody when it is closed.
    answer.direct_passthrough = False
    answer.call_on_close(_places.release)
    answer.headers["Cache-Control"] = "private, no-transform"
    return answer


@bp.get("/<centre>/codes/<course>")
@machine
def codes(centre: str, course: str) -> Response:
    """Return the opening codes of a course that are out by now, for this centre."""
    settings = system().settings
    with transaction() as session:
        found = recognise(session, centre)
        seals, signer = Seals(seals_dir(settings)), sync_signer(settings)
        given = give_codes(session, found, course, seals, signer, now=clock.now())
    text = json.dumps({"codes": [one.code for one in given]})
    return Response(text, content_type=CONTENT_TYPE, headers={"Cache-Control": "no-store"})
