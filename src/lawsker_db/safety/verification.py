"""Verify a database at any time: every check of the list, once, in its order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from lawsker_db.contract import Contract
from lawsker_db.drift import are_modelled
from lawsker_db.errors import Refused, UsageError
from lawsker_db.evidence import Check
from lawsker_db.phrases import Phrase, joined
from lawsker_db.postgres.catalog import PATIENT, Catalog, read_catalog
from lawsker_db.postgres.scratch import build_promised
from lawsker_db.postgres.session import PINNED, find_schema, identify, literal, pin_session, quoted_as_read
from lawsker_db.record.history import PastRun, first_made, read_history
from lawsker_db.revisions import (
    Chain,
    contracts_up_to,
    current_revisions,
    load_chain,
    model_differences,
    require_known,
)
from lawsker_db.safety.behaviour import check_behaviour
from lawsker_db.safety.checklist import (
    CHECKLIST,
    ITEMS,
    SHOWN,
    When,
    not_run,
    passed,
    unknown,
    violated,
)
from lawsker_db.safety.contents import check_contents, check_invariant
from lawsker_db.safety.expectation import Promise
from lawsker_db.safety.older import (
    Before,
    check_older_content,
    check_older_contracts,
    check_older_objects,
    read_before,
)
from lawsker_db.safety.performance import (
    check_growth,
    check_indexes_used,
    check_plans,
    check_statistics,
    check_waits,
    plans_before,
)
from lawsker_db.safety.preflight import refuse_standby
from lawsker_db.safety.shelf import BACKUP
from lawsker_db.safety.structure import check_structure
from lawsker_db.safety.surroundings import check_leftovers, check_names, check_owners, check_stamp
from lawsker_db.target import Target, said_by_server

STAMPING = ("adopt", "stamp")  # nothing was built: what stands may differ from the contract
RUN_ID = re.compile(r"[A-Za-z0-9_-]+")  # it comes out of the database and becomes a folder's name
# The B codes that statements are tried for; the others are asked of the rows alone.
TRIED = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B11", "B12", "B13", "B15")
OF_SERVER = ("D02", "D16", "D17")  # sequences, foreign keys, NOT NULL: what comes back must keep to these
NO_RECORD = Phrase("no run on record here has made this revision")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions:
    """What is looked at, and beside what.

    `runs` is the folder of the runs; without `content` no older table is read; `read_only` tries no statement on any table;
    `queries` are those of a file, instead of the ones that the run noted. `strict`: nobody has written since the run.
    `reinstated`: rows have just come back from an archive as they were, behind a gate that asked the contract's queries
    before; what those find now the applications had written, and it stops nothing.
    """

    runs: Path = Path("lawsker-runs")
    read_only: bool = False
    content: bool = True
    queries: Path | None = None
    strict: bool = False
    reinstated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What verification stands on: the contracts that hold, newest last, how the newest came, and what is there now."""

    contracts: tuple[Contract, ...]
    adopted: bool
    run: PastRun | None
    folder: Path | None
    history: tuple[PastRun, ...]
    now: Catalog
    schema: str

    @property
    def made_at(self) -> datetime | None:
        """Pure. When what the newest revision made here was made, None when no run on record has made it."""
        return None if self.run is None else first_made(self.history, self.run, self.newest.revision)

    @property
    def newest(self) -> Contract:
        """Pure. The contract of the newest revision."""
        return self.contracts[-1]


