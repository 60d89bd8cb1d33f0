"""A made course for `lms bench sync`: the same bytes from the same seed, in two versions.

Notebooks with and without plots, hidden tests, tables, arrays, photos and a wheel; the second
version edits some notebooks, appends to a table and an array, renames a folder and adds notebooks
and photos. Text comes from Python's standard library, so that it compresses as text does.
"""

import base64
import io
import json
import random
import shutil
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_SEED = 7
_MODULES = 12
#: Bytes from which on a module of the library serves as text.
_LONG = 8000
_HEADER = "ts,station,a,b,c,d,e,flag\n"


@dataclass(frozen=True, slots=True)
class Corpus:
    """Two versions, and the bytes that are truly new in the second one."""

    old: Path
    new: Path
    new_bytes: bytes


class _Maker:
    """Makes one corpus; every random choice comes from one seed."""

    def __init__(self, scale: float) -> None:
        self._scale = scale
        self._chance = random.Random(_SEED)  # noqa: S311 - repeatable
        self._draw = np.random.default_rng(_SEED)
        library = Path(sysconfig.get_paths()["stdlib"])
        sources = [path for path in sorted(library.glob("*.py")) if path.stat().st_size > _LONG]
        self._lines = [
            line
            for path in sources
            for line in path.read_text("utf-8", errors="replace").splitlines(keepends=True)
        ]
        self._prose = [line.strip(' #"\n') + "\n" for line in self._lines if ". " in line]
        self._wheel_sources = sources

    def count(self, whole: int) -> int:
        """Return a count at this scale, at least one."""
        return max(1, int(whole * self._scale))

    def code(self, count: int) -> list[str]:
        """Return lines of code that stand together."""
        at = self._chance.randrange(len(self._lines) - count)
        return self._lines[at : at + count]

    def notebook(self) -> dict[str, Any]:
        """Return a notebook of ten to forty cells."""
        cells = [self._cell() for _ in range(self._chance.randrange(10, 45))]
        return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}

    def _cell(self) -> dict[str, Any]:
        name = f"{self._chance.getrandbits(32):08x}"
        if self._chance.random() < 0.45:  # noqa: PLR2004 - the share of prose
            text = self._chance.choices(self._prose, k=self._chance.randrange(2, 14))
            return {"cell_type": "markdown", "id": name, "metadata": {}, "source": text}
        outputs: list[dict[str, Any]] = []
        if self._chance.random() < 0.12:  # noqa: PLR2004 - the share of plots
            image = {"image/png": base64.b64encode(self._plot()).decode()}
            outputs = [{"output_type": "display_data", "metadata": {}, "data": image}]
        return {
            "cell_type": "code",
            "id": name,
            "metadata": {},
            "execution_count": None,
            "source": self.code(self._chance.randrange(4, 40)),
            "outputs": outputs,
        }

    def _plot(self) -> bytes:
        pixels = np.zeros((420, 640), np.uint8)
        for colour in range(1, 5):
            line = 210 + 80 * np.cumsum(self._draw.normal(0, 0.12, 640))
            pixels[line.clip(0, 419).astype(int), np.arange(640)] = colour
        points = self._draw.integers(0, [420, 640], (1500, 2))
        pixels[points[:, 0], points[:, 1]] = self._draw.integers(5, 16, 1500)
        return _image(pixels * 16, "PNG")

    def photo(self) -> bytes:
        """Return a JPEG with grain."""
        down, across = np.mgrid[0:768, 0:1024]
        waves = self._draw.random(6) * 8
        bands = [
            127 + 90 * np.sin(across / 1024 * waves[k] * 6 + down / 768 * waves[k + 3] * 6)
            for k in range(3)
        ]
        grain = self._draw.normal(0, 7, (768, 1024, 3))
        return _image((np.stack(bands, -1) + grain).clip(0, 255).astype("uint8"), "JPEG")

    def rows(self, count: int, first: int = 0) -> str:
        """Return lines of a table of measurements."""
        walk = np.cumsum(self._draw.normal(0, 0.3, (count, 5)), 0)
        return "".join(
            f"{1_600_000_000 + (first + k) * 60},S{k % 97:03d},{a:.3f},{b:.3f},{c:.4f},{d:.2f},"
            f"{e:.5f},{'miss' if k % 13 else 'ok'}\n"
            for k, (a, b, c, d, e) in enumerate(walk.tolist())
        )

    def array(self, count: int) -> np.ndarray[Any, Any]:
        """Return rows of signals."""
        return np.cumsum(self._draw.normal(0, 1, (count, 2048)), 1).astype("float32")

    def wheel(self) -> bytes:
        """Return a packed package."""
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in self._wheel_sources:
                archive.writestr(zipfile.ZipInfo(path.name), path.read_bytes(), 8)
        return content.getvalue()


