"""The whole system as laptops of a venue meet it: by TLS of the box's own authority."""

import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.stack import Stack, environment, free_ports, start, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.stack]


def _health(stack: Stack, url: str, trusted: str) -> bool:
    if stack.process.poll() is not None:
        raise AssertionError(stack.output.read_text())
    try:
        return requests.get(f"{url}/healthz", verify=trusted, timeout=10).ok
    except requests.RequestException:
        return False


def test_laptops_work_by_tls(tmp_path: Path) -> None:
    data = tmp_path / "data"
    lms_port, _ = free_ports()
    hub_port = lms_port + 4
    lms, hub = f"https://127.0.0.1:{lms_port}", f"https://localhost:{hub_port}"
    urls = {"LMS_URL": lms, "HUB_URL": hub}
    command = [sys.executable, "-m", "lms.cli", "centre", "certificate"]
    env = environment(data, lms_port, hub_port) | urls
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
    trusted = str(data / "keys/tls/authority.pem")
    stack = start(data, (lms_port, hub_port), urls, words=("--demo",))
    try:
        wait_until(lambda: _health(stack, lms, trusted), 180, "the pages by TLS")
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(lms, timeout=10)
        with pytest.raises(requests.exceptions.RequestException):
            requests.get(lms.replace("https", "http"), timeout=10)
        assert requests.get(f"{hub}/hub/health", verify=trusted, timeout=10).ok
        page = requests.get(f"http://127.0.0.1:{lms_port + 1}/", timeout=10)
        assert lms in page.text
        inner = f"http://127.0.0.1:{lms_port + 2}/healthz"
        assert requests.get(inner, timeout=10).ok, "parts of this machine need no authority"
        _works_in_a_browser(stack, lms, hub)
    finally:
        stack.stop()
    assert (data / "keys/tls/server.pem").stat().st_mode & 0o007 == 0


def _works_in_a_browser(stack: Stack, lms: str, hub: str) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        # Which authority is trusted is the sockets' test; here it is the sign-in and the kernel.
        context = browser.new_context(ignore_https_errors=True)
        page = context.new_page()
        page.goto(f"{lms}/login")
        page.fill("input[name=username]", "student")
        page.fill("input[name=password]", stack.passwords()["student"])
        page.press("input[name=password]", "Enter")
        page.wait_for_url(lambda url: "/login" not in url, timeout=60_000)
        page.goto(f"{hub}/hub/spawn")
        page.wait_for_url("**/lab**", timeout=120_000)
        page.wait_for_selector(".jp-Launcher, .jp-NotebookPanel", timeout=120_000)
        opened = page.evaluate(_OPEN_KERNEL)
        cookies = context.cookies()
        browser.close()
    assert opened == "open"
    signed_in = [one for one in cookies if one.get("name") in ("seodang", "jupyterhub-hub-login")]
    assert len(signed_in) == 2
    assert all(one.get("secure") for one in signed_in)


_OPEN_KERNEL = """async () => {
  const found = document.querySelector('#jupyter-config-data').textContent;
  const base = JSON.parse(found).baseUrl;
  const mark = document.cookie.match(/_xsrf=([^;]+)/);
  const options = {method: 'POST', headers: {'X-XSRFToken': mark[1]}, body: '{}'};
  const kernel = await (await fetch(base + 'api/kernels', options)).json();
  const place = location.origin.replace('https', 'wss') + base;
  const socket = new WebSocket(place + 'api/kernels/' + kernel.id + '/channels');
  return await new Promise(done => {
    socket.onopen = () => done('open');
    socket.onerror = () => done('refused');
  });
}"""
