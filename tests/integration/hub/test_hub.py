"""A real Hub, its proxy and a real notebook server, with a stand-in for the LMS's sign-in."""

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.fakes.hub_stack import (
    Stack,
    connect_kernel,
    end_servers,
    free_ports,
    make_place,
    run_in_kernel,
    running_hub,
    running_proxy,
)
from tests.fakes.identity_provider import COOKIE, IdentityProvider, Person, serving


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    port = free_ports(1)
    place = make_place(tmp_path_factory.mktemp("hub") / "data", f"http://127.0.0.1:{port}")
    provider = IdentityProvider(place.key("client_secret"), f"{place.hub_url}/hub/oauth_callback")
    with serving(provider, port), running_proxy(place):
        with running_hub(place):
            yield Stack(place, provider)
        end_servers(place)


@pytest.fixture(scope="module")
def minsu(stack: Stack) -> requests.Session:
    """Return a browser whose owner's server runs."""
    browser = stack.browser(Person("minsu", groups=["offering:py:student"]))
    stack.start_server(browser, "minsu")
    return browser


def test_one_sign_in_at_the_lms_leads_to_jupyterlab(stack: Stack, minsu: requests.Session) -> None:
    page = minsu.get(f"{stack.place.hub_url}/user/minsu/lab")
    assert "formgrader" in page.text.split("disabledExtensions")[1][:400]
    assert '"buildCheck": false' in page.text, "nobody here may build JupyterLab"
    assert stack.api(minsu, "minsu") == 200


def test_groups_of_the_lms_are_groups_of_the_hub(stack: Stack, minsu: requests.Session) -> None:
    assert ("offering:py:student",) in stack.hub_rows("select name from groups")


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


def test_a_servers_environment_holds_no_secret_but_its_own_token(
    stack: Stack, minsu: requests.Session
) -> None:
    environment = Path(f"/proc/{stack.server_pid('minsu')}/environ").read_text()
    names = {item.partition("=")[0] for item in environment.split("\0") if item}
    assert {name for name in names if "TOKEN" in name or "SECRET" in name} == {
        "JUPYTERHUB_API_TOKEN"
    }
    for key in (stack.place.data_dir / "keys" / "hub").iterdir():
        assert key.read_text().strip() not in environment, key.name


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


def test_nobody_makes_a_token_that_outlives_the_sign_in(stack: Stack) -> None:
    browser = stack.browser(Person("hayun", os_uid=200005))
    page = browser.get(f"{stack.place.hub_url}/hub/home")
    token = browser.cookies.get("_xsrf", path="/hub/")
    answer = browser.post(
        f"{stack.place.hub_url}/hub/api/users/hayun/tokens",
        params={"_xsrf": token},
        json={"note": "for ever"},
        headers={"Referer": page.url},
    )
    assert answer.status_code in {403, 404}, answer.text


def test_signing_out_closes_what_a_page_holds_open(stack: Stack, minsu: requests.Session) -> None:
    async def story() -> None:
        protocol = "v1.kernel.websocket.jupyter.org"
        channels = await connect_kernel(stack, minsu, "minsu", protocol)
        assert channels.selected_subprotocol == protocol
        await asyncio.to_thread(minsu.get, f"{stack.place.hub_url}/hub/logout")
        async with asyncio.timeout(10):
            while await channels.read_message() is not None:
                pass
        channels.close()

    assert run_in_kernel(stack, minsu, "minsu", "print(6 * 7)") == "42\n"
    asyncio.run(story())
    # Still signed in at the LMS: the next page signs in again by itself.
    assert minsu.get(f"{stack.place.hub_url}/user/minsu/lab").status_code == 200
    assert stack.api(minsu, "minsu") == 200


def test_signing_out_leaves_old_cookies_worthless(stack: Stack) -> None:
    browser = stack.browser(Person("sua", os_uid=200004))
    stack.start_server(browser, "sua")
    assert stack.api(browser, "sua") == 200
    old = requests.Session()
    old.trust_env = False
    old.cookies.update(browser.cookies)

    stack.provider.sign_out_everywhere("sua")
    page = browser.get(f"{stack.place.hub_url}/hub/logout")

    assert page.url == f"{stack.place.lms_url}/logout"
    for thief in (browser, old):
        assert stack.api(thief, "sua") != 200
        lab = thief.get(f"{stack.place.hub_url}/user/sua/lab")
        assert lab.url.startswith(stack.place.lms_url)
        home = thief.get(f"{stack.place.hub_url}/hub/home")
        assert home.url.startswith(stack.place.lms_url)
    # The server itself goes on: only the session has ended.
    os.kill(stack.server_pid("sua"), 0)


def test_signing_out_counts_also_when_the_hub_had_already_been_refused(stack: Stack) -> None:
    person = Person("hana", os_uid=200005)
    browser = stack.browser(person)
    stack.start_server(browser, "hana")
    old = requests.Session()
    old.trust_env = False
    old.cookies.update(browser.cookies)
    # The LMS ends the sign-in before it sends the browser on; by then the Hub may have asked.
    stack.provider.sign_out_everywhere("sua")
    # The Hub of this test believes the LMS for 5 seconds.
    time.sleep(6)
    browser.get(f"{stack.place.hub_url}/hub/logout")

    # The Hub keeps what the LMS says by person: a new sign-in must not revive old cookies.
    again = stack.browser(person)
    assert again.get(f"{stack.place.hub_url}/hub/home").url.startswith(stack.place.hub_url)
    old.cookies.clear(domain="127.0.0.1")
    for path in ("/hub/home", "/user/hana/lab"):
        page = old.get(f"{stack.place.hub_url}{path}")
        assert page.url.startswith(stack.place.lms_url), page.url
    assert stack.api(old, "hana") != 200