def verify(target: Target, chain: Chain | None = None, *, options: VerifyOptions | None = None) -> tuple[Check, ...]:
    """Check a database against the whole list: each code once, in its order. Nothing is changed: all is rolled back.

    Builds the newest contract in a scratch schema under a savepoint, so the role needs CREATE on the database; so does
    the behaviour group with the rows that it tries. Takes ACCESS SHARE on what it reads: for a moment on most, as long as
    reading takes on older tables (not without `content`). Raises `Refused` when the database is not stamped with a
    revision of this chain, or that has no contract.
    """
    chain, options = chain or load_chain(), options or VerifyOptions()
    written = _read(options.queries)
    with target.connect() as conn:
        refuse_standby(identify(conn, sized=False), target)
        path = str(conn.execute(text("SELECT current_setting('search_path')")).scalar_one())
        schema = find_schema(conn)
        pin_session(conn, schema)
        _require_right(conn)
        conn.execute(literal(f"SET LOCAL lock_timeout = '{PATIENT}'"))
        current = _require_stamp(conn, chain)
        ground = _ground(conn, chain, current, schema, options)
        promise = _promise(conn, ground.newest, schema)
        found = [check_stamp(conn, current, path), *check_structure(conn, promise, ground.now, warning=ground.adopted)]
        found += _surroundings(conn, ground, promise, path, options)
        found += _older(conn, ground, promise, options)
        found += _models(conn, ground.newest, at_head=current == (chain.head,))
        found += _history(ground)
        found += _contents(conn, ground, options)
        found += _behaviour(conn, ground, options)
        found += _performance(conn, ground, promise, options, written)
        conn.rollback()
    return _listed(found, ground.newest)


def _require_right(conn: Connection) -> None:
    """Raise `Refused` where no scratch schema can be made for the contract. Reads only."""
    may, user, database = conn.execute(
        text(
            "SELECT has_database_privilege(current_database(), 'CREATE'), quote_ident(current_user),"
            " quote_ident(current_database())"
        )
    ).one()
    if not may:
        raise Refused(
            Phrase(
                "verify builds what the contract promises in a scratch schema, and {user} may create none in "
                "{database}.",
                user=user,
                database=database,
            ),
            hint=Phrase(
                "GRANT CREATE ON DATABASE {database} TO {user}, or verify as the owner", database=database, user=user
            ),
        )


def _require_stamp(conn: Connection, chain: Chain) -> tuple[str, ...]:
    current = current_revisions(conn)
    if not current:
        raise Refused(Phrase("The database is not stamped with any revision."), hint="lawsker-db adopt --dry-run")
    require_known(chain, current)
    return current


def _ground(conn: Connection, chain: Chain, current: tuple[str, ...], schema: str, options: VerifyOptions) -> Ground:
    """Read catalog and history, and find the run that made the newest revision. Raises `Refused` without a contract."""
    contracts = contracts_up_to(chain, current)
    if not contracts:
        raise Refused(
            Phrase(
                "No revision up to {revision} has a contract: there is nothing to verify against.",
                revision=", ".join(current),
            ),
            hint=Phrase("give the revisions contracts"),
        )
    history = read_history(conn, identify(conn, sized=False))
    revision = contracts[-1].revision
    adopted, run = _came(history, revision)
    known = run is not None and run.backup_id is not None and RUN_ID.fullmatch(run.run_id)
    return Ground(
        contracts=contracts,
        adopted=adopted,
        run=run,
        folder=options.runs / run.run_id if run is not None and known else None,
        history=history,
        now=read_catalog(conn),
        schema=schema,
    )


def _came(history: tuple[PastRun, ...], revision: str) -> tuple[bool, PastRun | None]:
    """Pure. Whether a revision was stamped rather than built, and the last run here that has built it."""
    stamped, run = False, None
    for past in history:
        if past.undone:
            continue
        if past.direction in STAMPING and revision in past.to_revisions:
            stamped = True
        elif past.direction == "upgrade" and revision in past.steps:
            stamped, run = False, past if past.here else None
    return stamped, run


def _promise(conn: Connection, contract: Contract, schema: str) -> Promise:
    return Promise(contract=contract, built=build_promised(conn, contract, schema), schema=quoted_as_read(conn, schema))


def _surroundings(
    conn: Connection, ground: Ground, promise: Promise, path: str, options: VerifyOptions
) -> tuple[Check, ...]:
    now = ground.now
    return (
        _asked(conn, "S03", lambda: check_names(conn, promise, ground.schema, path)),
        _asked(conn, "S21", lambda: check_owners(conn, promise, now)),
        _asked(conn, "S23", lambda: check_leftovers(conn, promise, now, options.runs, alone=options.strict)),
    )


