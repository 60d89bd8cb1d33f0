"""Bring the Korean catalogue up to date with the messages in lms/ and templates/.

    python tools/messages.py [NEW]

NEW is a file of lines "English<tab>Korean". Prints the messages that still lack a Korean text;
writes messages.po, sorted, and compiles messages.mo.
"""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "lms" / "web" / "translations"
PO = FOLDER / "ko" / "LC_MESSAGES" / "messages.po"
#: `sentence` keeps a message for a door to say; `_try` of the health report hands one on.
KEYWORDS = DEFAULT_KEYWORDS | {"sentence": None, "_try": (3,)}
#: One date for all, so that a catalogue changes only where its texts do.
MADE_AT = datetime(2026, 11, 24, tzinfo=UTC)

Message = str | tuple[str, ...]


def main() -> int:
    """Refresh the catalogue; 1 when a text is missing."""
    known = {**read_known(), **read_new(sys.argv[1:])}
    catalog = Catalog(
        locale="ko",
        project="Seodang",
        version="0.1",
        creation_date=MADE_AT,
        revision_date=MADE_AT,
        fuzzy=False,
        msgid_bugs_address="see the repository",
        last_translator="the Seodang authors",
        language_team="Korean",
        header_comment="# Korean texts of Seodang, in 해요체. One form serves every number.",
    )
    missing = 0
    for message in sorted(set(messages()), key=str):
        korean = known.get(key(message))
        if not korean:
            missing += 1
            sys.stdout.write(f"{key(message)}\t\n")
        elif isinstance(message, str):
            catalog.add(message, korean)
        else:
            catalog.add(message, (korean,))
    with PO.open("wb") as file:
        write_po(file, catalog, width=100, sort_output=True)
    with PO.with_suffix(".mo").open("wb") as file:
        write_mo(file, catalog)
    return 1 if missing else 0


def key(message: Message) -> str:
    """Return what a message is looked up by: a plural by its singular."""
    return message if isinstance(message, str) else message[0]


def messages() -> Iterator[Message]:
    """Return every message in the sources; a plural is its first two forms."""
    with (FOLDER / "babel.cfg").open(encoding="utf-8") as file:
        methods, options = parse_mapping_cfg(file)
    for folder in ("lms", "templates"):
        inside = [(pattern.removeprefix(f"{folder}/"), method) for pattern, method in methods]
        settings = {pattern.removeprefix(f"{folder}/"): o for pattern, o in options.items()}
        for found in extract_from_dir(ROOT / folder, inside, settings, KEYWORDS):
            message = found[2]
            yield message if isinstance(message, str) else tuple(message[:2])


def read_known() -> dict[str, str]:
    """Return the texts of the catalogue as it is."""
    with PO.open("rb") as file:
        catalog = read_po(file, locale="ko")
    texts = {}
    for message in catalog:
        if message.id and message.string:
            string = message.string
            texts[key(message.id)] = string if isinstance(string, str) else string[0]
    return texts


def read_new(files: list[str]) -> dict[str, str]:
    """Return the texts of the given files."""
    lines = [line for file in files for line in Path(file).read_text("utf-8").splitlines()]
    pairs = (line.split("\t", 1) for line in lines if "\t" in line)
    return {english: korean for english, korean in pairs if korean}


if __name__ == "__main__":
    sys.exit(main())
