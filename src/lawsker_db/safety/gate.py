"""The gate: inside the migration's own transaction, before COMMIT, prove that it did what it promised and nothing else.

It knows the catalog and every relation as they stood before, sees which of them the transaction has written (from its
locks), and for those compares a fingerprint taken behind the strong lock with one taken at the end. Each revision is
judged apart, because the next one may change what this one made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import Connection, text

from lawsker_db.contract import Contract, contract_digest
from lawsker_db.errors import ROLLED_BACK, GateRefused
from lawsker_db.evidence import (
    Check,
    Direction,
    Event,
    Fingerprint,
    LockHeld,
    OnEvent,
    Phase,
    TableContent,
    failures,
)
from lawsker_db.phrases import Phrase, first_of, joined
from lawsker_db.postgres import locks
from lawsker_db.postgres.catalog import Catalog, name_written, read_catalog
from lawsker_db.postgres.closed import WRITTEN_IN
from lawsker_db.postgres.scratch import build_promised
from lawsker_db.postgres.seal import Seal
from lawsker_db.postgres.session import IDLE_LIMIT, fires_triggers, own_path, pin_session, quoted_as_read
from lawsker_db.postgres.touched import is_counting, unknown_catalogs
from lawsker_db.safety.expectation import Promise, gone_with, unexpected
from lawsker_db.safety.groups import check_group, group_words
from lawsker_db.safety.keeping import Keeping
from lawsker_db.safety.made import judge_made
from lawsker_db.safety.observation import SEQUENCE, Columns, Observation, Reader
from lawsker_db.safety.reinstatement import Reinstating
from lawsker_db.safety.waiting import Waiting

SHOWN = 5  # offending rows or objects in one finding: enough to see the pattern, few enough to read at night
BEHIND_LOCKS = "5s"  # for a table that somebody else holds while everybody queues behind our locks
# With these the table may be written or reshaped.
OBSERVED_MODES = (locks.STRONGEST, "EXCLUSIVE", "ROW EXCLUSIVE")


class Gate:
    """What is known of one migration transaction, and the judgement over each of its revisions."""

    def __init__(
        self,
        conn: Connection,
        seal: Seal,
        schema: str,
        *,
        waiting: Waiting,
        direction: Direction,
        on_event: OnEvent,
        beside: Reader | None = None,
        keeping: Keeping | None = None,
        reinstating: Reinstating | None = None,
    ) -> None:
        """Remember; `begin` does the work. With `beside`, which reads tables on connections of their own, every table is
        locked and compared, touched or not. With `keeping` what a downgrade takes away goes there; with
        `reinstating` an upgrade brings it back."""
        self._conn = conn
        self._seal = seal
        self._schema = quoted_as_read(conn, schema)
        self._schema_name = schema
        self._waiting = waiting
        self._direction = direction
        self._on_event = on_event
        self._full = beside is not None
        self.keeping = keeping if direction is Direction.DOWNGRADE else None
        self.reinstating = reinstating if direction is Direction.UPGRADE else None
        self.promises: dict[str, Promise] = {}
        self._order: list[str] = []
        self._observation = Observation(conn, own=f"{self._schema}.alembic_version", beside=beside)
        self._rewrites = False
        self._locked: set[str] = set()  # by the revision under way
        self._judged: list[str] = []
        # What must hold behind its locks: raises if not.
        self.behind_lock: Callable[[str], None] = lambda revision: None
        self.locks: list[LockHeld] = []
        self.checks: list[Check] = []
        self.contents: tuple[TableContent, ...] = ()
        self.rows_made: dict[str, int] = {}

    def begin(self, contracts: tuple[Contract, ...]) -> None:
        """Read the catalog and the relations as they stand, and have the server build what is promised. Reads only,
        but for a scratch schema under a savepoint that is rolled back. Then lock and observe what the first contract
        says that its revision writes; with `full` every table, at the strength that the contracts need."""
        for contract in contracts:
            built = build_promised(self._conn, contract, self._schema_name)
            self.promises[contract.revision] = Promise(contract=contract, built=built, schema=self._schema)
            self._order.append(contract.revision)
        self.catalog = self.began_with = self.seen = read_catalog(self._conn, closed=True)
        self._observation.begin()
        if self._full:
            self._lock_everything(contracts)
        self._lock_written()

    def lock_tables(self, tables: Mapping[str, str], rewrites: tuple[str, ...]) -> None:
        """Take the locks, wait for older snapshots where a table will be rewritten, fingerprint what may be written."""
        with own_path(self._conn, self._schema_name):
            self._lock_tables(tables, rewrites)

    def _lock_tables(self, tables: Mapping[str, str], rewrites: tuple[str, ...]) -> None:
        qualified = {f"{self._schema}.{table}": mode for table, mode in tables.items()}
        self._lock(qualified, rewrites=bool(rewrites))
        self._rewrites = self._rewrites or bool(rewrites)
        if self._order:
            self.behind_lock(self._order[0])
        going = self._going()
        for table, mode in qualified.items():
            if mode in OBSERVED_MODES and table not in going:
                self._observe(table)
        self._locked |= tables.keys()
        if self.keeping is not None and self._order:
            for table in tables:
                self.keeping.observe(table, self._under_way()[0])

    def _lock(self, qualified: Mapping[str, str], *, rewrites: bool = False) -> None:
        """Take locks at their final strength, bounded, and say so. What was written before can be observed no more."""
        if not qualified:
            return
        early = self._observation.written_early(tuple(qualified))
        if early:
            expected, found = Phrase("locked before it is written"), Phrase("written before ops.lock_tables")
            names = (Phrase("content of {table}", table=table) for table in early)
            raise self._refusal(tuple(self._check(name, False, expected, found) for name in names))
        self.locks += self._waiting.take(self._conn, qualified, rewrites=rewrites)

    def _lock_everything(self, contracts: tuple[Contract, ...]) -> None:
        """Lock all tables, each at the strongest that any of the contracts needs, and observe them all.

        Nobody writes any of them until the transaction ends. What a contract alters is closed to readers too: a lock that
        was strengthened later would be a deadlock with whoever reads and then writes (measured).
        """
        modes = dict.fromkeys(self._observation.tables(), "SHARE")
        written = self._named(tuple(entry.table for contract in contracts for entry in contract.writes))
        locked = self._named(tuple(table for contract in contracts for table in contract.locks))
        altered = self._named(tuple(table for contract in contracts for table in contract.alters))
        for mode, tables in (("SHARE ROW EXCLUSIVE", (*locked, *written)), (locks.STRONGEST, altered)):
            modes |= {table: mode for table in tables if table in modes or self._observation.stands(table)}
        self._lock({table: mode for table, mode in modes.items() if table not in self._observation.sequences()})
        for table in (*altered, *written):
            self._observe(table)
        self._observation.observe_beside(tuple(modes))

    def _lock_written(self) -> None:
        """Lock and observe what the contract of the revision under way says that it writes."""
        if not self._order:
            return
        contract = self.promises[self._order[0]].contract
        tables = self._named(tuple(entry.table for entry in contract.writes))
        sequences = self._observation.sequences()
        altered = self._named(contract.alters)
        if not self._full:
            modes = {t: locks.STRONGEST if t in altered else "SHARE ROW EXCLUSIVE" for t in tables}
            self._lock({table: mode for table, mode in modes.items() if table not in sequences})
        for table in tables:
            self._observe(table)

    def _named(self, tables: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(f"{self._schema}.{table}" for table in tables)

    def check_group(self, contract: Contract, group: str) -> None:
        """See that the tables of a group stand with their seeded rows, and send an event. Raises `GateRefused`."""
        with own_path(self._conn, self._schema_name):
            wrong, counts = check_group(self._conn, contract, group, schema=self._schema, before=self.catalog)
        if wrong:
            raise self._refusal(wrong)
        self._say("group", group_words(contract, group, counts), group=group, rows=counts)

    def keep_table(self, table: str) -> bool:
        """Move a table into the run's archive, behind its lock; False where the run keeps none. Raises `LockNotObtained`."""
        keeping = self._ready_to_keep(table)
        if keeping is None:
            return False
        with own_path(self._conn, self._schema_name):
            keeping.keep_table(table, *self._under_way())
        self._say_kept(keeping)
        return True

    def keep_columns(self, table: str, columns: tuple[str, ...]) -> bool:
        """Copy columns into the run's archive, behind their table's lock; False where the run keeps none. Raises
        `LockNotObtained`."""
        keeping = self._ready_to_keep(table)
        if keeping is None:
            return False
        with own_path(self._conn, self._schema_name):
            keeping.keep_columns(table, columns, *self._under_way())
        self._say_kept(keeping)
        return True

    def _ready_to_keep(self, table: str) -> Keeping | None:
        """The archive if there is one, with the table locked and fingerprinted in any case."""
        if table not in self._locked:
            self.lock_tables({table: locks.STRONGEST}, ())
        return self.keeping

    def _under_way(self) -> tuple[Contract, str]:
        """The contract of the revision under way, and its digest."""
        contract = self.promises[self._order[0]].contract
        return contract, contract_digest((contract,))

    def _say_kept(self, keeping: Keeping) -> None:
        kept = keeping.kept[-1]
        table, place, rows = kept.original, kept.place, kept.fingerprint.rows
        columns_of = Phrase("{columns} of {table}", columns=", ".join(kept.columns), table=table)
        what = table if kept.kind == "table" else columns_of
        words = Phrase("kept {what}: {rows} rows in {place}", what=what, rows=rows, place=place)
        self._say("kept", words, table=table, place=place, rows=rows)

    def require_judged(self, revisions: tuple[str, ...]) -> None:
        """Raise `GateRefused` unless each of these was judged: an env.py that leaves out on_version_apply proves nothing.

        Without any (a stamp onto what it is) what was done is judged now, as a stamp.
        """
        missing = [revision for revision in revisions if revision not in self._judged]
        if missing:
            raise GateRefused(
                Phrase("The gate was not asked to judge {revisions}.", revisions=", ".join(missing)),
                hint=Phrase("have the chain's env.py pass on_version_apply as the one of this package does"),
            )
        if not self._judged:
            self.judge_revision("stamp", Direction.STAMP)

    def judge_snapshots(self) -> None:
        """Last before COMMIT: give way when a snapshot that lasts was taken meanwhile, to which a rewritten table would
        look empty. Raises `LockNotObtained`. (A REPEATABLE READ statement that waits for our lock cannot be told from a
        READ COMMITTED one, unless it is a dump.)"""
        if self._rewrites:
            self._waiting.outlast_snapshots(self._conn)

    def judge_revision(self, revision: str, direction: Direction) -> None:
        """Judge what this revision did. Raises `GateRefused`, and so rolls everything back.

        Reads the catalog, its own locks, each written table once more, and the contract's invariants.
        """
        # A revision may have set search_path, synchronous_commit, or the triggers silent.
        if not fires_triggers(self._conn):
            self._conn.execute(text("SET LOCAL session_replication_role = origin"))
        pin_session(self._conn, self._schema_name, idle_limit=IDLE_LIMIT)
        promise = self.promises.get(revision)
        after, check = self._judge_catalog(revision, promise, direction)
        checks = [check, *self._judge_content(revision, promise, direction)]
        if self.keeping is not None and promise is not None:
            checks += self.keeping.judge(self.catalog, after, promise.contract)
        if promise is not None and direction is Direction.UPGRADE and not failures(tuple(checks)):
            made, rows = judge_made(self._conn, promise.contract, self._schema)
            self.rows_made |= rows
            checks += made
        self._require(checks)
        self.catalog = after
        back = self.reinstating.follow(revision, rewrites=self._rewrites) if self.reinstating is not None else ()
        if back:
            self._require(back)
            followed = Phrase("{revision} and what came back", revision=revision)
            self.catalog, check = self._judge_catalog(followed, None, Direction.STAMP)
            self._require([check, *self._judge_content(followed, None, Direction.STAMP)])
        self._prepare_next(revision)
        self._observation.settle()
        self._judged.append(revision)
        words = Phrase("revision {revision}: {checks} checks passed", revision=revision, checks=len(checks))
        self._say("judged", words, phase=Phase.GATE, revision=revision)

    def _require(self, checks: Sequence[Check]) -> None:
        """Note what was found; raise `GateRefused` where it must stop the run."""
        self.checks += checks
        if failures(tuple(checks)):
            raise self._refusal(failures(tuple(checks)))

    def _judge_catalog(self, what: str, promise: Promise | None, direction: Direction) -> tuple[Catalog, Check]:
        """The catalog as it is now, all deferred triggers fired: `what` has made of it exactly what was promised."""
        self._seal.force_constraints()
        self.seen = after = read_catalog(self._conn, closed=True, patience=BEHIND_LOCKS)
        shared = self._observation.shared_written()
        old, new = (self.keeping.apart(c) if self.keeping else c for c in (self.catalog, after))
        differences = tuple(
            difference
            for difference in unexpected(old, new, promise, direction, self._schema)
            if difference.kind not in WRITTEN_IN or not shared.isdisjoint(WRITTEN_IN[difference.kind])
        )
        differences = name_written(self._conn, differences)
        labels = [difference.label for difference in differences]
        name, expected = Phrase("catalog after {what}", what=what), Phrase("exactly what the contract promises")
        found = joined(labels[:SHOWN], "; ") or Phrase("so it is")
        return after, self._check(
            name, not differences, expected, found, detail=joined((d.whole for d in differences), "\n")
        )

    def _judge_content(self, what: str, promise: Promise | None, direction: Direction) -> list[Check]:
        """Every relation that stood before is untouched, or has the content it had behind its lock."""
        growing = {self.keeping.own_table} if self.keeping else set()
        checks, contents = self._observation.judge(self._may_drop(promise, direction) | growing)
        self.contents = tuple(sorted(contents, key=lambda content: content.table))
        untouched = sum(content.proof.startswith("untouched") for content in contents)
        words = Phrase("{untouched} relations untouched", untouched=untouched)
        name = Phrase("content after {what}", what=what)
        checks.append(self._check(name, True, Phrase("old rows unchanged"), words))
        if not is_counting(self._conn):
            expected = Phrase("the server counts what is written")
            checks.append(self._check("track_counts", False, expected, Phrase("switched off by the revision")))
        unknown = unknown_catalogs(self._conn)
        if unknown:
            found = Phrase("written: {catalogs}", catalogs=", ".join(unknown))
            expected = Phrase("none written that the gate does not read")
            checks.append(self._check(Phrase("system catalogs"), False, expected, found))
        return checks

    def judge_ending(self) -> None:
        """After the marker was written: open the seal, have all done that COMMIT would do, and see that nothing but the
        marker was written since the last judgement. Raises `GateRefused`."""
        self._seal.open_for_good()
        record = ("table", "lawsker_db.migration_run") in self.catalog.objects  # else write_marker has just made it
        checks = self._observation.written_since(catalogs=record)
        expected, found = Phrase("none that waits for COMMIT"), Phrase("deferrable")
        for trigger in self._seal.deferring_triggers():
            name = Phrase("trigger {name} of a temporary table", name=trigger)
            checks.append(self._check(name, False, expected, found))
        if checks:
            raise self._refusal(tuple(checks))

    def _observe(self, table: str) -> None:
        """Fingerprint a table behind its lock, on the columns that are to survive this revision as they are."""

        def tell(print_: Fingerprint) -> None:
            words = Phrase("{table}: {rows} rows fingerprinted", table=print_.table, rows=print_.rows)
            self._say("observed", words, table=print_.table, rows=print_.rows)

        self._observation.observe(table, self._varying(), tell)

    def _going(self) -> frozenset[str]:
        """Tables that the revision under way takes away: a downgrade's own. Their content is not to survive it."""
        if not self._order:
            return frozenset()
        return self._may_drop(self.promises[self._order[0]], self._direction)

    def _varying(self) -> Columns:
        """Columns of older tables that the revision under way takes away (a downgrade's), or says that it writes; and
        sequences that it says it moves."""
        if not self._order:
            return frozenset()
        contract = self.promises[self._order[0]].contract
        found = {(entry.table, name) for entry in contract.writes for name in (*entry.columns, SEQUENCE)}
        if self._direction is Direction.DOWNGRADE:
            found |= {
                (extension.table, column.name) for extension in contract.extensions for column in extension.columns
            }
        return frozenset((f"{self._schema}.{table}", name) for table, name in found)

    def _prepare_next(self, revision: str) -> None:
        """What this revision made or wrote is old to the next one."""
        self._locked.clear()
        if self._order and self._order[0] == revision:
            self._order.pop(0)
        if not self._order:
            return
        self._observation.prepare_next(self._varying(), lambda print_: None)
        self._lock_written()

    def _may_drop(self, promise: Promise | None, direction: Direction) -> frozenset[str]:
        """The contract's own tables and their sequences, which its downgrade takes away."""
        if promise is None or direction is not Direction.DOWNGRADE:
            return frozenset()
        return gone_with(self.catalog, promise)

    def _check(self, name: str, ok: bool, expected: str, found: str, detail: str = "") -> Check:
        return Check(name=name, ok=ok, expected=expected, found=found, detail=detail)

    def _refusal(self, checks: tuple[Check, ...]) -> GateRefused:
        state = ROLLED_BACK
        if self._observation.moved:
            state = Phrase(
                "{state} Numbers that it drew from or set in these sequences stay so, as ever: {sequences}.",
                state=ROLLED_BACK,
                sequences=", ".join(self._observation.moved),
            )
        found = first_of([check.contrast for check in checks], SHOWN, "; ")
        return GateRefused(
            Phrase("The gate refused: {found}.", found=found),
            hint=Phrase(
                "if another session changed the schema meanwhile, type it again; else mend the revision or its contract"
            ),
            state=state,
            checks=checks,
        )

    def _say(
        self, name: str, words: str, *, phase: Phase = Phase.MIGRATION, lasting: bool = True, **facts: object
    ) -> None:
        self._on_event(Event(phase=phase, name=name, text=words, facts=facts, lasting=lasting))
