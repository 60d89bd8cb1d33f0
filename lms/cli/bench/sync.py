"""`lms bench sync`: a course's first install and updates, against tar, rsync and casync."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from lms.cli.bench import sync_peers as peers
from lms.cli.bench.machine import describe, machine
from lms.cli.bench.sync_corpus import Corpus, make
from lms.foundation.clock import now
from lms.outposts.bundles.build import KEPT_STEPS, Content, add_version, folder_content
from lms.outposts.bundles.disk import Disk
from lms.outposts.bundles.keys import ONLINE, ROOTS, Keys
from lms.outposts.bundles.signing import Signed
from lms.outposts.bundles.trust import Trust

_COURSE = "bench"
Figure = dict[str, Any]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option(
    "--scale", default=0.1, show_default=True, help="Size of the made course; 1 is some 250 MB."
)
@click.option(
    "--corpus",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with v1, v2 and new_bytes.bin instead of a made course.",
)
def sync(*, as_json: bool, scale: float, corpus: Path | None) -> None:
    """Pull a first version, an update and one from an older base, and compare what they cost.

    The floor is what is truly new in the second version, packed with zstd at level 19.
    """
    say = (lambda _: None) if as_json else (lambda text: click.echo(text, err=True))
    with tempfile.TemporaryDirectory(prefix="sync-") as scratch:
        measured = _Bench(Path(scratch), say).run(_corpus(corpus, Path(scratch), scale))
    facts = machine()
    if as_json:
        versions = facts.pop("versions")
        click.echo(
            json.dumps({"figures": measured, "machine": facts, "versions": versions}, indent=2)
        )
        return
    for figure in measured:
        click.echo(_line(figure))
    click.echo(describe(facts))


def _corpus(given: Path | None, scratch: Path, scale: float) -> Corpus:
    if given is None:
        return make(scratch / "corpus", scale)
    return Corpus(given / "v1", given / "v2", (given / "new_bytes.bin").read_bytes())


class _Bench:
    """One run: the repository, two centres and the peers."""

    def __init__(self, scratch: Path, say: Callable[[str], None]) -> None:
        self._scratch = scratch
        self._repository = scratch / "repository"
        self._keys = Keys(scratch / "keys")
        self._keys.make([*ROOTS, *ONLINE])
        self._say = say

    def run(self, corpus: Corpus) -> list[Figure]:
        """Measure everything once."""
        old = folder_content(corpus.old)
        self._say("packing the first version")
        build = peers.cpu_seconds_of(lambda: self._add(old))
        first, late = self._centre("first"), self._centre("late")
        installed = self._pull(first)
        self._pull(late)
        # One centre follows; the other one sleeps through more versions than steps are kept for.
        for number in range(KEPT_STEPS):
            self._add(old | {"note.txt": self._note(number)})
        self._pull(first)
        self._say("packing the second version")
        self._add(folder_content(corpus.new) | {"note.txt": self._note(KEPT_STEPS - 1)})
        updated, nothing, mended = self._pull(first), self._pull(first), self._pull(late)
        self._say("measuring the others")
        return self._figures(corpus, (installed, updated, nothing, mended), build)

    def _figures(
        self, corpus: Corpus, pulls: tuple[Figure, Figure, Figure, Figure], build: float
    ) -> list[Figure]:
        installed, updated, nothing, mended = pulls
        floor = peers.floor(corpus.new_bytes)
        tar = peers.archive(corpus.old)
        raw = sum(path.stat().st_size for path in corpus.old.rglob("*") if path.is_file())
        files = [path for path in corpus.old.rglob("*") if path.is_file()]
        copy = peers.cpu_seconds_of(lambda: peers.copy_all(corpus.old, self._scratch / "copy"))
        hashed = peers.cpu_seconds_of(lambda: peers.hash_all(files))
        new_raw = sum(path.stat().st_size for path in corpus.new.rglob("*") if path.is_file())
        figures = [
            _figure("floor", floor, "bytes"),
            _figure("update_over_floor", updated["received"] / floor, "times"),
            _figure("older_base_over_floor", mended["received"] / floor, "times"),
            _figure("nothing_new", nothing["received"], "bytes"),
            _figure(
                "first_install_over_tar", installed["received"] / tar.bytes, "times", ("tar", 1.0)
            ),
            _figure("tar_over_floor", peers.archive(corpus.new).bytes / floor, "times"),
            _figure("update_seconds", updated["seconds"], "s"),
            _figure("older_base_seconds", mended["seconds"], "s"),
            _figure("build_megabytes_per_cpu_second", raw / 1e6 / build, "MB/s"),
            _figure(
                "apply_megabytes_per_cpu_second",
                *(raw / 1e6 / installed["cpu_seconds"], "MB/s", ("copy", raw / 1e6 / copy)),
            ),
            _figure(
                "verify_megabytes_per_cpu_second",
                *(new_raw / 1e6 / updated["verify_cpu_seconds"], "MB/s"),
                ("sha256", raw / 1e6 / hashed),
            ),
            _figure("memory", max(one["memory_megabytes"] for one in pulls), "MB"),
        ]
        return figures + self._peers(corpus, updated["received"], floor)

    def _peers(self, corpus: Corpus, ours: int, floor: int) -> list[Figure]:
        figures = []
        for name, measure in (("rsync", peers.rsync), ("casync", peers.casync)):
            cost = measure(corpus.old, corpus.new, self._scratch)
            if cost is None:
                self._say(f"{name} is not installed")
                continue
            peer = (name, cost.bytes / floor)
            figures.append(_figure("update_over_floor", ours / floor, "times", peer))
            figures.append(_figure(f"{name}_seconds", cost.seconds, "s"))
        return figures

    def _note(self, number: int) -> Path:
        path = self._scratch / f"note-{number}.txt"
        path.write_text(f"Note {number}\n")
        return path

    def _add(self, files: dict[str, Path]) -> None:
        add_version(self._repository, _COURSE, Content(files=files), keys=self._keys, now=now())

    def _centre(self, name: str) -> Path:
        root = Signed(self._repository, self._keys).root()
        centre = self._scratch / name
        Trust(centre, Disk()).begin(root, datetime(1970, 1, 1, tzinfo=UTC))
        return centre

    def _pull(self, centre: Path) -> Figure:
        program = (sys.executable, "-m", "lms.cli.bench.sync_pull")
        done = subprocess.run(
            [*program, str(self._repository), str(centre)], capture_output=True, check=False
        )
        shutil.rmtree(self._scratch / "copy", ignore_errors=True)
        if done.returncode:
            raise click.ClickException(done.stderr.decode(errors="replace").strip()[-400:])
        found: Figure = json.loads(done.stdout)
        return found


def _figure(name: str, value: float, unit: str, peer: tuple[str, float] | None = None) -> Figure:
    """Return a figure; the ratio is how many times better ours is."""
    named = {"name": name, "value": value, "unit": unit}
    if peer is None:
        return named | {"peer": None, "peer_value": None, "ratio": None}
    better = value / peer[1] if unit == "MB/s" else peer[1] / value
    return named | {"peer": peer[0], "peer_value": peer[1], "ratio": better}


def _line(figure: Figure) -> str:
    text = f"{figure['name']:32}{figure['value']:14.3f} {figure['unit']:6}"
    if figure["peer"]:
        text += f"  {figure['peer']} {figure['peer_value']:.3f}, {figure['ratio']:.2f} times better"
    return text
