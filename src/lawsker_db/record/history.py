"""The marker row of a run, written inside its transaction: there when it committed, absent when not; and the history.

The table lives in a schema of its own, `lawsker_db`, which no comparison looks at. Each row carries the hash of the one
before, and the server and database that it was written in: in a restored copy the rows tell of another database.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from lawsker_db import __version__
from lawsker_db.evidence import Fingerprint, Server
from lawsker_db.postgres.kept import archive_schema
from lawsker_db.record.journal import as_json

FIRST_DIRECTIONS = ("upgrade", "downgrade", "stamp", "adopt")  # which tables of the first version take
RESTORE, REPLAY = "restore", "replay"
_TAKEN = ", ".join(f"'{direction}'" for direction in (*FIRST_DIRECTIONS, RESTORE, REPLAY))
_CREATE = (
    "CREATE SCHEMA IF NOT EXISTS lawsker_db",
    f"""CREATE TABLE IF NOT EXISTS lawsker_db.migration_run (
        position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        run_id text NOT NULL UNIQUE,
        direction text NOT NULL CHECK (direction IN ({_TAKEN})),
        via text NOT NULL,
        from_revisions text[] NOT NULL,
        to_revisions text[] NOT NULL,
        steps text[] NOT NULL,
        contract_digest text NOT NULL,
        backup_id text,
        rows_made jsonb NOT NULL,
        fingerprints jsonb NOT NULL,
        tool_version text NOT NULL,
        by_user text NOT NULL,
        from_address text NOT NULL,
        made_at timestamptz NOT NULL,
        transaction_id bigint NOT NULL,
        system_identifier text NOT NULL,
        database_oid bigint NOT NULL,
        previous_hash text NOT NULL,
        row_hash text NOT NULL
    )""",
    "COMMENT ON TABLE lawsker_db.migration_run IS 'History of lawsker-db: one row a run that committed. Do not edit.'",
)
CARRIED = "lawsker_db.migration_run"  # among the rows that a restore made: those of the damaged database's history
_REINSTATING = ", reinstating "
# fmt: off
_COLUMNS = (
    "run_id", "direction", "via", "from_revisions", "to_revisions", "steps", "contract_digest", "backup_id", "rows_made",
    "fingerprints", "tool_version", "by_user", "from_address", "made_at", "transaction_id", "system_identifier",
    "database_oid", "previous_hash", "row_hash",
)
# fmt: on


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a run says of itself when it is about to commit."""

    run_id: str
    direction: str
    via: str
    from_revisions: tuple[str, ...]
    to_revisions: tuple[str, ...]
    steps: tuple[str, ...] = ()
    contract_digest: str = ""
    backup_id: str | None = None
    rows_made: Mapping[str, int] = field(default_factory=dict)
    fingerprints: tuple[Fingerprint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """One row of the history. `here` is false when it was written in another database, of which this is a copy, and not
    in one that a restore has replaced by this one. `undone`: it committed in a database that was replaced by its state from
    before, and which is called so now. `altered`: the row is not what was written. `gap`: the row before it is not the one
    that stood there when it was written, so one at least is missing or was replaced."""

    run_id: str
    direction: str
    via: str
    from_revisions: tuple[str, ...]
    to_revisions: tuple[str, ...]
    steps: tuple[str, ...]
    tool_version: str
    by_user: str
    from_address: str
    made_at: datetime
    backup_id: str | None
    rows_made: Mapping[str, int]
    fingerprints: tuple[Fingerprint, ...]
    here: bool
    intact: bool
    altered: bool = False
    gap: bool = False
    undone: str = ""

    @property
    def reinstated(self) -> tuple[str, ...]:
        """Pure. The archives that it brought something back from."""
        names = self.via.partition(_REINSTATING)[2] if self.direction == "upgrade" else ""
        return tuple(names.split(", ")) if names else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """A database that a restore put another one (`by_oid`) in the place of: what it is called since, which run did it, and
    which runs had committed in it that the other one knows of no more."""

    system_identifier: str
    database_oid: int
    by_oid: int
    name: str
    run_id: str
    backup_id: str
    undone: tuple[str, ...]
    known: bool = True  # whether it could tell its history when it was replaced


def recorded_via(via: str, *, reason: str = "", reinstated: tuple[str, ...] = ()) -> str:
    """Pure. By which way a run came, as the record has it: why a downgrade threw away, what an upgrade brought back."""
    discarding = f", discarding: {reason}" if reason else ""
    return f"{via}{discarding}{_REINSTATING if reinstated else ''}{', '.join(reinstated)}"


def first_made(history: tuple[PastRun, ...], run: PastRun, revision: str) -> datetime:
    """Pure. When the rows of a revision were made that a run has left: where it brought them back from an archive, by the
    upgrade before the downgrade that kept them there."""
    for place, past in enumerate(history):
        if past.direction == "downgrade" and revision in past.steps and archive_schema(past.run_id) in run.reinstated:
            earlier = [one for one in history[:place] if one.direction == "upgrade" and revision in one.steps]
            return first_made(history[:place], earlier[-1], revision) if earlier else run.made_at
    return run.made_at


def write_marker(conn: Connection, run: Run, server: Server) -> None:
    """Write the marker row in the transaction that is open. Creates the schema and table when they are missing.

    The MIGRATION lock, which the caller holds, keeps two such transactions apart.
    """
    _make_table(conn)
    if run.direction not in FIRST_DIRECTIONS:
        _take_every_direction(conn)
    row = _row(conn, run, server)
    _insert(conn, row | {"row_hash": _hash(row)})


def read_history(conn: Connection, server: Server) -> tuple[PastRun, ...]:
    """All runs that committed, oldest first; empty when there is no history. Reads only."""
    if conn.execute(text("SELECT to_regclass('lawsker_db.migration_run')")).scalar_one() is None:
        return ()
    found: list[PastRun] = []
    previous, facts_of = "", _rows(conn)
    replaced = _replaced(facts_of)
    before = {(one.system_identifier, one.database_oid) for one in _in_our_place(replaced, server)}
    ours = frozenset(before | {(server.system_identifier, server.database_oid)})
    undone = {run_id: one.name for one in reversed(replaced) for run_id in one.undone}
    for row in facts_of:
        facts = dict(row)
        stated = facts.pop("row_hash")
        altered, gap = stated != _hash(facts), facts["previous_hash"] != previous
        previous = str(stated)
        past = _past(facts, ours, altered=altered, gap=gap)
        kept_as = undone.get(past.run_id, "")
        found.append(replace(past, undone=kept_as, here=past.here and not kept_as))
    return tuple(found)


def may_read_history(conn: Connection) -> bool:
    """Whether there is a history that this session may read, or none at all. Reads the catalog."""
    return bool(
        conn.execute(
            text(
                "SELECT coalesce(bool_and(has_schema_privilege(n.oid, 'USAGE')"
                " AND has_table_privilege(c.oid, 'SELECT')), true)"
                " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                " WHERE n.nspname = 'lawsker_db' AND c.relname = 'migration_run'"
            )
        ).scalar_one()
    )


def read_replaced(conn: Connection, server: Server) -> tuple[Replaced, ...]:
    """The databases that restores put this one in the place of, oldest first. Reads only."""
    if conn.execute(text("SELECT to_regclass('lawsker_db.migration_run')")).scalar_one() is None:
        return ()
    return _in_our_place(_replaced(_rows(conn)), server)


def read_rows(conn: Connection) -> tuple[Mapping[str, object], ...]:
    """The rows of the history as they are, oldest first, to be carried into a restored database. Reads only."""
    if conn.execute(text("SELECT to_regclass('lawsker_db.migration_run')")).scalar_one() is None:
        return ()
    return _rows(conn)


def carry_over(conn: Connection, rows: tuple[Mapping[str, object], ...]) -> int:
    """Write those of these rows that the history here does not have, as they are. Returns how many.

    Creates schema and table when they are missing. A table of an older version learns that runs may be restores: ACCESS
    EXCLUSIVE on it until the transaction ends, in a copy that nobody else uses.
    """
    _make_table(conn)
    _take_every_direction(conn)
    known = {row["run_id"] for row in _rows(conn)}
    missing = [row for row in rows if row["run_id"] not in known]
    for row in missing:
        _insert(conn, row)
    return len(missing)


def replacing(oid: int, name: str) -> tuple[str, ...]:
    """Pure. What the `steps` of a restore's row say: which database it replaced, and what that is called since."""
    return (str(oid), name)


def has_committed(conn: Connection, run_id: str) -> bool:
    """Whether the marker of a run is visible. Reads only."""
    if conn.execute(text("SELECT to_regclass('lawsker_db.migration_run')")).scalar_one() is None:
        return False
    return bool(
        conn.execute(
            text("SELECT EXISTS (SELECT FROM lawsker_db.migration_run WHERE run_id = :run_id)"),
            {"run_id": run_id},
        ).scalar_one()
    )


def swapped_in(damaged: Connection, restored: Connection) -> int | None:
    """The transaction of the restored database after which a restore let applications into it in the place of the damaged
    one; None where none did. Reads only."""
    if restored.execute(text("SELECT to_regclass('lawsker_db.migration_run')")).scalar_one() is None:
        return None
    own = text("SELECT oid::bigint FROM pg_database WHERE datname = current_database()")
    theirs, ours = (int(conn.execute(own).scalar_one()) for conn in (damaged, restored))
    found = restored.execute(
        text(
            "SELECT transaction_id FROM lawsker_db.migration_run WHERE direction = :restore AND database_oid = :ours"
            " AND steps[1] = :theirs ORDER BY position DESC LIMIT 1"
        ),
        {"restore": RESTORE, "ours": ours, "theirs": str(theirs)},
    ).scalar_one_or_none()
    return None if found is None else int(found)


def _make_table(conn: Connection) -> None:
    if conn.execute(text("SELECT to_regclass('lawsker_db.migration_run')")).scalar_one() is None:
        for statement in _CREATE:
            conn.execute(text(statement))


def _take_every_direction(conn: Connection) -> None:
    """Teach a table of the first version the later directions. ACCESS EXCLUSIVE on it until the transaction ends."""
    limit = "migration_run_direction_check"
    conn.execute(text(f"ALTER TABLE lawsker_db.migration_run DROP CONSTRAINT IF EXISTS {limit}"))
    conn.execute(text(f"ALTER TABLE lawsker_db.migration_run ADD CONSTRAINT {limit} CHECK (direction IN ({_TAKEN}))"))


def _insert(conn: Connection, row: Mapping[str, object]) -> None:
    names = ", ".join(_COLUMNS)
    values = ", ".join(f":{name}" for name in _COLUMNS)
    typed = (bindparam("rows_made", type_=JSONB), bindparam("fingerprints", type_=JSONB))
    conn.execute(
        text(f"INSERT INTO lawsker_db.migration_run ({names}) VALUES ({values})").bindparams(*typed), dict(row)
    )


def _rows(conn: Connection) -> tuple[Mapping[str, object], ...]:
    conn.execute(text("SELECT set_config('DateStyle', 'ISO, YMD', true)"))  # no driver reads the others
    # A moment beyond Python's years, which only an altered row can have, would keep every other row from being read.
    kept = "least(greatest(made_at, '0002-01-01'), '9998-12-31') AS made_at"
    names = ", ".join(kept if name == "made_at" else name for name in _COLUMNS)
    query = text(f"SELECT {names} FROM lawsker_db.migration_run ORDER BY position")
    return tuple(dict(row) for row in conn.execute(query).mappings())


def _replaced(rows: tuple[Mapping[str, object], ...]) -> tuple[Replaced, ...]:
    """Pure. The restores among the rows: each undid as many of the rows before it as it carried over."""
    found: list[Replaced] = []
    for number, row in enumerate(rows):
        steps, made = row["steps"], row["rows_made"]
        if row["direction"] != RESTORE or not isinstance(steps, list) or len(steps) != 2 or not isinstance(made, dict):
            continue
        carried = made.get(CARRIED, 0)
        if not str(steps[0]).isdecimal() or not isinstance(carried, int):  # somebody has altered it
            continue
        first = max(0, number - carried)
        # What the backup holds is here again, whoever undid it meanwhile.
        held = {str(before["run_id"]) for before in rows[:first]}
        found = [
            one if one.run_id in held else replace(one, undone=tuple(run for run in one.undone if run not in held))
            for one in found
        ]
        found.append(
            Replaced(
                system_identifier=str(row["system_identifier"]),
                database_oid=int(steps[0]),
                by_oid=int(str(row["database_oid"])),
                name=str(steps[1]),
                run_id=str(row["run_id"]),
                backup_id=str(row["backup_id"]),
                undone=tuple(str(before["run_id"]) for before in rows[first:number]),
                known=CARRIED in made,
            )
        )
    return tuple(found)


def _in_our_place(replaced: tuple[Replaced, ...], server: Server) -> tuple[Replaced, ...]:
    """Pure. Those that this very database was put in the place of, one after another; in a copy of it there are none."""
    found: list[Replaced] = []
    oids = {server.database_oid}
    for one in reversed(replaced):
        if one.system_identifier == server.system_identifier and one.by_oid in oids:
            oids.add(one.database_oid)
            found.append(one)
    return tuple(reversed(found))


def _row(conn: Connection, run: Run, server: Server) -> dict[str, object]:
    here = (
        conn.execute(
            text(
                "SELECT now() AS made_at, txid_current() AS transaction_id,"
                " coalesce(host(inet_client_addr()), 'local socket') AS from_address"
            )
        )
        .mappings()
        .one()
    )
    previous = conn.execute(
        text("SELECT row_hash FROM lawsker_db.migration_run ORDER BY position DESC LIMIT 1")
    ).scalar_one_or_none()
    return {
        "run_id": run.run_id,
        "direction": run.direction,
        "via": run.via,
        "from_revisions": list(run.from_revisions),
        "to_revisions": list(run.to_revisions),
        "steps": list(run.steps),
        "contract_digest": run.contract_digest,
        "backup_id": run.backup_id,
        "rows_made": dict(run.rows_made),
        "fingerprints": [as_json(asdict(print_)) for print_ in run.fingerprints],
        "tool_version": __version__,
        "by_user": server.session_user,
        "system_identifier": server.system_identifier,
        "database_oid": server.database_oid,
        "previous_hash": previous or "",
        **here,
    }


def _hash(row: Mapping[str, object]) -> str:
    """Pure. SHA-256 of a row without its own hash, as JSON with sorted keys; times as seconds, so no zone counts."""
    plain = {key: value.timestamp() if isinstance(value, datetime) else value for key, value in row.items()}
    return hashlib.sha256(json.dumps(as_json(plain), sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _past(facts: Mapping[str, object], ours: frozenset[tuple[str, int]], *, altered: bool, gap: bool) -> PastRun:
    """Pure. A row as a value. One that somebody has altered may hold anything: what is no fact of ours is left out."""
    here = (facts["system_identifier"], facts["database_oid"]) in ours
    made = facts["rows_made"]
    known = ("run_id", "direction", "via", "tool_version", "by_user", "from_address", "made_at", "backup_id")
    lists = ("from_revisions", "to_revisions", "steps")
    return PastRun(
        **{name: facts[name] for name in known},  # type: ignore[arg-type]
        **{name: tuple(map(str, facts[name])) for name in lists},  # type: ignore[arg-type, call-overload]
        rows_made=made if isinstance(made, dict) and all(isinstance(rows, int) for rows in made.values()) else {},
        fingerprints=_fingerprints(facts["fingerprints"]),
        here=here,
        intact=not altered and not gap,
        altered=altered,
        gap=gap,
    )


def _fingerprints(prints: object) -> tuple[Fingerprint, ...]:
    """Pure. What a row says of the tables that its run made; nothing where that is not in a form of ours."""
    try:
        return tuple(
            Fingerprint(table=p["table"], columns=tuple(p["columns"]), rows=p["rows"], sums=tuple(p["sums"]))
            for p in prints  # type: ignore[attr-defined]
        )
    except (KeyError, TypeError):
        return ()
