"""Secrets for one's own processes on other machines of a cluster, carried by MUNGE.

MUNGE signs and encrypts with the cluster's key, which every node of a Slurm cluster has; the
receiving daemon gives a credential's content to the named user alone, and only once.
"""

import json
import os
import subprocess
from typing import Any

#: A credential is made once its job has started, and opened at once.
TTL_SECONDS = 60


class CredentialError(Exception):
    """A credential could not be made or opened; the text says why."""


def make_credential(content: dict[str, Any], socket_path: str = "") -> str:
    """Return `content` so that only this user's processes on the cluster can read it; one line."""
    options = [f"--restrict-uid={os.getuid()}", f"--ttl={TTL_SECONDS}"]
    return _run("munge", options, json.dumps(content), socket_path).strip()


def open_credential(credential: str, socket_path: str = "") -> dict[str, Any]:
    """Return what the credential holds; raises CredentialError."""
    text = _run("unmunge", ["--metadata=/dev/null"], credential, socket_path)
    content = json.loads(text)
    if not isinstance(content, dict):
        raise CredentialError("the credential holds something else")
    return content


def _run(program: str, options: list[str], text: str, socket_path: str) -> str:
    if socket_path:
        options = [*options, f"--socket={socket_path}"]
    try:
        result = subprocess.run(
            [program, *options], input=text, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise CredentialError(f"{program} cannot be run: {error.strerror}") from error
    if result.returncode:
        why = result.stderr.strip() or f"exit code {result.returncode}"
        raise CredentialError(f"{program} refused: {why}")
    return result.stdout
