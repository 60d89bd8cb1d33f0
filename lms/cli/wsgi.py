"""The application that gunicorn serves: the pages and the machines' addresses in one.

The doors `web` and `api` do not know each other; they are joined here, on the floor above both.
"""

from flask import Flask

from lms.api.health import bp as health
from lms.api.oauth import init_oauth
from lms.bootstrap import System, build
from lms.foundation.settings import load_settings
from lms.web.app import create_app


def make_app(system: System | None = None) -> Flask:
    """Return the whole application for `system`, by default this process's settings."""
    wired = build(load_settings()) if system is None else system
    app = create_app(wired)
    init_oauth(app, wired.settings)
    app.register_blueprint(health)
    return app
