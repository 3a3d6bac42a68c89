"""`lawsker-db doctor`: could a run begin? Which setting came from where, every check by subject, and what mends each."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lawsker_db.cli.options import Direct, Json, Runs, Url, plain
from lawsker_db.phrases import Phrase, joined

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lawsker_db.cli.settings import Setting
    from lawsker_db.evidence import Check
    from lawsker_db.safety.readiness import Readiness
    from lawsker_db.target import Target

SHARED = ("granted", "none")  # findings of which there are many, told in one line
OF_ITSELF = ("tool", "connection", "database")  # what is wanted there says nothing new


def doctor(
    database_url: Url = None, direct_url: Direct = None, runs: Runs = Path("lawsker-runs"), as_json: Json = False
) -> None:
    """Tell whether safe-upgrade could begin: settings, client programs, connection, server, rights, disk, what a dump would
    miss; and what mends each lack. Reads only.

    Where the database cannot be reached it tells why. Exit code 10 when something stands in the way.
    """
    from lawsker_db.cli.render import print_json, tell
    from lawsker_db.cli.settings import Typed, settings_found
    from lawsker_db.safety.readiness import examine
    from lawsker_db.target import find_target

    target = find_target(database_url, direct_url)
    typed = Typed(database_url=database_url, direct_url=direct_url, runs=runs, words=sys.argv[1:])
    settings = settings_found(typed, target, os.environ)
    readiness = examine(target, runs)
    if as_json:
        print_json(_document(readiness, settings))
    else:
        for line in _lines(target, readiness, settings):
            tell(line)
    raise typer.Exit(10 if readiness.failed else 0)


def _document(readiness: Readiness, settings: tuple[Setting, ...]) -> dict[str, object]:
    """Pure. All of it for machines."""
    checks = [
        asdict(check) | {"subject": subject.value, "status": status_of(check)} for subject, check in readiness.checks
    ]
    server = asdict(readiness.server) if readiness.server else None
    found = {"ready": not readiness.failed, "server": server, "checks": checks}
    return dict(plain(found | {"settings": [asdict(setting) for setting in settings]}))


def status_of(check: Check) -> str:
    """Pure. How a check ended: what could not be checked is NOT RUN, and never passed."""
    if check.ok is None:
        return "NOT RUN"
    return "PASS" if check.ok else "WARN" if check.warning else "FAIL"


def _lines(target: Target, readiness: Readiness, settings: tuple[Setting, ...]) -> Iterator[str]:
    """Pure. Everything for people: who and where, settings, checks by subject, the verdict, what to type."""
    from lawsker_db.cli.render import version_text

    server = readiness.server
    if server is None:
        yield Phrase("Database: {label}, which could not be asked", label=target.label)
    else:
        version = version_text(server.version)
        yield Phrase("Database: {label}, PostgreSQL {version}", label=target.label, version=version)
        yield Phrase(
            "Seen as:  {user} (session user {session_user}), {size:,} bytes, system identifier {identifier}",
            user=server.user,
            session_user=server.session_user,
            size=server.data_bytes,
            identifier=server.system_identifier,
        )
    yield Phrase("Settings:")
    for setting in settings:
        yield _setting_line(setting)
    for subject, pairs in groupby(readiness.checks, key=lambda pair: pair[0]):
        yield Phrase("{subject}:", subject=Phrase(subject.value.capitalize()))
        yield from _check_lines([check for _, check in pairs])
    place = target.label
    yield Phrase("NOT READY: {label}", label=place) if readiness.failed else Phrase("READY: {label}", label=place)
    mends = [check.hint or check.detail for check in readiness.failed]
    hints = [mend for mend in mends if mend] or ([Phrase("mend what failed, then look again")] if mends else [])
    for hint in dict.fromkeys(hints or ["lawsker-db safe-upgrade"]):
        yield Phrase("Next: {hint}", hint=hint)


def _setting_line(setting: Setting) -> Phrase:
    """Pure. One setting: its value, from where, and what overrides it."""
    parts: list[str] = [setting.value] if setting.value else []
    parts += [_source(setting.source)] if setting.source else []
    parts += [setting.note] if setting.note else []
    if setting.overridden_by:
        parts.append(Phrase("OVERRIDDEN by {winner}", winner=setting.overridden_by))
    return Phrase("         {name}: {facts}", name=setting.name, facts=joined(parts))


def _source(source: str) -> Phrase:
    """Pure. Where a setting came from, if it was set at all."""
    return Phrase("by default") if source == "default" else Phrase("from {source}", source=source)


def _check_lines(checks: list[Check]) -> Iterator[str]:
    """Pure. A line a check with what was found and what is wanted; what is simply there, or simply not, shares
    one. Then what mends it."""
    together = [check for check in checks if check.ok and check.found in SHARED]
    for found in dict.fromkeys(check.found for check in together):
        names = joined(check.name for check in together if check.found == found)
        yield Phrase("{mark}  {found}: {names}", mark=_mark("PASS"), found=found, names=names)
    for check in checks:
        if check in together:
            continue
        facts = {"mark": _mark(status_of(check)), "name": check.name, "found": check.found}
        if check.ok is None or check.found == check.expected or check.name in OF_ITSELF:
            yield Phrase("{mark}  {name}: {found}", **facts)
        else:
            yield Phrase("{mark}  {name}: {found} (wanted: {wanted})", **facts, wanted=check.expected)
        mend = check.hint or check.detail
        if mend and check.ok is not True:
            yield Phrase("         Mend: {mend}", mend=mend)


def _mark(status: str) -> Phrase:
    """Pure. How a check ended, seven columns wide in either language."""
    marks = {"PASS": Phrase("PASS   "), "WARN": Phrase("WARN   "), "FAIL": Phrase("FAIL   ")}
    return marks.get(status, Phrase("NOT RUN"))
