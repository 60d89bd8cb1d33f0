"""Where the keys lie by which central and a centre know each other."""

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lms.centre.rules import compact
from lms.foundation.settings import Settings
from lms.foundation.signing import SigningKeys, read_public_keys


def central_keys(settings: Settings) -> SigningKeys:
    """Return where central's keys lie: the web part signs receipts with them."""
    return SigningKeys(settings.keys_dir / "web" / "sync", settings.keys_dir / "public" / "sync")


def centre_keys(settings: Settings) -> SigningKeys:
    """Return where a centre's own keys lie: its page opens hidden tests with them."""
    return SigningKeys(
        settings.keys_dir / "web" / "centre", settings.keys_dir / "public" / "centre"
    )


def seals_dir(settings: Settings) -> Path:
    """Return where central keeps what opens sealed files: the web part shows codes made of it."""
    return settings.keys_dir / "web" / "seals"


def make_private(folder: Path) -> None:
    """Make a folder of secrets, owned like the one above it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not folder.exists():
        folder.mkdir(mode=0o700)
        _own_like(folder.parent, folder)


def make_folders(keys: SigningKeys) -> None:
    """Make the folders of keys, owned like the folder above: the part that lives there signs."""
    for folder, mode in ((keys.private_dir, 0o700), (keys.public_dir, 0o755)):
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not folder.exists():
            folder.mkdir(mode=mode)
            _own_like(folder.parent, folder)


def read_keys(document: object) -> dict[str, Ed25519PublicKey]:
    """Return the public keys of a JWK set by name; none for an empty one."""
    if not isinstance(document, dict) or not document.get("keys"):
        return {}
    return read_public_keys(compact(document))


def _own_like(model: Path, path: Path) -> None:
    if os.geteuid() == 0:
        owner = model.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
