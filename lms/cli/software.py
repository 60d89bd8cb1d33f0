"""The software as a bundle: what `lms bundle build --software` packs, and the stick's installer."""

from pathlib import Path

from lms.foundation.errors import InvalidError
from lms.outposts.bundles.build import Content
from lms.outposts.software.contents import gather
from lms.outposts.software.shelf import SoftwareError
from lms.protocol.sentences import sentence


def software_content(wheels: str | None, scratch: Path) -> Content:
    """Return what the folder of wheels makes; raises InvalidError with what lacks."""
    if wheels is None or not Path(wheels).is_dir():
        raise InvalidError(
            sentence(
                "The software needs the folder of its wheels, which make wheels fills: "
                "--wheels %(folder)s.",
                folder=wheels or "wheels",
            )
        )
    try:
        software = gather(Path(wheels), scratch)
    except SoftwareError as error:
        raise InvalidError(error.sentence) from error
    return Content(
        files=software.files,
        metadata={"software": software.version, "name": software.name},
    )
