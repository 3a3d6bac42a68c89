"""Values that travel: events, checks, receipts and the report of a run. No behaviour beyond their own arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from lawsker_db.changes import Promised, RescuedTable, SizeChange, TableChange
from lawsker_db.phrases import Phrase


class Phase(StrEnum):
    """What a run does at the moment, in the order of the procedure."""

    PLAN = "plan"
    PREFLIGHT = "preflight"
    BACKUP = "backup"
    PROOF = "proof"
    REHEARSAL = "rehearsal"
    HANDOVER = "handover"
    MIGRATION = "migration"
    GATE = "gate"
    COMMIT = "commit"
    CONFIRM = "confirm"
    VERIFY = "verify"
    RESTORE = "restore"
    RESCUE = "rescue"
    SWAP = "swap"
    REPORT = "report"


class Direction(StrEnum):
    """Which way a migration goes. A stamp changes the version table alone; a restore is no migration, and its report says
    so."""

    UPGRADE = "upgrade"
    DOWNGRADE = "downgrade"
    STAMP = "stamp"
    RESTORE = "restore"


class Verdict(StrEnum):
    """How a run ended, in the words of the promise."""

    DONE = "done"
    NOTHING_TO_DO = "nothing to do"
    DRY_RUN = "dry run"
    REHEARSED = "rehearsed"
    REFUSED = "refused"
    ROLLED_BACK = "rolled back"
    INTERRUPTED = "interrupted"
    UNKNOWN = "outcome unknown"
    COMMITTED_UNPROVEN = "committed, not proven"
    RESTORE_FAILED = "restore failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in a run. `text` is for people, empty where only the journal wants it; `facts` is for
    machines. `lasting` false: mere progress.

    The facts of a phase's `begin` and `end` say where it stands (`number`, `of`) and what was expected of it (`estimate_s`,
    `left_s`, `expected_bytes`; None where nothing is known). Mere progress counts in `bytes`, or in `tables` or `statements`
    of so many (`of`).
    """

    phase: Phase
    name: str
    text: str
    facts: Mapping[str, object] = field(default_factory=dict)
    lasting: bool = True
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


