"""What gunicorn serves: `gunicorn "lms.web.wsgi:application()"`."""

from flask import Flask

from lms.bootstrap import build
from lms.foundation.settings import load_settings
from lms.web.app import create_app


def application() -> Flask:
    """Return the web application for the settings in the environment."""
    return create_app(build(load_settings()))
