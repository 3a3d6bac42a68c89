"""`lawsker-db verify`: look at everything that the list names, and say it to people and machines."""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lawsker_db.cli.options import Direct, Json, Queries, Runs, Url, plain
from lawsker_db.phrases import Phrase

if TYPE_CHECKING:
    from lawsker_db.evidence import Check

ReadOnly = Annotated[
    bool, typer.Option("--read-only", help="Try no statement on any table: what needs it is NOT RUN, never passed.")
]
NoContent = Annotated[
    bool, typer.Option("--no-content", help="Do not read the older tables to compare them with the run's backup.")
]
Junit = Annotated[
    Path | None, typer.Option("--junit", help="Also write the result as JUnit XML into this file.", show_default=False)
]


def verify(
    database_url: Url = None,
    direct_url: Direct = None,
    runs: Runs = Path("lawsker-runs"),
    read_only: ReadOnly = False,
    no_content: NoContent = False,
    queries: Queries = None,
    junit: Junit = None,
    as_json: Json = False,
) -> None:
    """Check structure, data, behaviour and performance against what the database's revisions promise.

    All of it is rolled back, what is tried as well. Beside the run's folder it compares with how it was before the run.
    Exit code 13 when a check failed; warnings do not count.
    """
    from lawsker_db.cli.render import print_json, tell
    from lawsker_db.evidence import failures
    from lawsker_db.safety.verification import VerifyOptions
    from lawsker_db.safety.verification import verify as look
    from lawsker_db.target import find_target

    target = find_target(database_url, direct_url)
    if junit is not None:
        _require_place(junit)
    options = VerifyOptions(runs=runs, read_only=read_only, content=not no_content, queries=queries)
    checks = look(target, options=options)
    failed = failures(checks)
    if as_json:
        print_json({"ok": not failed, "checks": [_as_json(check) for check in checks]})
    else:
        _show(checks)
        tell(Phrase("{summary}: {label}", summary=summary(checks), label=target.label))
    code = 13 if failed else 0
    if junit is not None and not _written(junit, checks, target.label):
        code = code or 2
    raise typer.Exit(code)


def _show(checks: tuple[Check, ...]) -> None:
    """Group by group, a line a check, and what to do about what does not hold."""
    from lawsker_db.cli.render import show_checks, tell
    from lawsker_db.record.junit import group_of

    for group, found in groupby(checks, key=group_of):
        tell(Phrase("{group}:", group=Phrase(group.capitalize())))
        show_checks(tuple(found))


def summary(checks: tuple[Check, ...]) -> str:
    """Pure. How many passed, failed, are worth a look, and were left out."""
    failed = sum(check.fails for check in checks)
    passed = sum(check.ok is True for check in checks)
    warned = sum(check.warning and check.ok is False for check in checks)
    rest = len(checks) - failed - passed - warned
    return Phrase(
        "{passed} passed, {failed} failed, {warned} warnings, {rest} not run",
        passed=passed,
        failed=failed,
        warned=warned,
        rest=rest,
    )


def _as_json(check: Check) -> object:
    """Pure. A check with its severity here, and when it must hold."""
    from lawsker_db.safety.checklist import ITEMS

    item = ITEMS.get(check.code)
    severity = "warning" if check.warning else "error"
    if item is not None and check.ok is not False:
        severity = item.severity.value
    return plain(asdict(check) | {"severity": severity, "when": item.when.value if item else "gate"})


def _require_place(path: Path) -> None:
    """Refuse a file that cannot be written, before anything is asked."""
    import os

    from lawsker_db.errors import UsageError

    folder = path.absolute().parent
    hint = Phrase("name a file in a folder that you may write to")
    if not folder.is_dir():
        raise UsageError(
            Phrase("There is no folder {folder} for {name}.", folder=str(folder), name=path.name), hint=hint
        )
    if path.is_dir():
        raise UsageError(Phrase("{path} is a folder.", path=str(path)), hint=hint)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(Phrase("You may not write into {folder}.", folder=str(folder)), hint=hint)


def _written(path: Path, checks: tuple[Check, ...], suite: str) -> bool:
    """Write the file; what cannot be written is said, and takes nothing away from the result."""
    from lawsker_db.cli.render import say
    from lawsker_db.record.junit import write_junit

    try:
        write_junit(path, checks, suite=suite)
    except OSError as failed:
        say(
            Phrase(
                "{path} could not be written: {reason}. The result above stands.",
                path=str(path),
                reason=failed.strerror or str(failed),
            )
        )
        return False
    return True
