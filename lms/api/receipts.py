"""GET /.well-known/receipt-keys.json: the public keys of grade receipts, for whoever checks one."""

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from lms.api.database import system
from lms.bootstrap import receipt_keys
from lms.identity.access import machine

bp = Blueprint("receipts", __name__)


@bp.get("/.well-known/receipt-keys.json")
@machine
def keys() -> ResponseReturnValue:
    """Answer with every public key there ever was as a JWK set, the one in force first."""
    answer = jsonify(receipt_keys(system().settings).published())
    answer.headers["Cache-Control"] = "public, max-age=300"
    return answer
