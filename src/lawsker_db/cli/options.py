"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Url = Annotated[
    str | None,
    typer.Option("--database-url", help="Database; default DATABASE_URL, else PG* variables.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, events as JSON on stderr.")]
Runs = Annotated[Path, typer.Option("--runs", help="Folder for backups, journals and reports.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done; change nothing.")]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", help="Tables that dump and restore work on at once; default by cores.", min=1),
]
Accept = Annotated[
    str, typer.Option("--accept-unproven-backup", help="Why to go on where a backup cannot be proven here.")
]
MaxLock = Annotated[float, typer.Option("--max-lock-s", help="Longest foretold lock that is still a go.", min=0)]
LockPatience = Annotated[float, typer.Option(help="Seconds to try for table locks.", min=0)]
Config = Annotated[Path | None, typer.Option(help="Another chain's alembic.ini.", show_default=False)]
Chosen = Annotated[list[str] | None, typer.Option("--option", help="NAME=VALUE for the revisions.")]
