"""The running system, as views reach it."""

from datetime import datetime

from flask import current_app, g

from lms.bootstrap import System
from lms.foundation import clock
from lms.foundation.blobs import BlobStore


def current_system() -> System:
    """Return the system that this application serves."""
    system = current_app.extensions["lms_system"]
    if not isinstance(system, System):
        raise TypeError("create_app was given no System")
    return system


def blobs() -> BlobStore:
    """Return where bytes lie by digest."""
    return current_system().blobs


def now() -> datetime:
    """Return the instant of this request, the same however often it is asked."""
    if "now" not in g:
        g.now = clock.now()
    instant: datetime = g.now
    return instant
