"""From the assignment's page through sign-in, Hub and server to the notebook, and back."""

import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urljoin

import pytest
import requests
from sqlalchemy.orm import Session
from werkzeug.serving import make_server

from lms.bootstrap import System, build
from lms.cli.wsgi import make_application
from lms.enrolment.service import assign_role
from lms.exchange.models import Submission
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.foundation.errors import UnavailableError
from lms.foundation.settings import Settings
from lms.identity.keys import ensure_keys
from lms.identity.oauth import ensure_hub_client
from lms.identity.scopes import SYSTEM, Role
from lms.identity.service import add_person, disable, find_person
from lms.migrations.tables import metadata
from lms.outposts.hub.place import HubPlace
from lms.web.launch import check_hub
from tests.factories import make_offering, make_task, notebook
from tests.fakes.hub_stack import end_servers, free_ports, running_hub, running_proxy

PASSWORD = "four plain words here"


@dataclass
class Whole:
    """The LMS's real application and a real Hub."""

    settings: Settings
    system: System
    place: HubPlace

    def sign_in(self, name: str) -> requests.Session:
        """Return a browser in which the person has typed the password."""
        browser = requests.Session()
        browser.trust_env = False
        page = browser.get(f"{self.settings.lms_url}/login")
        form = {"username": name, "password": PASSWORD, "csrf_token": csrf_of(page)}
        answer = browser.post(f"{self.settings.lms_url}/login", data=form)
        assert answer.ok, answer.text[:2000]
        return browser

    def open(self, browser: requests.Session, seconds: float = 60) -> requests.Response:
        """Follow 'Open notebook', wait on the waiting page, and return where it ends."""
        url = f"{self.settings.lms_url}/offerings/py-2026/assignments/ps1/open"
        end = time.monotonic() + seconds
        page = browser.get(url)
        while "/hub/spawn-pending/" in page.url:
            assert time.monotonic() < end, (self.place.data_dir / "hub.log").read_text()[-4000:]
            time.sleep(0.5)
            page = browser.get(page.url)
        return page


def csrf_of(page: requests.Response) -> str:
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page.text)
    assert found, page.text[:2000]
    return found[1]


