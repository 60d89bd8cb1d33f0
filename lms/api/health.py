"""GET /healthz for scripts, GET /healthz/pages for load balancers."""

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from lms.api.database import system
from lms.bootstrap.health import PartHealth, is_well, report, report_pages
from lms.identity.access import machine

bp = Blueprint("health", __name__)


@bp.get("/healthz")
@machine
def healthz() -> ResponseReturnValue:
    """Answer 200 when all parts work, else 503; the parts and reasons are in the JSON."""
    return _answer(report(system()))


@bp.get("/healthz/pages")
@machine
def pages() -> ResponseReturnValue:
    """Answer 200 when pages can be served: what a load balancer asks each copy of them.

    Without Hub or worker people still read, hand in and see results, so neither is asked.
    """
    return _answer(report_pages(system()))


def _answer(parts: list[PartHealth]) -> ResponseReturnValue:
    ok = is_well(parts)
    answer = jsonify(ok=ok, parts=[part.to_json() for part in parts])
    answer.headers["Cache-Control"] = "no-store"
    return answer, 200 if ok else 503