def _older(conn: Connection, ground: Ground, promise: Promise, options: VerifyOptions) -> tuple[Check, ...]:
    """S22 and D01, by the backup of the run that made the newest revision; without one, by the older contracts."""
    before: Before | str = NO_RECORD
    if ground.run is not None:
        before = Phrase("that run took no backup")
        if ground.folder is not None:
            before = read_before(ground.run, ground.folder / BACKUP)
    elder = {contract.revision: contract for contract in ground.contracts[:-1]}
    if isinstance(before, str):
        why = before
        if options.strict:  # the gate has just compared all of it, and finds more
            return not_run("S22", why), not_run("D01", why)
        promises = tuple(_promise(conn, contract, ground.schema) for contract in elder.values())
        objects = _asked(conn, "S22", lambda: check_older_contracts(conn, ground.now, promises, why))
        return objects, not_run("D01", why)
    known = before
    steps = ground.run.steps if ground.run is not None else ()
    made = (*(_promise(conn, elder[step], ground.schema) for step in steps if step in elder), promise)
    objects = _asked(conn, "S22", lambda: check_older_objects(conn, ground.now, made, promise, known))
    if not options.content:
        return objects, not_run("D01", "--no-content")
    return objects, _asked(conn, "D01", lambda: check_older_content(conn, known, strict=options.strict))


def _models(conn: Connection, contract: Contract, *, at_head: bool) -> tuple[Check, ...]:
    """S24: the package's models against the database; only at head, for models have no older form, and only for the chain
    that they are of."""
    if not at_head:
        return (not_run("S24", Phrase("the database is not at head, and models have no older form")),)
    if not contract.tables or not are_modelled(tuple(table.name for table in contract.tables)):
        return (not_run("S24", Phrase("the models of this package are of another chain")),)

    def compare() -> Check:
        found = model_differences(conn)
        return violated("S24", found) if found else passed("S24", Phrase("no difference"))

    return (_asked(conn, "S24", compare),)


def _history(ground: Ground) -> tuple[Check, ...]:
    """Pure. D22 and D23: what the history says of itself."""
    history = ground.history
    broken = tuple(past.run_id for past in history if not past.intact)
    foreign = tuple(past.run_id for past in history if not past.here and not past.undone)
    note = "" if ground.run is not None or ground.adopted else Phrase("; {no_record}", no_record=NO_RECORD)
    told = Phrase("{runs} runs{note}", runs=len(history), note=note)
    return (
        violated("D22", broken) if broken else passed("D22", Phrase("{runs} runs", runs=len(history))),
        violated("D23", foreign) if foreign else passed("D23", told),
    )


def _contents(conn: Connection, ground: Ground, options: VerifyOptions) -> tuple[Check, ...]:
    """D02 to D21 and what B asks of rows, of the newest contract and then of the older ones."""
    made_at = None if options.strict else ground.made_at
    found = check_contents(conn, ground.newest, schema=ground.schema, made_at=made_at, older=options.content)
    if ground.run is None and not options.strict:  # nobody knows what was written since, or nothing was built
        found = tuple(replace(check, warning=True) if ground.adopted or _at_gate(check) else check for check in found)
    if options.reinstated:
        found = tuple(check if check.code in OF_SERVER else replace(check, warning=True) for check in found)
    return (*found, *(check for contract in ground.contracts[:-1] for check in _older_rows(conn, ground, contract)))


def _older_rows(conn: Connection, ground: Ground, contract: Contract) -> Iterator[Check]:
    """What an older contract says of rows, by the time of its own run. What must always hold does so still; from the rest
    applications and later revisions may have moved on: warnings."""
    _, run = _came(ground.history, contract.revision)
    for invariant in contract.invariants:
        made_at = first_made(ground.history, run, contract.revision) if run is not None else ground.made_at
        for check in check_invariant(conn, invariant, made_at):
            always = check.code in ITEMS and not _at_gate(check)
            yield check if always else replace(check, warning=True)


def _at_gate(check: Check) -> bool:
    """Pure. Whether a finding speaks of what holds at COMMIT, from where applications may have moved on."""
    return check.code in ITEMS and ITEMS[check.code].when is When.GATE