def released(source: str) -> bytes:
    """Return a notebook as releases hold it: it names its kernel, or Lab would ask for one."""
    document = json.loads(notebook(source))
    document["metadata"]["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    return json.dumps(document).encode()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    lms_port, hub_port = free_ports(1), free_ports(3)
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("whole") / "data",
        lms_port=lms_port,
        hub_port=hub_port,
        lms_url=f"http://127.0.0.1:{lms_port}",
        hub_url=f"http://localhost:{hub_port}",
    )
    _, keys = ensure_keys(settings)
    system = build(settings)
    metadata.create_all(system.engine)
    with transaction(system.sessions) as session:
        ensure_hub_client(session, settings, keys.client_secret, now=clock.now())
        _fill(session, system)
    app = make_application(system)
    server = make_server("127.0.0.1", lms_port, app, threaded=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    place = HubPlace(
        data_dir=settings.data_dir,
        hub_port=hub_port,
        bind="127.0.0.1",
        lms_url=settings.lms_url,
        hub_url=settings.hub_url,
        local_servers=True,
    )
    place.hub_dir.mkdir(exist_ok=True)
    with running_proxy(place):
        with running_hub(place):
            yield Whole(settings, system, place)
        end_servers(place)
    server.shutdown()
    server.server_close()
    system.engine.dispose()


def _fill(session: Session, system: System) -> None:
    offering = make_offering(session, key="py-2026")
    task = make_task(session, offering, "ps1")
    manifest = {
        "student": {"ps1.ipynb": system.blobs.put(released("# yours"))},
        "instructor": {"ps1.ipynb": system.blobs.put(notebook("hidden = 1"))},
    }
    assert task.release is not None
    task.release.digest = system.blobs.put(json.dumps(manifest).encode())
    for name in ("minsu", "suji"):
        person, _ = add_person(
            session,
            name,
            name.title(),
            actor=SYSTEM,
            now=clock.now(),
            uids=system.settings.uids,
            password=PASSWORD,
        )
        assign_role(session, person.id, offering.id, Role.STUDENT, actor=SYSTEM, now=clock.now())


def test_open_notebook_lands_on_it_and_assignment_list_hands_it_in(whole: Whole) -> None:
    browser = whole.sign_in("minsu")
    page = whole.open(browser)
    base = f"{whole.place.hub_url}/user/minsu"
    assert page.url.startswith(f"{base}/lab/tree/courses/py-2026/ps1/ps1.ipynb")
    assert page.status_code == 200
    work = whole.place.homes_dir / "minsu/courses/py-2026/ps1/ps1.ipynb"
    work.write_bytes(notebook("answer = 42"))

    # What Assignment List's JavaScript asks, with the page's own cookies and token.
    token = browser.cookies.get("_xsrf", path="/user/minsu/")
    headers = {"X-XSRFToken": token or "", "Referer": page.url}
    assert browser.get(f"{base}/courses", headers=headers).json()["value"] == ["py-2026"]
    asked = {"course_id": "py-2026", "assignment_id": "ps1"}
    listed = browser.post(f"{base}/assignments/submit", data=asked, headers=headers).json()
    assert [item["status"] for item in listed["value"]] == ["fetched", "submitted"]
    with whole.system.sessions() as session:
        submission = session.query(Submission).one()
        person = find_person(session, "minsu")
        assert person is not None
        assert (submission.person_id, submission.via) == (person.id, "notebook")

    # Opening again keeps the work.
    whole.open(browser)
    assert work.read_bytes() == notebook("answer = 42")
    _sign_out_everywhere_counts(whole, browser)


def _sign_out_everywhere_counts(whole: Whole, browser: requests.Session) -> None:
    """Sign out at the LMS; afterwards no copy of any cookie opens anything."""
    stolen = requests.Session()
    stolen.trust_env = False
    stolen.cookies.update(browser.cookies)
    account = browser.get(f"{whole.settings.lms_url}/account")
    end = browser.post(f"{whole.settings.lms_url}/logout", data={"csrf_token": csrf_of(account)})
    assert end.url == f"{whole.settings.lms_url}/signed-out"
    for thief in (browser, stolen):
        server = thief.get(f"{whole.place.hub_url}/user/minsu/api/contents", allow_redirects=False)
        assert server.status_code != 200
        for path in ("/user/minsu/lab", "/hub/home"):
            page = thief.get(urljoin(whole.place.hub_url, path))
            assert page.url.startswith(f"{whole.settings.lms_url}/login"), page.url


def test_a_disabled_person_loses_the_running_server(whole: Whole) -> None:
    browser = whole.sign_in("suji")
    assert whole.open(browser).status_code == 200
    url = f"{whole.place.hub_url}/user/suji/api/contents"
    assert browser.get(url).status_code == 200
    with transaction(whole.system.sessions) as session:
        person = find_person(session, "suji")
        assert person is not None
        disable(session, person, actor=SYSTEM, now=clock.now())
    # The server believes the Hub for 15 seconds, the Hub the LMS for 5 (here).
    end = time.monotonic() + 40
    while browser.get(url, allow_redirects=False).status_code == 200:
        assert time.monotonic() < end
        time.sleep(1)


def test_open_notebook_says_that_the_hub_is_down_and_the_page_still_works(whole: Whole) -> None:
    settings = Settings(
        data_dir=whole.settings.data_dir,
        hub_port=free_ports(3),
        lms_url=whole.settings.lms_url,
        lms_port=whole.settings.lms_port,
    )
    with pytest.raises(UnavailableError, match="Hub does not answer"):
        check_hub(settings)
