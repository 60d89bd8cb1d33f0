"""Writing a repository's signed metadata (TUF): root two of three, a role and a key a course."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner, Key
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from lms.outposts.bundles.disk import Disk
from lms.outposts.bundles.keys import ONLINE, ROOTS, Keys, course_key
from lms.outposts.bundles.problems import BundleError
from lms.protocol.sentences import sentence

ISSUED = "x-issued"
THRESHOLD = 2
_ROOT_DAYS, _COURSE_DAYS = 3650, 730
_SERIALIZER = JSONSerializer(compact=True)


def target_name(course: str) -> str:
    """Return the one target of a course: the manifest of its newest version."""
    return f"{course}/bundle.manifest"


class Signed:
    """The metadata folder of a repository, and the keys that may change it."""

    def __init__(self, repository: Path, keys: Keys, *, days: int = 120) -> None:
        self._folder = repository / "metadata"
        self._keys = keys
        self._days = days
        self._disk = Disk()

    def exists(self) -> bool:
        """Return whether there is a root."""
        return (self._folder / "1.root.json").exists()

    def begin(self, now: datetime) -> None:
        """Sign the first root and an empty repository."""
        root = Root(expires=_after(now, _ROOT_DAYS), consistent_snapshot=True)
        for name in ROOTS:
            root.add_key(self._keys.get(name).public_key, "root")
        root.roles["root"].threshold = THRESHOLD
        for name in ONLINE:
            root.add_key(self._keys.get(name).public_key, name)
        self._sign_root(Metadata(root), [self._keys.get(name) for name in ROOTS])
        targets = Targets(expires=_after(now, _ROOT_DAYS))
        targets.delegations = Delegations({}, {})
        self._write_targets(targets)
        self._publish({"targets.json": MetaFile(targets.version)}, now)

    def course(self, course: str) -> TargetFile | None:
        """Return what is signed of a course's newest version."""
        version = self._version_of(course)
        if version is None:
            return None
        held: Targets = self._load(f"{version}.{course}", Targets)
        return held.targets.get(target_name(course))

    def courses(self) -> list[str]:
        """Return the keys of the courses."""
        return sorted(set(self._roles()) - {"targets"})

    def current_files(self) -> list[str]:
        """Return the names of the metadata in force, in an order in which they can be copied."""
        roots = [f"{number}.root.json" for number in range(1, self._newest_root() + 1)]
        if not (self._folder / "timestamp.json").exists():
            return roots
        timestamp: Timestamp = self._load("timestamp", Timestamp)
        roles = [f"{file.version}.{name}" for name, file in sorted(self._roles_files().items())]
        snapshot = f"{timestamp.snapshot_meta.version}.snapshot.json"
        return [*roots, *roles, snapshot, "timestamp.json"]

    def root_version(self) -> int:
        """Return the number of the newest root."""
        return self._newest_root()

    def root(self) -> bytes:
        """Return the newest root, what a centre is given to trust."""
        return (self._folder / f"{self._newest_root()}.root.json").read_bytes()

    def publish_course(
        self, course: str, manifest: bytes, custom: Mapping[str, Any], now: datetime
    ) -> None:
        """Sign a course's newest version and everything above it."""
        self._keys.make([course_key(course)])
        signer = self._keys.get(course_key(course))
        roles = self._roles_files() | self._delegate(course, signer.public_key)
        version = self._next(course)
        target = TargetFile.from_data(target_name(course), manifest, ["sha256"])
        target.unrecognized_fields["custom"] = dict(custom)
        signed = Targets(version=version, expires=_after(now, _COURSE_DAYS))
        signed.targets[target.path] = target
        roles[f"{course}.json"] = self._write(f"{version}.{course}", Metadata(signed), [signer])
        self._publish(roles, now)

    def renew(self, now: datetime) -> None:
        """Sign the same content again, for its dates."""
        self._publish(self._roles_files(), now)

    def revoke_course(self, course: str, now: datetime) -> None:
        """Give a course a new key; what the old one signed is no longer taken."""
        held = self._current(course, Targets)
        signer = self._keys.replace(course_key(course))
        roles = self._roles_files() | self._delegate(course, signer.public_key)
        held.version = self._next(course)
        held.expires = _after(now, _COURSE_DAYS)
        roles[f"{course}.json"] = self._write(f"{held.version}.{course}", Metadata(held), [signer])
        self._publish(roles, now)

    def rotate(self, name: str, now: datetime) -> None:
        """Replace a root or an online key by a new one, in a new root signed by two of the old."""
        old_signers = self._keys.roots()
        metadata: Metadata[Root] = Metadata.from_bytes(self.root())
        root = metadata.signed
        role = "root" if name in ROOTS else name
        retired = _retired(root, role, self._keys, name)
        signer = self._keys.replace(name)
        root.revoke_key(retired, role)
        root.add_key(signer.public_key, role)
        root.version += 1
        root.expires = _after(now, _ROOT_DAYS)
        metadata.signatures.clear()
        self._sign_root(metadata, [*old_signers, *self._keys.roots()])
        roles = self._roles_files()
        if name == "targets":
            targets = self._current("targets", Targets)
            self._write_targets(targets)
            roles["targets.json"] = MetaFile(targets.version)
        self._publish(roles, now)

    def _sign_root(self, metadata: Metadata[Root], signers: list[CryptoSigner]) -> None:
        known = {signer.public_key.keyid: signer for signer in signers}
        if len(known) < THRESHOLD:
            raise BundleError(
                sentence(
                    "A root needs %(count)s of its keys: put in the sticks they lie on and name "
                    "the folders.",
                    count=THRESHOLD,
                )
            )
        for signer in known.values():
            metadata.sign(signer, append=True)
        self._save(f"{metadata.signed.version}.root", metadata.to_bytes(_SERIALIZER))

    def _delegate(self, course: str, key: Key) -> dict[str, MetaFile]:
        targets = self._current("targets", Targets)
        delegations = targets.delegations or Delegations({}, {})
        role = (delegations.roles or {}).get(course)
        if role is not None and role.keyids == [key.keyid]:
            return self._roles_files()
        roles = dict(delegations.roles or {})
        roles[course] = DelegatedRole(course, [key.keyid], 1, True, paths=[f"{course}/*"])  # noqa: FBT003 - TUF's own signature
        in_use = {keyid for one in roles.values() for keyid in one.keyids}
        held = {keyid: one for keyid, one in delegations.keys.items() if keyid in in_use}
        targets.delegations = Delegations(held | {key.keyid: key}, roles)
        self._write_targets(targets)
        return self._roles_files() | {"targets.json": MetaFile(targets.version)}

    def _write_targets(self, targets: Targets) -> None:
        targets.version = self._next("targets")
        self._write(f"{targets.version}.targets", Metadata(targets), [self._keys.get("targets")])

    def _publish(self, roles: Mapping[str, MetaFile], now: datetime) -> None:
        version = self._next("snapshot")
        snapshot = Snapshot(version=version, expires=_after(now, _COURSE_DAYS))
        snapshot.meta = dict(roles)
        file = self._write(f"{version}.snapshot", Metadata(snapshot), [self._keys.get("snapshot")])
        timestamp = Timestamp(version=version, expires=_after(now, self._days))
        timestamp.unrecognized_fields[ISSUED] = now.replace(microsecond=0).isoformat()
        timestamp.snapshot_meta = file
        # Last: until this file is there, readers see the version before.
        self._write("timestamp", Metadata(timestamp), [self._keys.get("timestamp")])

    def _write(self, name: str, metadata: Metadata[Any], signers: list[CryptoSigner]) -> MetaFile:
        for signer in signers:
            metadata.sign(signer, append=True)
        content = metadata.to_bytes(_SERIALIZER)
        self._save(name, content)
        return MetaFile.from_data(metadata.signed.version, content, ["sha256"])

    def _save(self, name: str, content: bytes) -> None:
        self._disk.write(self._folder / f"{name}.json", content)

    def _load(self, name: str, _kind: type[Any]) -> Any:  # noqa: ANN401 - TUF's generic
        return Metadata.from_file(str(self._folder / f"{name}.json")).signed

    def _current(self, role: str, kind: type[Any]) -> Any:  # noqa: ANN401
        return self._load(f"{self._version_of(role)}.{role}", kind)

    def _roles_files(self) -> dict[str, MetaFile]:
        if not (self._folder / "timestamp.json").exists():
            return {}
        timestamp = self._load("timestamp", Timestamp)
        snapshot = self._load(f"{timestamp.snapshot_meta.version}.snapshot", Snapshot)
        return dict(snapshot.meta)

    def _roles(self) -> dict[str, MetaFile]:
        return {name.removesuffix(".json"): file for name, file in self._roles_files().items()}

    def _version_of(self, role: str) -> int | None:
        if role == "targets" and not (self._folder / "timestamp.json").exists():
            return 1
        file = self._roles().get(role)
        return file.version if file else None

    def _next(self, role: str) -> int:
        """Return a number above every file of a role, also above one that was left unfinished."""
        numbers = [int(path.name.split(".")[0]) for path in self._folder.glob(f"*.{role}.json")]
        return max(numbers, default=0) + 1

    def _newest_root(self) -> int:
        return self._next("root") - 1


def _retired(root: Root, role: str, keys: Keys, name: str) -> str:
    """Return the id of the key that goes: the named one, or a root key that is at hand nowhere."""
    held = keys.find(name)
    ids = root.roles[role].keyids
    if held is not None and held.public_key.keyid in ids:
        return held.public_key.keyid
    at_hand = {key.public_key.keyid for key in keys.roots()}
    lost = [keyid for keyid in ids if keyid not in at_hand]
    if len(lost) == 1:
        return lost[0]
    raise BundleError(
        sentence("Which key to replace by %(name)s cannot be told: name its folder.", name=name)
    )


def _after(now: datetime, days: int) -> datetime:
    return (now + timedelta(days=days)).replace(microsecond=0)