OnEvent = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Take an event and do nothing with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding. `ok` None means that it could not be checked, which is never "passed".

    Checks of verification carry their `code` in the list, the first offending `keys` and a `hint`.
    """

    name: str
    ok: bool | None
    expected: str
    found: str
    detail: str = ""
    warning: bool = False
    code: str = ""
    keys: tuple[str, ...] = ()
    hint: str = ""

    @property
    def fails(self) -> bool:
        """Pure. True when this finding must stop a run."""
        return self.ok is not True and not self.warning

    @property
    def contrast(self) -> Phrase:
        """Pure. What was expected beside what was found."""
        return Phrase(
            "{name}: expected {expected}, found {found}", name=self.name, expected=self.expected, found=self.found
        )


def failures(checks: tuple[Check, ...]) -> tuple[Check, ...]:
    """Pure. The findings that must stop a run."""
    return tuple(check for check in checks if check.fails)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Which server and database a connection leads to. `version` is server_version_num, 150018 for 15.18.

    `started_at` tells two lives of one server apart, and a standby from the primary that it copies.
    """

    version: int
    system_identifier: str
    database: str
    database_oid: int
    user: str
    session_user: str
    superuser: bool
    in_recovery: bool
    encoding: str
    data_bytes: int
    address: str
    started_at: datetime | None = None

    @property
    def major(self) -> int:
        """Pure. 15 for 150018."""
        return self.version // 10000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """The content of one table on some of its columns: row count and two 64-bit-seeded sums, as decimal text."""

    table: str
    columns: tuple[str, ...]
    rows: int
    sums: tuple[str, str]

    def same_content(self, other: Fingerprint) -> bool:
        """Pure. True when both saw the same rows in the same columns."""
        return (self.columns, self.rows, self.sums) == (other.columns, other.rows, other.sums)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableContent:
    """How the content of one table that stood before was proven: untouched by our locks, or fingerprinted twice."""

    table: str
    proof: str
    rows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupReceipt:
    """One backup on disk. `proven` tells whether it was restored and found equal."""

    backup_id: str
    folder: str
    bytes: int
    sha256: str
    snapshot: str
    client_version: str
    duration_s: float
    proven: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """One trial restore that gave the same content and catalog. `omitted` names what it could not compare, and why."""

    proven_at: str
    server_version: int
    tables: int
    rows: int
    omitted: tuple[str, ...]
    restore_s: float
    compare_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePoint:
    """A place in the WAL to which the whole server can be recovered, by tools that keep its WAL.

    `name` is empty where the role may not write a named one. `archived` tells whether the server archives its WAL itself.
    """

    name: str
    lsn: str
    timeline: int
    archived: bool
    at: datetime

    @property
    def commands(self) -> tuple[str, ...]:
        """Pure. How pgBackRest and Barman recover to it, into an empty folder. By LSN: from that both find the backup
        to begin with, from a name neither does."""
        return (
            f"pgbackrest --stanza=STANZA --pg1-path=EMPTY_FOLDER --type=lsn --target={self.lsn} --target-action=promote"
            " restore",
            f"barman restore --target-lsn {self.lsn} --target-action promote SERVER auto EMPTY_FOLDER",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long one phase took."""

    phase: Phase
    started_at: datetime
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LockHeld:
    """A strong lock on an existing table: from when it was granted to COMMIT, and how many tries it took."""

    table: str
    mode: str
    granted_at: datetime
    attempts: int
    held_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LockForecast:
    """How long a lock on an existing table was held on the copy, which foretells production."""

    table: str
    mode: str
    held_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementCost:
    """A statement of a rehearsal: how long the server took for it, and what it did. `rows` is None but for INSERT and the
    like; `locks` are those it newly took; `rewritten` are existing tables that it gave a new file."""

    statement: str
    duration_s: float
    rows: int | None
    wal_bytes: int
    growth_bytes: int
    locks: tuple[LockForecast, ...]
    rewritten: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What a rehearsal on the restored copy found, and whether it says go.

    `locks`: each existing table that writers, or readers too, would have to wait for. `statements`, slowest first: the
    slowest ones, and all that took such a lock or rewrote a table; not the hundreds that did neither.
    `statement_count` is how many there were.
    """

    go: bool
    reason: str
    duration_s: float
    locks: tuple[LockForecast, ...]
    rewritten: tuple[str, ...]
    wal_bytes: int
    growth_bytes: int
    statements: tuple[StatementCost, ...]
    statement_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TableBack:
    """What came back into one table: rows that were archived and are there again, rows that the run made and that were kept
    as made, and rows that stay in the archive because a parent is gone, by their first keys; `without_parent` came back with
    NULL where theirs was. Of a table that stood before, `columns` got their values back."""

    table: str
    columns: tuple[str, ...]
    archived: int
    back: int
    kept_as_made: int
    left: int = 0
    left_keys: tuple[str, ...] = ()
    without_parent: int = 0
    without_parent_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reinstated:
    """What one revision got back from an archive, and how long that took within the transaction."""

    revision: str
    archive: str
    made_at: datetime
    tables: tuple[TableBack, ...]
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """Everything a run can say for itself; `report.json` is this value. `archive` is the schema in which a rollback keeps
    what it took away, `kept` the tables there with their rows. `rescued` is what a restore found beyond the backup, None
    where nobody has looked."""

    run_id: str
    verdict: Verdict
    target: str
    tool_version: str
    started_at: datetime
    duration_s: float
    direction: Direction
    from_revisions: tuple[str, ...]
    to_revisions: tuple[str, ...]
    steps: tuple[str, ...]
    server: Server | None = None
    backup: BackupReceipt | None = None
    proof: Proof | None = None
    rehearsal: Rehearsal | None = None
    restore_point: RestorePoint | None = None
    timings: tuple[Timing, ...] = ()
    locks: tuple[LockHeld, ...] = ()
    checks: tuple[Check, ...] = ()
    contents: tuple[TableContent, ...] = ()
    promised: tuple[Promised, ...] = ()
    changes: tuple[TableChange, ...] = ()
    sizes: tuple[SizeChange, ...] = ()
    rescued: tuple[RescuedTable, ...] | None = None
    rows_made: Mapping[str, int] = field(default_factory=dict)
    reinstated: tuple[Reinstated, ...] = ()
    archive: str = ""
    kept: Mapping[str, int] = field(default_factory=dict)
    figures: Mapping[str, int] = field(default_factory=dict)
    not_proven: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    message: str = ""
    state: str = ""
    hint: str = ""
    folder: str = ""
