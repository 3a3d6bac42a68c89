"""What several commands share: options, the question before a change, JSON."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lawsker_db.phrases import Phrase, said

if TYPE_CHECKING:
    from lawsker_db.postgres.blockers import BlockerPolicy


class Form(StrEnum):
    """Forms of an archive, as `safety.archive.Form` has them: named here so that --help loads no driver."""

    DIRECTORY = "directory"
    CUSTOM = "custom"


class Extent(StrEnum):
    """Which tables the migration's own transaction fingerprints."""

    TOUCHED = "touched"
    FULL = "full"


class Language(StrEnum):
    """The languages of the face, as `phrases.LANGUAGES` has them."""

    ENGLISH = "en"
    CHINESE = "zh"


class Blocking(StrEnum):
    """What to do about sessions in the way, as `postgres.blockers.OnBlocker` has it."""

    WAIT = "wait"
    ABORT = "abort"
    CANCEL = "cancel"
    TERMINATE = "terminate"


Url = Annotated[
    str | None,
    typer.Option("--database-url", help="Database; default DATABASE_URL, else PG* variables.", show_default=False),
]
Direct = Annotated[
    str | None,
    typer.Option(
        "--direct-url",
        help="The same database past a pooler, used for everything; default LAWSKER_DIRECT_URL.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, events as JSON on stderr.")]
Runs = Annotated[Path, typer.Option("--runs", help="Folder for backups, journals and reports.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done; change nothing.")]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", help="Tables that dump and restore work on at once; default by cores.", min=1),
]
Format = Annotated[
    Form, typer.Option("--format", help="A folder that several workers write, or one file (by one worker).")
]
After = Annotated[
    str,
    typer.Option("--after-backup", help="Command for the proven backup, {path} in it: to carry a copy elsewhere."),
]
ProofExtent = Annotated[
    Extent,
    typer.Option(
        "--proof", help="Compare the tables that are touched, or lock all (nobody writes meanwhile) and compare them."
    ),
]
Queries = Annotated[
    Path | None,
    typer.Option(
        "--queries", help="File of SELECTs, each with a semicolon, whose plans are compared.", show_default=False
    ),
]
ProofServer = Annotated[
    str | None,
    typer.Option(
        "--proof-server", help="URL of the server to restore on; default: the database's own.", show_default=False
    ),
]
Accept = Annotated[
    str, typer.Option("--accept-unproven-backup", help="Why to go on where a backup cannot be proven here.")
]
MaxLock = Annotated[float, typer.Option("--max-lock-s", help="Longest foretold lock that is still a go.", min=0)]
LockTimeout = Annotated[
    float, typer.Option(help="Seconds that one try for table locks lasts: others wait behind it.", min=0.01, max=60)
]
LockPatience = Annotated[float, typer.Option(help="Seconds to try for table locks.", min=0)]
Reconnect = Annotated[float, typer.Option(help="Seconds to ask again when COMMIT's answer is lost.", min=0)]
Recover = Annotated[bool, typer.Option("--recover", help="First settle what killed runs left (lawsker-db recover).")]
Blockers = Annotated[
    Blocking,
    typer.Option(
        "--on-blocker", help="Sessions in the way of a table lock: wait for them, give way, or end what they do."
    ),
]
EvenDumps = Annotated[
    bool, typer.Option("--even-dumps", help="With cancel or terminate: dumps and other sessions of this tool too.")
]
Notify = Annotated[
    str,
    typer.Option(
        "--notify", help="Program that gets each start, blocker, success and failure as JSON on its standard input."
    ),
]
Config = Annotated[Path | None, typer.Option(help="Another chain's alembic.ini.", show_default=False)]
Chosen = Annotated[list[str] | None, typer.Option("--option", help="NAME=VALUE for the revisions.")]


def _speaks(
    lang: Annotated[
        Language | None, typer.Option("--lang", help="Language of what people read.", show_default=False)
    ] = None,
) -> None:
    """Have Typer make the option --lang, of which only the form is wanted."""


def language_option() -> Any:
    """The option --lang for one command. Its value was read before the line is parsed (`cli.language`)."""
    alone = typer.Typer(add_completion=False)
    alone.command()(_speaks)
    option: Any = next(found for found in typer.main.get_command(alone).params if found.name == "lang")
    option.expose_value = False
    return option


def first_hint(checks: tuple[Any, ...]) -> str:
    """Pure. What to do about the first check that failed."""
    hints = [check.detail for check in checks if check.fails and check.detail]
    return hints[0] if hints else Phrase("mend what failed, then look again")


def proof_target(url: str | None) -> Any:
    """Pure. The server that --proof-server names, None when it names none."""
    from lawsker_db.target import parse_target

    return parse_target(url, "--proof-server") if url else None


def blocker_policy(on_blocker: Blocking, *, even_dumps: bool) -> BlockerPolicy:
    """Pure. Raise `UsageError` for --even-dumps where nothing would be ended."""
    from lawsker_db.errors import UsageError
    from lawsker_db.postgres.blockers import BlockerPolicy, OnBlocker

    if even_dumps and on_blocker in (Blocking.WAIT, Blocking.ABORT):
        raise UsageError(
            Phrase("--even-dumps ends nothing with --on-blocker {on_blocker}.", on_blocker=on_blocker.value),
            hint="--on-blocker terminate --even-dumps",
        )
    return BlockerPolicy(on_blocker=OnBlocker(on_blocker.value), even_dumps=even_dumps)


def require_utf8(option: str, *values: str) -> None:
    """Pure. Raise `UsageError` for bytes that no server takes for a name or a text."""
    from lawsker_db.errors import UsageError

    try:
        "".join(values).encode()
    except UnicodeEncodeError:
        raise UsageError(
            Phrase("{option} is not UTF-8.", option=option),
            hint=Phrase("type it in a terminal whose encoding is UTF-8"),
        ) from None


def ask(question: str) -> None:
    """Ask on the terminal; refuse where there is none."""
    from lawsker_db.errors import UsageError

    if not sys.stdin.isatty():
        raise UsageError(Phrase("There is no terminal to ask on."), hint=Phrase("type it with --yes if you mean it"))
    typer.confirm(as_question(question), abort=True, err=True)


def as_question(text: str) -> str:
    """Pure but for `speak`. A question in the language of this process, as a terminal may be given it."""
    from lawsker_db.record.markup import visible

    return visible(said(text))


def plain(value: object) -> Any:
    from lawsker_db.record.journal import as_json

    return as_json(value)
