"""`lawsker-db adopt`: look at a live database that nobody stamped, and stamp it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from lawsker_db.cli.options import Direct, DryRun, Json, Url, Yes, ask, plain
from lawsker_db.phrases import Phrase

if TYPE_CHECKING:
    from lawsker_db.safety.adoption import Adoption

SHOWN = 20  # lines of a list: a database that is another one differs in hundreds


def adopt(
    database_url: Url = None,
    direct_url: Direct = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Stamp a live Lawsker database that no chain has stamped as revision 012, after a look at it.

    Writes alembic_version and the history, nothing else. A stamp of another chain is never replaced.
    """
    from lawsker_db.cli.interrupts import settle
    from lawsker_db.cli.render import print_json, tell
    from lawsker_db.safety.adoption import adopt as adopt_database
    from lawsker_db.safety.adoption import refuse_another
    from lawsker_db.target import find_target

    target = find_target(database_url, direct_url)
    found = adopt_database(target, dry_run=True)
    settled = found.stamped_before == found.stamped_now and not found.checks
    if not as_json:
        _show(found)
    refuse_another(found)
    if not settled and not dry_run:
        if not yes:
            ask(Phrase("Stamp {label} as revision 012?", label=target.label))
        found = adopt_database(target)
        settle()
    revision = ", ".join(found.stamped_now)
    if as_json:
        print_json(plain(asdict(found)))
    elif settled:
        tell(Phrase("The database is at revision {revision} already; nothing was done.", revision=revision))
    elif dry_run:
        tell(Phrase("Can be adopted. Nothing was changed. Next: lawsker-db adopt"))
    else:
        tell(Phrase("Adopted: stamped {revision}. Next: lawsker-db safe-upgrade", revision=revision))


def _show(found: Adoption) -> None:
    """What was found: the checks, and the first lines of how it differs and of what it has beyond."""
    from lawsker_db.cli.render import say, show_checks, tell

    show_checks(found.checks)
    _first(tell, [Phrase("WARN     differs: {difference}", difference=one) for one in found.differences])
    _first(say, [Phrase("      extra, left alone: {extra}", extra=one) for one in found.extras])


def _first(speak: Callable[[str], None], lines: Sequence[Phrase]) -> None:
    for line in lines[:SHOWN]:
        speak(line)
    if len(lines) > SHOWN:
        speak(Phrase("         and {number} more: --json lists them", number=len(lines) - SHOWN))