def _behaviour(conn: Connection, ground: Ground, options: VerifyOptions) -> tuple[Check, ...]:
    """The B codes by trial: statements under savepoints, none of them where nothing may be tried."""
    if options.read_only:
        return tuple(not_run(code, "--read-only") for code in TRIED)
    conn.execute(literal(f"SET LOCAL lock_timeout = '{PINNED['lock_timeout']}'"))  # who tries to write waits for nobody
    found = tuple(check for c in ground.contracts for check in check_behaviour(conn, c, schema=ground.schema))
    conn.execute(literal(f"SET LOCAL lock_timeout = '{PATIENT}'"))
    return found


def _performance(
    conn: Connection, ground: Ground, promise: Promise, options: VerifyOptions, written: str | None
) -> tuple[Check, ...]:
    newest, folder, schema = ground.newest, ground.folder, promise.schema
    before = plans_before(folder)
    why = NO_RECORD if ground.run is None else Phrase("the run has no report here")
    now, warning = ground.now, ground.adopted
    return (
        _asked(conn, "P01", lambda: check_indexes_used(conn, promise, now, warning=warning)),
        _asked(conn, "P02", lambda: check_statistics(conn, newest, schema)),
        _asked(conn, "P03", lambda: check_plans(conn, before, written)),
        _asked(conn, "P04", lambda: check_growth(conn, newest, schema, before)),
        _asked(conn, "P05", lambda: check_waits(conn, folder, why)),
    )


def _asked(conn: Connection, code: str, ask: Callable[[], Check]) -> Check:
    """Ask under a savepoint. What the server refuses is not known, and everything else is still asked."""
    savepoint = conn.begin_nested()
    try:
        return ask()
    except DBAPIError as failed:
        if failed.connection_invalidated:
            raise
        return unknown(code, _refusal(failed))
    finally:
        if savepoint.is_active and not conn.invalidated:
            savepoint.rollback()


def _refusal(failed: DBAPIError) -> str:
    """Pure. What the server says, without its DETAIL, which may hold personal data."""
    said = said_by_server(failed.orig)
    return said or Phrase("the server refused the query")


def _listed(found: Iterable[Check], newest: Contract) -> tuple[Check, ...]:
    """Pure. One finding for each code, in the list's order; then those of codes that the list does not have."""
    by_code: dict[str, list[Check]] = {}
    for check in found:
        by_code.setdefault(check.code, []).append(check)
    nothing = Phrase("revision {revision} promises nothing of it", revision=newest.revision)
    ours = [_merged(by_code.get(item.code) or [not_run(item.code, nothing)]) for item in CHECKLIST]
    return (*ours, *(_merged(checks) for code, checks in by_code.items() if code not in ITEMS))


def _merged(checks: list[Check]) -> Check:
    """Pure. Several findings of one code as one: the gravest decides, with the words of all that are as grave or could not
    be asked."""
    first = min(checks, key=_gravity)
    if len(checks) == 1:
        return first
    told = [check for check in checks if check.ok is not True] or checks
    keys = tuple(dict.fromkeys(key for check in told for key in check.keys))
    return replace(
        first,
        found=joined(dict.fromkeys(check.found for check in told), "; "),
        detail="\n".join(check.detail for check in told if check.detail),
        keys=keys[:SHOWN],
        hint=next((check.hint for check in (first, *told) if check.hint), ""),
    )


def _gravity(check: Check) -> int:
    """Pure. Failures first, then what could not be asked and fails, violations that are warnings, what was left out."""
    if check.fails:
        return 0 if check.ok is False else 1
    return {False: 2, None: 3, True: 4}[check.ok]


def _read(queries: Path | None) -> str | None:
    """The text of a file of queries. Raises `UsageError` when it cannot be read."""
    if queries is None:
        return None
    try:
        return queries.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as failed:
        said = failed.strerror if isinstance(failed, OSError) else Phrase("it is no UTF-8 text")
        raise UsageError(
            Phrase("{file} cannot be read: {why}.", file=str(queries), why=str(said)),
            hint=Phrase("name a file of SELECTs, each with a semicolon"),
        ) from failed
