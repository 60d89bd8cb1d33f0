"""GET /healthz, for load balancers and scripts."""

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from lms.api.database import system
from lms.bootstrap.health import is_well, report
from lms.identity.access import machine

bp = Blueprint("health", __name__)


@bp.get("/healthz")
@machine
def healthz() -> ResponseReturnValue:
    """Answer 200 when all parts work, else 503; the parts and reasons are in the JSON."""
    parts = report(system())
    ok = is_well(parts)
    answer = jsonify(ok=ok, parts=[part.to_json() for part in parts])
    answer.headers["Cache-Control"] = "no-store"
    return answer, 200 if ok else 503
