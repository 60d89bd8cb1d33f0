"""A running LMS with the exchange API alone, and a stand-in for the Hub that knows tokens."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from flask import Flask
from sqlalchemy.orm import Session, sessionmaker
from werkzeug.serving import make_server

from lms.api import exchange as door
from lms.api import leases
from lms.bootstrap import System, make_bus
from lms.enrolment.service import assign_role
from lms.exchange.models import Submission
from lms.foundation.blobs import BlobStore
from lms.foundation.db import make_engine, make_sessions
from lms.foundation.settings import Settings
from lms.grading.models import NotebookRun, Run
from lms.identity.passwords import hash_password
from lms.identity.scopes import SYSTEM, Role
from lms.identity.service import find_person
from lms.migrations.tables import metadata
from lms.outposts.notebook.client import ExchangeApi
from lms.protocol.grading import RunStatus
from lms.web.errors import init_errors
from lms.web.i18n import init_languages
from tests.factories import make_offering, make_person, make_task, notebook

NOW = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)
PASSWORD = "a long enough pass phrase"


class FakeHub(ThreadingHTTPServer):
    """Answers /hub/api/user as JupyterHub does: token t-NAME belongs to NAME."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), FakeHubHandler)
        self.asked = 0
        self.down = False


class FakeHubHandler(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        hub = self.server
        assert isinstance(hub, FakeHub)
        hub.asked += 1
        token = self.headers.get("Authorization", "").removeprefix("token ")
        known = token.startswith("t-") and self.path == "/hub/api/user"
        model = {"kind": "user", "name": token[2:]} if known else {"message": "Forbidden"}
        body = json.dumps(model).encode()
        self.send_response(503 if hub.down else 200 if known else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@dataclass
class Lms:
    """A running LMS with one course: minsu studies, jiwoo too, suji teaches, sua is nobody."""

    url: str
    system: System
    hub: FakeHub

    def api(self, name: str) -> ExchangeApi:
        return ExchangeApi(self.url, f"t-{name}", language="en")

    def sessions(self) -> sessionmaker[Session]:
        return self.system.sessions


@contextmanager
def running_hub_api() -> Iterator[FakeHub]:
    """Serve the stand-in while the block runs."""
    server = FakeHub()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@contextmanager
def running_lms(data_dir: Path, hub: FakeHub) -> Iterator[Lms]:
    """Serve the exchange over real HTTP while the block runs."""
    settings = Settings(data_dir=data_dir, hub_port=hub.server_port - 1, lms_url="http://lms")
    bus = make_bus()
    engine = make_engine(settings.database)
    metadata.create_all(engine)
    system = System(
        settings=settings,
        engine=engine,
        sessions=make_sessions(engine, bus),
        blobs=BlobStore(settings.blobs_dir),
        bus=bus,
    )
    _fill(system)
    app = Flask("exchange")
    app.config["MAX_CONTENT_LENGTH"] = 64 << 20
    app.extensions["lms_system"] = system
    door.init_exchange(app, settings)
    app.register_blueprint(leases.bp)
    init_languages(app)
    init_errors(app)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield Lms(f"http://127.0.0.1:{server.server_port}", system, hub)
    server.shutdown()
    server.server_close()
    engine.dispose()


def _fill(system: System) -> None:
    with system.sessions() as session:
        offering = make_offering(session, key="py-2026")
        task = make_task(session, offering, "ps1")
        manifest = {
            "student": {
                "ps1.ipynb": system.blobs.put(notebook("# yours")),
                "data/점수.csv": system.blobs.put(b"1,2\n"),
            },
            "instructor": {"ps1.ipynb": system.blobs.put(notebook("hidden = 1"))},
        }
        assert task.release is not None
        task.release.digest = system.blobs.put(json.dumps(manifest).encode())
        for name, role in (
            ("minsu", Role.STUDENT),
            ("jiwoo", Role.STUDENT),
            ("suji", Role.INSTRUCTOR),
            ("sua", None),
        ):
            person = make_person(session, name, locale="ko" if name == "sua" else "en")
            if role:
                assign_role(session, person.id, offering.id, role, actor=SYSTEM, now=NOW)
        jiwoo = find_person(session, "jiwoo")
        assert jiwoo is not None
        jiwoo.password_hash = hash_password(PASSWORD)
        session.commit()


def graded(lms: Lms, attempt: int = 1, *, held: bool = False) -> None:
    """Write what the grading worker writes for an attempt of minsu."""
    with lms.sessions()() as session:
        submission = session.query(Submission).filter_by(attempt=attempt).one()
        run_row = session.query(Run).filter_by(submission_id=submission.id).one()
        run_row.status, run_row.held = RunStatus.GRADED, held
        run_row.notebooks.append(
            NotebookRun(
                notebook="ps1",
                status="graded",
                integrity="unverified",
                score=1.0,
                max_score=5.0,
                feedback=lms.system.blobs.put(b"<p>well done</p>"),
            )
        )
        session.commit()
