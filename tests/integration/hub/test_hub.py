"""A real Hub, its proxy and a real notebook server, with a stand-in for the LMS's sign-in."""

import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import requests

from lms.outposts.hub.place import HubPlace
from tests.fakes.hub_stack import free_ports, make_place, running_hub, running_proxy
from tests.fakes.identity_provider import COOKIE, IdentityProvider, Person, serving


@dataclass
class Stack:
    place: HubPlace
    provider: IdentityProvider

    def browser(self, person: Person) -> requests.Session:
        """Return a browser that is signed in at the LMS as `person`."""
        browser = requests.Session()
        browser.trust_env = False
        browser.cookies.set(COOKIE, self.provider.sign_in(person), domain="127.0.0.1")
        return browser

    def start_server(self, browser: requests.Session, name: str) -> None:
        """Follow a launch link and wait until the server answers its owner."""
        browser.get(f"{self.place.hub_url}/hub/user-redirect/lab")
        end = time.monotonic() + 60
        while time.monotonic() < end:
            answer = browser.get(f"{self.place.hub_url}/user/{name}/lab")
            if answer.status_code == 200 and "jupyter-config-data" in answer.text:
                return
            time.sleep(0.3)
        raise AssertionError((self.place.data_dir / "hub.log").read_text()[-4000:])

    def api(self, browser: requests.Session, name: str) -> int:
        url = f"{self.place.hub_url}/user/{name}/api/contents"
        return browser.get(url, allow_redirects=False).status_code

    def server_pid(self, name: str) -> int:
        database = sqlite3.connect(self.place.hub_dir / "jupyterhub.sqlite")
        query = "select spawners.state from spawners join users on users.id = user_id where users.name = ?"
        (state,) = database.execute(query, (name,)).fetchone()
        database.close()
        return int(json.loads(state)["pid"])

    def end_servers(self) -> None:
        database = sqlite3.connect(self.place.hub_dir / "jupyterhub.sqlite")
        states = [
            json.loads(state or "{}") for (state,) in database.execute("select state from spawners")
        ]
        database.close()
        for state in states:
            if state.get("pid"):
                os.killpg(state["pid"], signal.SIGKILL)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    port = free_ports(1)
    place = make_place(tmp_path_factory.mktemp("hub") / "data", f"http://127.0.0.1:{port}")
    provider = IdentityProvider(place.key("client_secret"), f"{place.hub_url}/hub/oauth_callback")
    with serving(provider, port), running_proxy(place):
        with running_hub(place):
            yield Stack(place, provider)
        Stack(place, provider).end_servers()


@pytest.fixture(scope="module")
def minsu(stack: Stack) -> requests.Session:
    """Return a browser whose owner's server runs."""
    browser = stack.browser(Person("minsu", groups=["offering:py:student"]))
    stack.start_server(browser, "minsu")
    return browser


def test_one_sign_in_at_the_lms_leads_to_jupyterlab(stack: Stack, minsu: requests.Session) -> None:
    page = minsu.get(f"{stack.place.hub_url}/user/minsu/lab")
    assert "formgrader" in page.text.split("disabledExtensions")[1][:400]
    assert stack.api(minsu, "minsu") == 200


def test_groups_of_the_lms_are_groups_of_the_hub(stack: Stack, minsu: requests.Session) -> None:
    database = sqlite3.connect(stack.place.hub_dir / "jupyterhub.sqlite")
    assert database.execute("select name from groups").fetchall() == [("offering:py:student",)]
    database.close()


def test_another_person_cannot_use_the_server(stack: Stack, minsu: requests.Session) -> None:
    other = stack.browser(Person("jiwoo", os_uid=200002))
    other.get(f"{stack.place.hub_url}/hub/home")
    assert stack.api(other, "minsu") != 200


def test_no_cookie_of_the_lms_reaches_the_hub(stack: Stack, minsu: requests.Session) -> None:
    sent = requests.Request("GET", f"{stack.place.hub_url}/user/minsu/lab")
    to_hub = minsu.prepare_request(sent).headers.get("Cookie", "")
    assert "jupyterhub-session-id" in to_hub
    assert COOKIE not in to_hub
    assert not any("jupyterhub" in seen for seen in stack.provider.cookies_seen)


def test_a_server_is_refused_with_options_nobody_may_set(stack: Stack) -> None:
    browser = stack.browser(Person("hacker", os_uid=200003))
    page = browser.get(f"{stack.place.hub_url}/hub/home")
    token = browser.cookies.get("_xsrf", path="/hub/")
    answer = browser.post(
        f"{stack.place.hub_url}/hub/api/users/hacker/server",
        params={"_xsrf": token},
        json={"profile": "gpu", "uid": 0},
        headers={"Referer": page.url},
    )
    assert answer.status_code == 403, answer.text
    assert "takes no options" in answer.json()["message"]


def test_signing_out_leaves_old_cookies_worthless(stack: Stack) -> None:
    browser = stack.browser(Person("sua", os_uid=200004))
    stack.start_server(browser, "sua")
    assert stack.api(browser, "sua") == 200
    old = requests.Session()
    old.trust_env = False
    old.cookies.update(browser.cookies)

    stack.provider.sessions.clear()
    page = browser.get(f"{stack.place.hub_url}/hub/logout")

    assert page.url.startswith(f"{stack.place.lms_url}/signed-out")
    for thief in (browser, old):
        assert stack.api(thief, "sua") != 200
        lab = thief.get(f"{stack.place.hub_url}/user/sua/lab")
        assert lab.url.startswith(stack.place.lms_url)
        home = thief.get(f"{stack.place.hub_url}/hub/home")
        assert home.url.startswith(stack.place.lms_url)
    # The server itself goes on: only the session has ended.
    os.kill(stack.server_pid("sua"), 0)
