"""After a migration that was committed and failed a check: it is kept, or rolled back with an archive, or the backup of the
run is restored. What is chosen is carried out by a run of its own, with a journal and a report of its own."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from lawsker_db.errors import CommittedUnproven, LawskerError, OutcomeUnknown, RestoreFailed, RolledBack
from lawsker_db.evidence import Event, OnEvent, Phase, RunReport
from lawsker_db.phrases import Phrase
from lawsker_db.safety.account import VERIFY_BACK
from lawsker_db.safety.restore import RestoreOptions, restore_run
from lawsker_db.safety.rollback import RollbackOptions, roll_back
from lawsker_db.target import Target


class WayBack(StrEnum):
    """What becomes of a migration that failed a check after its COMMIT."""

    KEEP = "keep"
    ROLLBACK = "rollback"
    RESTORE = "restore"


Choose = Callable[[CommittedUnproven], WayBack]


def keep(failed: CommittedUnproven) -> WayBack:
    """Pure. Whatever failed, the migration stays."""
    return WayBack.KEEP


def go_back(
    target: Target,
    failed: CommittedUnproven,
    choose: Choose,
    *,
    rollback: RollbackOptions,
    restore: RestoreOptions,
    on_event: OnEvent,
) -> LawskerError:
    """Carry out what is chosen, and give the error that says how all of it ended.

    Changes the database as `roll_back` or `restore`, or not at all. `RolledBack` when the way back was taken and proven;
    what it raised when it took place, or may have, and nobody could prove it; else the error that was, with why it was not
    taken. An interrupt, or a server that cannot be asked, is no failed check: then nothing is chosen.
    """
    start, folder = failed.fields.get("from_revisions"), failed.fields.get("folder")
    if not failed.fields.get("checks") or not isinstance(start, tuple) or not isinstance(folder, str):
        return failed
    way = choose(failed)
    if way is WayBack.KEEP:
        return failed
    goal = start[0] if start else "base"
    words = Phrase(
        "a check failed after COMMIT, so back to {goal} by a {way}: {why}",
        goal=goal,
        way=Phrase("rollback") if way is WayBack.ROLLBACK else Phrase("restore"),
        why=failed.message,
    )
    on_event(Event(phase=Phase.MIGRATION, name="back", text=words))
    try:
        if way is WayBack.ROLLBACK:
            return _rolled_back(failed, goal, roll_back(target, goal, options=rollback, on_event=on_event))
        return _restored(failed, restore_run(target, Path(folder), restore, on_event))
    except (OutcomeUnknown, CommittedUnproven, RestoreFailed) as found:
        found.message = Phrase(
            "A check failed after COMMIT ({why}), and on the way back: {then}",
            why=failed.message,
            then=found.message,
        )
        return found
    except LawskerError as refused:
        failed.message = Phrase("{message} It was not taken back: {why}", message=failed.message, why=refused.message)
        failed.hint = refused.hint
        return failed


def _rolled_back(failed: CommittedUnproven, goal: str, report: RunReport) -> RolledBack:
    """Pure. That the migration was taken back."""
    return RolledBack(
        Phrase("A check failed after COMMIT, and the migration was taken back: {why}", why=failed.message),
        hint=Phrase(
            "look at {folder}, mend what failed, then type it again; {command} looks at the way back",
            folder=report.folder,
            command=VERIFY_BACK,
        ),
        state=Phrase(
            "The database is at {goal} again, proven; what had been made is kept in schema {archive}.",
            goal=goal,
            archive=report.archive,
        ),
        folder=report.folder,
        run_id=report.run_id,
    )


def _restored(failed: CommittedUnproven, report: RunReport) -> RolledBack:
    """Pure. That the backup from before the migration stands in the database's place."""
    return RolledBack(
        Phrase("A check failed after COMMIT, and the backup from before was restored: {why}", why=failed.message),
        hint=Phrase(
            "look at {folder}, which also lists what was written since the backup; mend what failed",
            folder=report.folder,
        ),
        state=report.state,
        folder=report.folder,
        run_id=report.run_id,
    )