def _image(pixels: np.ndarray[Any, Any], kind: str) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind)
    return content.getvalue()


def make(folder: Path, scale: float) -> Corpus:
    """Make a corpus below a folder; at scale 1 a version has some 250 MB."""
    maker = _Maker(scale)
    old, new = folder / "v1", folder / "v2"
    for number in range(max(_MODULES, maker.count(600))):
        part = "source" if number % 3 else "release"
        name = f"module-{number % _MODULES:02d}/{part}/nb-{number:04d}.ipynb"
        _write(old / name, _dump(maker.notebook()))
    for number in range(maker.count(90)):
        text = "".join(maker.code(maker._chance.randrange(60, 300)))  # noqa: SLF001 - our own
        _write(old / f"hidden/tests-{number:03d}.py", text.encode())
    count = maker.count(1_500_000)
    _write(old / "data/sensors.csv", (_HEADER + maker.rows(count)).encode())
    for number in range(8):
        table = _HEADER + maker.rows(maker.count(40_000))
        _write(old / f"data/small-{number}.csv", table.encode())
    signals = maker.array(maker.count(4000))
    np.save(old / "data/signals.npy", signals)
    features = maker._draw.normal(size=(maker.count(40_000), 64))  # noqa: SLF001 - our own
    np.savez(old / "data/features.npz", x=features.astype("float32"))
    for number in range(maker.count(260)):
        _write(old / f"images/photo-{number:03d}.jpg", maker.photo())
    _write(old / "env/wheels/library-1.0-py3-none-any.whl", maker.wheel())
    shutil.copytree(old, new)
    return Corpus(old, new, b"".join(_change(maker, new, signals, count)))


def _change(maker: _Maker, folder: Path, signals: np.ndarray[Any, Any], rows: int) -> list[bytes]:
    """Make the second version of the first; returns what is truly new in it."""
    fresh: list[bytes] = []
    chance = maker._chance  # noqa: SLF001 - our own
    books = sorted(folder.glob("module-*/*/*.ipynb"))
    for path in chance.sample(books, max(1, len(books) * 3 // 100)):
        book = json.loads(path.read_text("utf-8"))
        added = maker.code(chance.randrange(2, 10))
        cell = chance.choice(book["cells"])
        cell["source"] = cell["source"][:2] + added + cell["source"][2:]
        fresh.append(json.dumps(added).encode())
        _write(path, _dump(book))
    more = maker.rows(max(1, rows * 15 // 1000), rows).encode()
    with (folder / "data/sensors.csv").open("ab") as file:
        file.write(more)
    extra = maker.array(maker.count(60))
    np.save(folder / "data/signals.npy", np.concatenate([signals, extra]))
    fresh += [more, extra.tobytes()]
    (folder / "module-05").rename(folder / "module-05-regression")
    for number in range(5):
        content = _dump(maker.notebook())
        _write(folder / f"module-03/source/new-{number}.ipynb", content)
        fresh.append(content)
    for number in range(2):
        photo = maker.photo()
        _write(folder / f"images/new-{number}.jpg", photo)
        fresh.append(photo)
    return fresh


def _dump(book: dict[str, Any]) -> bytes:
    return (json.dumps(book, indent=1, ensure_ascii=False) + "\n").encode()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
