"""JupyterLab's files, packed for the way to the browser and kept there for good.

Jupyter Server sends its six megabytes of script as they lie on disk. The server zygote packs them
once, so that all servers of an environment share what is packed; any other server packs each file
when it is first asked for.
"""

import gzip
from pathlib import Path

from jupyter_server.base.handlers import FileFindHandler
from jupyterlab_server import handlers

#: What packing makes much smaller.
_SUFFIXES = frozenset({".css", ".html", ".js", ".json", ".svg"})
#: Files that are larger are no part of a page.
_MAX_BYTES = 8 << 20
_LEVEL = 6
#: What is packed, by path and time of change.
_packed: dict[tuple[str, int], bytes] = {}


def pack(path: Path) -> bytes | None:
    """Return a file's bytes in gzip, None where that is not worth it."""
    if path.suffix not in _SUFFIXES:
        return None
    stat = path.stat()
    key = (str(path), stat.st_mtime_ns)
    if key not in _packed:
        if stat.st_size > _MAX_BYTES:
            return None
        _packed[key] = gzip.compress(path.read_bytes(), _LEVEL, mtime=0)
    packed = _packed[key]
    return packed if len(packed) < stat.st_size else None


def pack_folder(folder: Path) -> None:
    """Pack all files of a folder, for servers that are forks of this process."""
    for path in folder.rglob("*"):
        if path.is_file():
            pack(path)


def packed_class() -> type["PackedFiles"]:
    """Return what serves JupyterLab's files, and have it serve those of its extensions, too.

    Jupyter Server takes the class from its settings, JupyterLab names it in its own module.
    """
    vars(handlers)["FileFindHandler"] = PackedFiles
    return PackedFiles


class PackedFiles(FileFindHandler):
    """Serves static files in gzip to who takes it, and names for ever what has its own name."""

    _body: bytes | None = None

    def validate_absolute_path(self, root: str, absolute_path: str) -> str | None:
        """Choose the packed bytes once it is clear which file is meant."""
        path: str | None = super().validate_absolute_path(root, absolute_path)
        takes = "gzip" in self.request.headers.get("Accept-Encoding", "")
        if path is not None and takes and "Range" not in self.request.headers:
            self._body = body = pack(Path(path))
            if body is not None:
                # Of this answer only: the class asks its own method for digests of whole files.
                vars(self)["get_content"] = lambda *_where: body
        return path

    def set_headers(self) -> None:
        """Say how the answer is packed and how long it stands."""
        super().set_headers()
        if Path(str(self.absolute_path)).suffix in _SUFFIXES:
            self.set_header("Vary", "Accept-Encoding")
        if self._body is not None:
            self.set_header("Content-Encoding", "gzip")
            self.clear_header("Accept-Ranges")
        # JupyterLab names a file's digest in `v`, so what it names can never change.
        if "v" in self.request.arguments and not self._never_kept():
            self.set_header("Cache-Control", "public, max-age=31536000, immutable")

    def get_content_size(self) -> int:
        """Return the length of what is sent."""
        return super().get_content_size() if self._body is None else len(self._body)

    def _never_kept(self) -> bool:
        return any(self.request.path.startswith(path) for path in self.no_cache_paths)
