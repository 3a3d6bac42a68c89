"""Errors, grouped by the state in which they leave the database.

Whoever reads one wants to know three things: what failed, what state the database is in, what to type next. So each
carries `message`, `state` and `hint`, and its class decides the exit code. Facts for machines go into `fields`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lawsker_db.phrases import Phrase

UNTOUCHED = Phrase("The database was not changed.")
ROLLED_BACK = Phrase("The transaction was rolled back; the database is as it was.")


class LawskerError(Exception):
    """What every error of this package is."""

    exit_code: ClassVar[int] = 1
    default_state: ClassVar[str] = UNTOUCHED

    def __init__(self, message: str, *, hint: str, state: str | None = None, **fields: object) -> None:
        super().__init__(message)
        self.message = message
        self.state = self.default_state if state is None else state
        self.hint = hint
        self.fields: Mapping[str, object] = fields

    def __str__(self) -> str:
        return f"{self.message}\n{self.state}\nNext: {self.hint}"


class UsageError(LawskerError):
    """The command line cannot be carried out as it was typed."""

    exit_code = 2


class Refused(LawskerError):
    """Something was found before the migration began; nothing was changed."""

    exit_code = 10


class Unreachable(Refused):
    """No connection to the server or database could be made."""


class BackupFailed(Refused):
    """No backup could be taken, so the migration was not started."""


class BackupUnproven(Refused):
    """A backup was taken and could not be proven here; the migration was not started."""


class RehearsalFailed(Refused):
    """The rehearsal on the restored copy failed, or foretells a lock that is too long; the migration was not started."""


class RolledBack(LawskerError):
    """The migration's transaction was rolled back."""

    exit_code = 11
    default_state = ROLLED_BACK


class GateRefused(RolledBack):
    """The gate found something that the revision's contract does not promise; `fields["checks"]` names it."""


class RevisionFailed(RolledBack):
    """A revision raised an error of its own."""


class LockNotObtained(RolledBack):
    """A table lock was not obtained within the patience given; `fields["blockers"]` names who holds it."""


class OutcomeUnknown(LawskerError):
    """The connection was lost at COMMIT and the server could not be asked since."""

    exit_code = 12
    default_state = Phrase("It is not known whether the migration was committed.")


class CommittedUnproven(LawskerError):
    """The migration was committed; a check after it failed."""

    exit_code = 13
    default_state = Phrase("The migration is committed.")


class ChangedOutside(LawskerError):
    """The migration was rolled back; another connection committed a change of the schema meanwhile, which stays."""

    exit_code = 13
    default_state = Phrase("The migration was rolled back; what another connection committed meanwhile stays.")


class RestoreFailed(LawskerError):
    """A backup could not be restored beside the database, or is not what was dumped; nothing was renamed."""

    exit_code = 14
    default_state = Phrase("Nothing was renamed; the database is the one that it was, and open.")


class Busy(LawskerError):
    """Another run is going on in this database."""

    exit_code = 15


class Interrupted(LawskerError):
    """The operator stopped the run."""

    exit_code = 130
    default_state = ROLLED_BACK
