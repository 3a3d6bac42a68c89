#!/usr/bin/env python3
"""Gather what people read into the catalogue, and compile it: `python scripts/messages.py` (make messages).

Sentences of the code are written as Phrase("…"); the rest is asked of the product itself: the help of the command line,
the words of the contracts, and words that are values (phases, verdicts). Translators edit the .po file and run this again.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "lawsker_db"
FOLDER = SOURCE / "locale" / "zh_CN" / "LC_MESSAGES"
PO, MO = FOLDER / "lawsker_db.po", FOLDER / "lawsker_db.mo"
# What Typer says through gettext, in the process's own domain.
OF_TYPER = ("Arguments", "Options", "Commands", "default: {default}", "required", "env var: {var}", "(dynamic)")
# Kinds of objects in the words of postgres/dependants.py, beside those that postgres/facts.py has a question about.
KINDS = ("view", "materialized view", "generated column", "default", "parent table")
ANSWERED = re.compile(r"(?:SELECT|THEN) '([A-Z][^']*?)(?:: )?'")  # safety/preflight.py takes it apart from the names
UNDATED = datetime(2026, 1, 1, tzinfo=UTC)  # git has the date; another one here would be a conflict in every merge
HEADER = "# Simplified Chinese for lawsker-db. Terms as in docs/glossary.md."


def gathered() -> dict[str, str]:
    """Every message with the place where it was first found, relative to the checkout."""
    found: dict[str, str] = {}
    for file, _line, message, _comments, _context in sorted(
        extract_from_dir(str(SOURCE), [("**.py", "python")], keywords={"Phrase": None})
    ):
        found.setdefault(str(message), f"src/lawsker_db/{file}")
    for message, place in (*_of_commands(), *_of_contracts(), *_of_words(), *((word, "typer") for word in OF_TYPER)):
        found.setdefault(message, place)
    return {
        message: place for message, place in found.items() if any(char.isalpha() for char in without_fields(message))
    }


def without_fields(template: str) -> str:
    """Pure. A template's own words."""
    return re.sub(r"\{[^{}]*\}", "", template)


def _of_commands() -> Iterator[tuple[str, str]]:
    """The help of every command and option."""
    import typer

    from lawsker_db.cli.app import app
    from lawsker_db.cli.language import localized

    def walk(command: Any) -> Iterator[str]:
        yield command.help
        yield from (getattr(parameter, "help", None) or "" for parameter in command.params)
        yield "Show this message and exit."
        for inner in getattr(command, "commands", {}).values():
            yield from walk(inner)

    yield from ((text, "help") for text in walk(localized(typer.main.get_command(app))) if text)


def _of_contracts() -> Iterator[tuple[str, str]]:
    """What the shipped revisions say of themselves: titles, every `says`, and the words that their queries answer."""
    from lawsker_db.contract import Invariant
    from lawsker_db.revisions import load_chain
    from lawsker_db.safety.answers import templates

    def walk(value: object) -> Iterator[str]:
        if isinstance(value, tuple):
            for item in value:
                yield from walk(item)
        for name in getattr(value, "__dataclass_fields__", ()):
            inner = getattr(value, name)
            if name == "says":
                yield inner
            if name == "query":
                yield from templates(inner) if isinstance(value, Invariant) else ANSWERED.findall(inner)
            yield from walk(inner)

    chain = load_chain(None)
    for script in chain.scripts.walk_revisions():
        yield script.doc, "alembic/versions"
        yield from ((text, "alembic/versions") for text in walk(getattr(script.module, "contract", None)) if text)


