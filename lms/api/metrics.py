"""GET /metrics for Prometheus: read off the database, so every process of ours answers the same."""

import hmac

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from lms.api.compute_metrics import ComputeMetrics
from lms.api.database import reading, system
from lms.compute.profiles import terms
from lms.foundation import clock
from lms.foundation.errors import ForbiddenError
from lms.identity.access import machine
from lms.protocol.sentences import sentence

bp = Blueprint("metrics", __name__)

_LOOPBACK = frozenset({"127.0.0.1", "::1"})
#: What a proxy in front adds: then the address is the proxy's and says nothing.
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")


@bp.get("/metrics")
@machine
def metrics() -> ResponseReturnValue:
    """Answer with the figures; for this machine, or whoever shows the operator's token."""
    if not (_is_local() or _shows_token()):
        raise ForbiddenError(
            sentence("Metrics are for this machine, or for whoever shows LMS_METRICS_TOKEN.")
        )
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    registry = CollectorRegistry()
    with reading() as session:
        registry.register(ComputeMetrics(session, terms(), clock.now()))
        body = encode(registry)
    return Response(body, content_type=content_type, headers={"Cache-Control": "no-store"})


def _is_local() -> bool:
    forwarded = any(name in request.headers for name in _FORWARDED)
    return request.remote_addr in _LOOPBACK and not forwarded


def _shows_token() -> bool:
    wanted = system().settings.metrics_token
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    return bool(wanted) and kind == "Bearer" and hmac.compare_digest(
        given.encode(), wanted.encode()
    )  # fmt: skip
