"""rollback: take the last upgrade back in one guarded transaction, and keep all that goes with it in an archive.

Nothing that anyone wrote is thrown away, unless the operator says so, with the database's name and a reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from lawsker_db.errors import CommittedUnproven, LawskerError, Refused
from lawsker_db.evidence import (
    Check,
    Direction,
    Event,
    OnEvent,
    Phase,
    RunReport,
    Server,
    Verdict,
    failures,
    ignore,
)
from lawsker_db.phrases import Phrase, joined
from lawsker_db.postgres import locks
from lawsker_db.postgres.blockers import BlockerPolicy
from lawsker_db.postgres.catalog import Catalog
from lawsker_db.postgres.kept import ARCHIVE, CONTENTS
from lawsker_db.postgres.pooler import require_direct
from lawsker_db.postgres.session import find_schema, identify, literal, pinned, quoted, quoted_as_read
from lawsker_db.record.history import PastRun, read_history
from lawsker_db.record.journal import Journal
from lawsker_db.revisions import Chain, Plan, current_revisions, load_chain, plan_checks, plan_downgrade
from lawsker_db.safety.account import (
    BACK,
    VERIFY_BACK,
    Account,
    nothing_to_do,
    open_account,
    opened,
    reported,
    teller,
)
from lawsker_db.safety.attempts import carry_out
from lawsker_db.safety.confirmation import reading, require_confirmed, said_by
from lawsker_db.safety.doubt import RECONNECT_S
from lawsker_db.safety.guard import ROLLBACK, RunOptions
from lawsker_db.safety.hanging import dependant_checks
from lawsker_db.safety.leftovers import unsettled_check
from lawsker_db.safety.pace import Errand, Pace, looking, timed
from lawsker_db.safety.preflight import guarded_checks, refuse_unless
from lawsker_db.safety.returned import check_returned, refusing_to_look
from lawsker_db.safety.since import Since, made_by, refuse_adopted_baseline, written_since
from lawsker_db.target import Target

BASE = Phrase("base")
STATUS = "lawsker-db status"
PHASES = (Phase.PREFLIGHT, Phase.MIGRATION, Phase.CONFIRM, Phase.VERIFY)
HINT = Phrase(
    "{command} lists what differs; the archive, where one was kept, has all that was taken away",
    command=VERIFY_BACK,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackOptions:
    """What an operator may choose. With `discard` no archive is kept; `reason` says why, for the record."""

    runs: Path = Path("lawsker-runs")
    config: Path | None = None
    chain_options: dict[str, str] = field(default_factory=dict)
    patience_s: float = locks.PATIENCE_S
    attempt_s: float = locks.ATTEMPT_S
    blockers: BlockerPolicy = field(default_factory=BlockerPolicy)
    reconnect_s: float = RECONNECT_S
    discard: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrospect:
    """What a rollback would do: the plan, whether it may begin, and what was written since, table by table."""

    server: Server
    chain: Chain
    plan: Plan
    checks: tuple[Check, ...]
    written: tuple[Since, ...]
    unknown: tuple[str, ...]  # revisions that no run on record has made


def look_back(target: Target, revision: str | None, options: RollbackOptions) -> Retrospect:
    """Plan and look in a READ ONLY transaction: rights, what hangs on what would go, what was written since.

    Reads the tables that would go, whole; changes nothing. Without a revision, back to where the last upgrade on record
    came from. Raises `Refused` when the chain and the database do not go together, or the baseline would go with rows.
    """
    chain = load_chain(options.config, options.chain_options)
    road = require_direct(target)
    with refusing_to_look(), reading(target) as conn:
        server, schema = identify(conn), find_schema(conn)
        history, current = read_history(conn, server), current_revisions(conn)
        plan = plan_downgrade(chain, current, revision or _came_from(history, current))
        if not plan.steps:
            return Retrospect(server=server, chain=chain, plan=plan, checks=(), written=(), unknown=())
        _refuse_baseline(conn, plan, history)
        made = {contract: made_by(history, contract.revision) for contract in plan.contracts}
        place = quoted_as_read(conn, schema)
        return Retrospect(
            server=server,
            chain=chain,
            plan=plan,
            checks=(
                *road,
                *guarded_checks(conn, plan, server),
                *_owner_checks(conn, plan, place),
                *(() if options.discard else _enum_checks(plan)),
                *plan_checks(plan),
                *dependant_checks(conn, plan, schema),
                unsettled_check(conn, options.runs),
            ),
            written=tuple(
                s for c, past in made.items() if past for s in written_since(conn, c, past, place, going=plan.contracts)
            ),
            unknown=tuple(contract.revision for contract, past in made.items() if past is None),
        )


def roll_back(
    target: Target,
    revision: str | None = None,
    *,
    options: RollbackOptions,
    shown: Plan | None = None,
    on_event: OnEvent = ignore,
) -> RunReport:
    """Take the database back to `revision`, complete and proven, or leave it as it was, or say where it stands.

    What goes is kept in an archive, a schema of its own, unless the options say to discard it. Locks: RUN (advisory)
    throughout; in the transaction what the downgrade takes, until COMMIT. Raises a `LawskerError`, whose class tells the
    state; the run's folder has a report in every case. With `shown`, the plan that somebody agreed to, it is `Refused`
    when another one would be carried out by now.
    """
    looked = Errand(pace=Pace(phases=PHASES))
    with looking(looked, on_event, Phrase("what was written since, and whether the rollback may begin")):
        outlook = look_back(target, revision, options)
        _require_as_shown(outlook.plan, shown)
    if not outlook.plan.steps:
        return nothing_to_do(target, outlook.plan, outlook.server, hint=STATUS)
    refuse_unless(outlook.checks, what=Phrase("The rollback was not begun"))
    target = pinned(target, outlook.server)
    account = open_account(target, outlook.plan, outlook.server, outlook.checks, options.runs, looked)
    with Journal(account.folder) as journal, reported(account) as said:
        tell = teller(account, journal, on_event)
        with opened(account, tell) as lock:
            _note_written(account, outlook, options, tell)
            lock.require_held()
            expected = _take_back(account, outlook.chain, options, tell)
            _note_archive(account)
            with timed(account, Phase.CONFIRM, tell, Phrase("look again on a fresh connection")):
                _confirm(account, expected)
            with timed(account, Phase.VERIFY, tell, Phrase("stamp, record, archive, and nothing left of what went")):
                _verify(account, outlook.chain)
        said.verdict = Verdict.DONE
    return said.report


def database_name(target: Target) -> str:
    """The name of the database that the target leads to, as the server has it. Reads only."""
    with reading(target) as conn:
        return identify(conn, sized=False).database


def drop_command(archive: str, tables: Iterable[str]) -> str:
    """Pure. SQL that would drop an archive when nobody needs it any more. It is told, and run by nobody here."""
    listed = ", ".join((*tables, f"{archive}.{ARCHIVE}", f"{archive}.{CONTENTS}"))
    return f"DROP TABLE {listed}; DROP SCHEMA {archive};"


def _require_as_shown(plan: Plan, shown: Plan | None) -> None:
    """Raise `Refused` when another run has moved the database between the question and its answer."""
    if shown is not None and (plan.start, plan.goal) != (shown.start, shown.goal):
        stands, was = ", ".join(plan.start) or BASE, ", ".join(shown.start) or BASE
        raise Refused(
            Phrase(
                "The database is at {stands} by now; it was at {was} when you were asked. Another run has moved it.",
                stands=stands,
                was=was,
            ),
            hint=Phrase("{command}, then type the same command again if it is still wanted", command=STATUS),
        )


def _came_from(history: tuple[PastRun, ...], current: tuple[str, ...]) -> str:
    """Pure. Where the upgrade came from that led to where the database stands."""
    for past in reversed(history):
        if past.here and past.direction == Direction.UPGRADE and past.to_revisions == current:
            return past.from_revisions[0] if past.from_revisions else "base"
    stands = ", ".join(current) or BASE
    last = next((past for past in reversed(history) if past.here), None)
    if last is not None and last.direction == Direction.DOWNGRADE and last.to_revisions == current:
        raise Refused(
            Phrase(
                "The last upgrade was taken back already, by run {run_id}: the database is at {stands}.",
                run_id=last.run_id,
                stands=stands,
            ),
            hint=Phrase(
                "{command} proves that; to go further back, name the revision: lawsker-db rollback REVISION",
                command=VERIFY_BACK,
            ),
        )
    if not current:
        raise Refused(
            Phrase("The database is not stamped with any revision: there is nothing to take back."),
            hint=Phrase("lawsker-db status tells where it stands"),
        )
    raise Refused(
        Phrase(
            "No upgrade of this database to {stands} is on record, so where it came from is not known.", stands=stands
        ),
        hint=Phrase("name the revision: lawsker-db rollback REVISION (lawsker-db history lists the runs)"),
    )


def _refuse_baseline(conn: Connection, plan: Plan, history: tuple[PastRun, ...]) -> None:
    """Raise `Refused` when the lowest revision would go and was adopted, or holds a row. Reads only."""
    for contract in plan.contracts:
        if contract.follows is not None:
            continue
        refuse_adopted_baseline(contract, history)
        holding = [table.name for table in contract.tables if _holds_rows(conn, table.name)]
        if holding:
            raise Refused(
                Phrase(
                    "The rollback would drop tables of the baseline that hold rows: {tables}.",
                    tables=", ".join(holding),
                ),
                hint=Phrase(
                    "nothing overrides this; this goes as far as it can: lawsker-db rollback {revision}",
                    revision=contract.revision,
                ),
            )


def _holds_rows(conn: Connection, table: str) -> bool:
    if conn.execute(text("SELECT to_regclass(:name)"), {"name": quoted(table)}).scalar_one() is None:
        return False
    return bool(conn.execute(literal(f"SELECT EXISTS (SELECT FROM {quoted(table)})")).scalar_one())


def _owner_checks(conn: Connection, plan: Plan, schema: str) -> tuple[Check, ...]:
    """A failed check for each table that would go and belongs to a role that ours is no member of."""
    names = [f"{schema}.{table.name}" for contract in plan.contracts for table in contract.tables]
    rows = conn.execute(
        text(
            "SELECT c.oid::regclass::text, pg_get_userbyid(c.relowner), current_user FROM pg_class c"
            " WHERE c.oid = ANY (SELECT to_regclass(t)::oid FROM unnest(:names ::text[]) AS t)"
            " AND NOT pg_has_role(c.relowner, 'USAGE') ORDER BY 1"
        ),
        {"names": names},
    )
    return tuple(
        Check(
            name=Phrase("right: owner of {table}", table=table),
            ok=False,
            expected=Phrase("{user} is a member of the owner", user=user),
            found=Phrase("owned by {owner}", owner=owner),
            detail=Phrase(
                "connect as {owner}, or GRANT {granted} TO {user}",
                owner=owner,
                granted=quoted(owner),
                user=quoted(user),
            ),
        )
        for table, owner, user in rows
    )


def _enum_checks(plan: Plan) -> tuple[Check, ...]:
    """Pure. A failed check for each revision with enum types of its own: a table that is kept would still be of them."""
    return tuple(
        Check(
            name=Phrase("archive of {table}", table=contract.revision),
            ok=False,
            expected=Phrase("no enum types that kept tables are of"),
            found=Phrase(
                "it makes the enum types {enums}, which cannot be kept yet",
                enums=", ".join(enum.name for enum in contract.enums),
            ),
            detail=Phrase("copy aside what is needed, then --discard --reason TEXT"),
        )
        for contract in plan.contracts
        if contract.enums and contract.follows is not None
    )


def _note_written(account: Account, outlook: Retrospect, options: RollbackOptions, tell: OnEvent) -> None:
    """What was written since, and why it is thrown away if it is, for the journal and the report."""
    for since in outlook.written:
        if since.says:
            account.notes.append(Phrase("written since the upgrade: {words}", words=since.words))
    if options.discard:
        account.notes.append(Phrase("no archive was kept, as the operator said: {reason}", reason=options.reason))
    facts = {"written": [since.words for since in outlook.written if since.says], "discard": options.discard}
    words = (
        Phrase("discarding what goes: {reason}", reason=options.reason)
        if options.discard
        else Phrase("what goes is kept in an archive")
    )
    tell(Event(phase=Phase.PLAN, name="written since", text=words, facts=facts | {"reason": options.reason}))


def _take_back(account: Account, chain: Chain, options: RollbackOptions, tell: OnEvent) -> Catalog:
    """The guarded transaction. Returns the catalog as the gate saw it last, for the look afterwards."""
    run = RunOptions(
        run_id=account.run_id,
        via=ROLLBACK,
        patience_s=options.patience_s,
        attempt_s=options.attempt_s,
        blockers=options.blockers,
        reconnect_s=options.reconnect_s,
        archive=not options.discard,
        reason=options.reason if options.discard else "",
        on_event=tell,
    )
    steps = ", ".join(step.revision for step in account.plan.steps)
    return carry_out(account, chain, run, Phrase("downgrade of {steps} in one transaction", steps=steps))


def _note_archive(account: Account) -> None:
    """What the gate noted about the archive, and how it can be dropped one day, for the report."""
    keeping = account.guarded.gate.keeping if account.guarded else None
    if keeping is not None and keeping.kept:
        drop = drop_command(keeping.schema, [kept.place for kept in keeping.kept])
        account.notes += [
            *keeping.notes,
            Phrase("when nobody needs the archive any more, you may drop it: {statement}", statement=drop),
        ]


def _confirm(account: Account, expected: Catalog) -> None:
    """Look again after COMMIT; what was found goes into the report also when it is not as it should be."""
    try:
        account.confirmed = require_confirmed(account.target, account.run_id, account.plan, expected)
    except CommittedUnproven as failed:
        found = failed.fields.get("checks")
        account.confirmed = found if isinstance(found, tuple) else ()
        failed.hint, failed.state = HINT, BACK
        raise


def _verify(account: Account, chain: Chain) -> None:
    """Prove what was committed as `rollback --verify` does. Raises `CommittedUnproven`; could not look is never passed."""
    try:
        account.verified = check_returned(account.target, chain, account.run_id)
    except (LawskerError, DBAPIError) as failed:
        words = Phrase("The look afterwards could not be made: {why}", why=said_by(failed))
        raise CommittedUnproven(
            words, hint=Phrase("{command} looks again", command=VERIFY_BACK), state=BACK
        ) from failed
    wrong = failures(account.verified)
    if wrong:
        said = joined((check.contrast for check in wrong), "; ")
        words = Phrase("The look afterwards found: {what}.", what=said)
        raise CommittedUnproven(words, hint=HINT, state=BACK, checks=account.verified)