def _of_words() -> Iterator[tuple[str, str]]:
    """Values that are words, shown as they are in English; and the list of checks, a table of plain text."""
    from lawsker_db.evidence import Direction, Phase, Verdict
    from lawsker_db.postgres.closed import CLOSED_QUERIES, NEWER_CLOSED_QUERIES, SECRETS
    from lawsker_db.postgres.facts import NEWER_QUERIES, QUERIES
    from lawsker_db.record.junit import GROUPS, OTHER
    from lawsker_db.safety.checklist import CHECKLIST
    from lawsker_db.safety.doubt import Outcome
    from lawsker_db.safety.rights import Need

    words: tuple[type[Enum], ...] = (Phase, Verdict, Direction, Outcome)
    yield from ((str(word.value), _place(kind)) for kind in words for word in kind)
    yield from ((str(need.value).capitalize(), _place(Need)) for need in Need)
    yield from ((group.capitalize(), "src/lawsker_db/record/junit.py") for group in (*GROUPS.values(), OTHER))
    kinds = (QUERIES, *NEWER_QUERIES.values(), CLOSED_QUERIES, *NEWER_CLOSED_QUERIES.values(), SECRETS, KINDS)
    yield from ((kind, "src/lawsker_db/postgres/catalog.py") for queries in kinds for kind in queries)
    yield from (
        (said, "src/lawsker_db/safety/checklist.py") for item in CHECKLIST for said in (item.title, item.expected)
    )
    yield from _of_standing()


def _of_standing() -> Iterator[tuple[str, str]]:
    """The words of status, history and doctor; some begin a line, and are written large there."""
    from lawsker_db.postgres.arrival import Cause
    from lawsker_db.record.history import FIRST_DIRECTIONS, REPLAY, RESTORE
    from lawsker_db.safety import audit, leftovers, readiness, standing

    yield from ((word.value, "src/lawsker_db/postgres/arrival.py") for word in Cause)
    yield from ((word.value, "src/lawsker_db/safety/leftovers.py") for word in leftovers.Kind)
    yield from ((word, "src/lawsker_db/record/history.py") for word in (*FIRST_DIRECTIONS, RESTORE, REPLAY))
    yield from ((word.value.upper(), "src/lawsker_db/cli/standing.py") for word in (*standing.Word, *audit.Kind))
    yield from ((word.value.capitalize(), "src/lawsker_db/cli/doctoring.py") for word in readiness.Subject)


def _place(kind: type) -> str:
    """Pure. The file of a class of ours, relative to the checkout."""
    return f"src/{kind.__module__.replace('.', '/')}.py"


def merged(found: dict[str, str], old: Catalog) -> Catalog:
    """The catalogue of what was found, with the translations there are; what is no longer said is left out."""
    new = Catalog(
        locale="zh_CN",
        domain="lawsker_db",
        header_comment=HEADER,
        project="lawsker-db",
        creation_date=UNDATED,
        revision_date=UNDATED,
        fuzzy=False,
    )
    for message, place in sorted(found.items(), key=lambda item: (item[1], item[0])):
        known = old.get(message)
        new.add(message, str(known.string) if known else "", locations=[(place, 0)])
    return new


def as_po(catalog: Catalog) -> bytes:
    file = io.BytesIO()
    write_po(file, catalog, width=120, include_lineno=False, omit_header=False)
    return file.getvalue()


def as_mo(catalog: Catalog) -> bytes:
    file = io.BytesIO()
    write_mo(file, catalog)
    return file.getvalue()


def read_catalog() -> Catalog:
    if not PO.exists():
        return Catalog(locale="zh_CN", domain="lawsker_db")
    with PO.open("rb") as file:
        return read_po(file, locale="zh_CN", domain="lawsker_db")


def main() -> int:
    """Write both files. Exit code 1 while a message has no translation; `--list` names those."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    catalog = merged(gathered(), read_catalog())
    PO.write_bytes(as_po(catalog))
    MO.write_bytes(as_mo(catalog))
    missing = [message for message in catalog if message.id and not message.string]
    if "--list" in sys.argv:
        sys.stdout.write("".join(f"{message.locations[0][0]}: {message.id!r}\n" for message in missing))
    sys.stdout.write(f"{len(catalog)} messages, {len(missing)} without a translation\n")
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main())
