"""Pages whose Hub is another pod: health, tokens and the load balancer's question."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from flask import Flask

from lms.api.bearers import HubTokens
from lms.bootstrap import System
from lms.bootstrap.health import report, report_pages
from lms.foundation.blobs import BlobStore
from lms.foundation.settings import Settings
from lms.web.launch import check_hub
from lms.worker.executors import sandbox_of


class _Hub(BaseHTTPRequestHandler):
    """Is there, and vouches for everybody as minseo."""

    def do_GET(self) -> None:
        model = {"kind": "user", "name": "minseo"} if self.path == "/hub/api/user" else {}
        found = self.path in {"/hub/health", "/hub/api/user"}
        self.send_response(200 if found else 404)
        self.end_headers()
        self.wfile.write(json.dumps(model).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Hub) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_hub_is_asked_where_the_setting_says(hub: str, system: System) -> None:
    # Port 9 is nobody's: only the address of the setting answers.
    settings = replace(system.settings, hub_port=9, hub_inner_url=hub)
    check_hub(settings)
    states = {part.name: part.ok for part in report(replace(system, settings=settings))}
    assert states["hub"]
    assert HubTokens(settings.hub_api_url).username_of("token") == "minseo"


def test_without_the_setting_hub_and_proxy_are_asked_on_this_machine() -> None:
    settings = Settings(data_dir=Path("/nowhere"), hub_port=9010)
    assert settings.hub_health_url == "http://127.0.0.1:9010/hub/health"
    assert settings.hub_api_url == "http://127.0.0.1:9011/hub/api"
    given = Settings.from_env({"LMS_HUB_INNER_URL": "http://hub:8081/"})
    assert given.hub_health_url == "http://hub:8081/hub/health"
    assert given.hub_api_url == "http://hub:8081/hub/api"


def test_a_copy_of_the_pages_stays_in_service_without_hub_and_worker(
    app: Flask, system: System
) -> None:
    system.blobs.root.mkdir(exist_ok=True)
    client = app.test_client()
    assert client.get("/healthz").status_code == 503
    answer = client.get("/healthz/pages")
    assert answer.status_code == 200
    assert [part["name"] for part in answer.get_json()["parts"]] == ["database", "blobs"]


def test_a_copy_of_the_pages_that_can_store_nothing_is_taken_out(system: System) -> None:
    gone = replace(system, blobs=BlobStore(system.blobs.root / "gone"))
    assert {part.name: part.ok for part in report_pages(gone)} == {"database": True, "blobs": False}


def test_a_worker_that_only_hands_jobs_on_needs_no_sandbox_of_its_own() -> None:
    report = sandbox_of(Settings(data_dir=Path("/nowhere"), grading_executor="dask"))()
    assert report.ok
    assert "cluster" in str(report.missing[0])
