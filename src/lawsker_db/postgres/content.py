"""The content of a whole database: a fingerprint of each table, of the large objects, and where the sequences stand."""

from __future__ import annotations

import queue
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import psycopg
from sqlalchemy import Connection, text

from lawsker_db.errors import LawskerError
from lawsker_db.evidence import Fingerprint
from lawsker_db.phrases import Phrase
from lawsker_db.postgres.fingerprint import fingerprint_table
from lawsker_db.postgres.pulse import shut
from lawsker_db.postgres.session import literal, pin_session
from lawsker_db.postgres.snapshot import Snapshot
from lawsker_db.target import Target, session_mark

# Two connections with a queue of tables beat one with parallel query (measured), and leave the dump its share.
CONNECTIONS = 2
LARGE_OBJECTS = Phrase("large objects")
CHUNK_BYTES = 8 << 20
LOCK_WAIT = "30s"  # behind somebody's DDL, then we give up: we start nothing
FOR_EVER = "0"  # on a copy of our own only we ourselves can be in the way, and we end
READER = "lawsker-db reader "
END_POLL_S = 0.1
UNANSWERED_S = 5.0  # a server process ends within moments; after that something in between has swallowed that it did
_readers: dict[str, list[psycopg.Connection[object]]] = {}  # by their name: the sessions that are reading

_TABLES = """
    SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.relkind::text,
        EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'),
        pg_relation_size(c.oid)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm', 'f', 'S') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
        AND n.nspname !~ '^pg_(temp|toast_temp)_'
    ORDER BY pg_relation_size(c.oid) DESC, 1"""
# Asks for no size of a table, which waits for whoever holds it ACCESS EXCLUSIVE.
_SEQUENCES = """
    SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'S' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
        AND n.nspname !~ '^pg_(temp|toast_temp)_'
        AND NOT EXISTS (SELECT FROM pg_depend d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY 1"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """Where a sequence stands. It is no part of any snapshot: it moves on, and a rollback does not take it back."""

    name: str
    last_value: int
    is_called: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a database holds. `left_out` tells, per relation, why its content was not fingerprinted."""

    tables: tuple[Fingerprint, ...]
    large_objects: Fingerprint
    sequences: tuple[Sequence, ...]
    left_out: tuple[tuple[str, str], ...]

    @property
    def rows(self) -> int:
        """Pure. Rows in all tables together."""
        return sum(table.rows for table in self.tables)


@dataclass(slots=True, kw_only=True)
class Tally:
    """How many tables a reading has done, of how many: for whoever waits for it in another thread."""

    done: int = 0
    whole: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentDifference:
    """One relation whose content differs between two databases."""

    name: str
    expected: str
    found: str

    @property
    def label(self) -> str:
        """Pure. One line for people."""
        return Phrase(
            "{name}: expected {expected}, found {found}",
            name=self.name,
            expected=self.expected,
            found=self.found,
        )


def read_content(
    target: Target,
    snapshot: Snapshot | None = None,
    *,
    connections: int = CONNECTIONS,
    hold: bool = True,
    tally: Tally | None = None,
) -> Content:
    """Fingerprint every table of a database, under an exported snapshot if one is given. Changes nothing.

    Takes ACCESS SHARE on all tables first and holds it to the end, so that none is truncated or rewritten meanwhile (to an
    older snapshot it would then look empty). Without `hold` each table is read in a transaction of its own, with no lock
    between them: for a copy that nobody else writes, whose indexes and keys may be built meanwhile. Time grows with the
    database; memory does not.
    """
    limit = LOCK_WAIT if hold else FOR_EVER
    with _reading(target, snapshot, limit) as conn:
        relations = conn.execute(text(_TABLES)).all()
        wanted = [name for name, kind, of_extension, _ in relations if kind == "r" and not of_extension]
        for name in wanted if hold else ():
            conn.execute(literal(f"LOCK TABLE ONLY {name} IN ACCESS SHARE MODE"))
        sequences = read_sequences(conn)
        large_objects = _large_objects(conn)
        if not hold:
            conn.rollback()
        tables = read_tables(target, wanted, snapshot=snapshot, connections=connections, limit=limit, tally=tally)
    return Content(
        tables=tuple(sorted(tables, key=lambda table: table.table)),
        large_objects=large_objects,
        sequences=sequences,
        left_out=tuple(
            sorted(
                _left_out(name, kind, of_extension)
                for name, kind, of_extension, _ in relations
                if kind in ("m", "f") or (kind == "r" and of_extension)
            )
        ),
    )


def read_sequences(conn: Connection) -> tuple[Sequence, ...]:
    """Where every sequence stands now. Takes ACCESS SHARE on each."""
    names = conn.execute(text(_SEQUENCES)).scalars().all()
    return tuple(sorted((read_sequence(conn, name) for name in names), key=lambda sequence: sequence.name))


def read_sequences_under(target: Target, snapshot: Snapshot) -> tuple[Sequence, ...]:
    """Where every sequence that a snapshot knows stands at this moment: no snapshot holds a sequence's value.

    Whoever compares a dump with it reads before the dump begins. Takes ACCESS SHARE on each, for the reading.
    """
    with _reading(target, snapshot, LOCK_WAIT) as conn:
        return read_sequences(conn)


def compare_content(
    expected: Content, found: Content, sequences_after: tuple[Sequence, ...]
) -> tuple[ContentDifference, ...]:
    """Pure. Tables, large objects and sequences in which a restored copy differs from what was dumped.

    A sequence moved on while the dump ran stands in the copy between where it stood before (`expected`) and after.
    """
    before = {table.table: table for table in (*expected.tables, expected.large_objects)}
    now = {table.table: table for table in (*found.tables, found.large_objects)}
    differences = [
        ContentDifference(name=name, expected=_shown(before.get(name)), found=_shown(now.get(name)))
        for name in sorted(before.keys() | now.keys())
        if name not in before or name not in now or not before[name].same_content(now[name])
    ]
    lowest = {sequence.name: sequence for sequence in expected.sequences}
    highest = {sequence.name: sequence for sequence in sequences_after}
    for sequence in found.sequences:
        low, high = lowest.get(sequence.name), highest.get(sequence.name)
        if low is None or high is None or not _between(low, sequence, high):
            shown = (
                Phrase("no such sequence")
                if low is None or high is None
                else Phrase("{low} to {high}", low=low.last_value, high=high.last_value)
            )
            differences.append(ContentDifference(name=sequence.name, expected=shown, found=str(sequence.last_value)))
    return tuple(differences)


def read_tables(
    target: Target,
    names: Iterable[str],
    *,
    snapshot: Snapshot | None = None,
    connections: int = CONNECTIONS,
    limit: str = LOCK_WAIT,
    tally: Tally | None = None,
) -> list[Fingerprint]:
    """Fingerprint tables (quoted and qualified, best the largest first), with a connection a thread. The first error ends
    all.

    A transaction a table: the locks that must be held are the caller's. What an open transaction has written is not seen.
    """
    marked = mark_readers(target)
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    tally = tally or Tally()
    for name in names:
        waiting.put(name)
        tally.whole += 1

    def work() -> list[Fingerprint]:
        done: list[Fingerprint] = []
        with connected_reader(marked) as conn:
            while True:
                try:
                    name = waiting.get_nowait()
                except queue.Empty:
                    return done
                _begin(conn, snapshot, limit)
                done.append(fingerprint_table(conn, name))
                conn.rollback()
                tally.done += 1  # for a display: one that two threads count at once may be lost

    with ThreadPoolExecutor(max_workers=connections) as pool:
        parts = [pool.submit(work) for _ in range(connections)]
        try:
            return [table for part in parts for table in part.result()]
        except BaseException:  # an interrupt, most of all, must not wait until every table is read
            end_readers(target, marked, lambda: all(part.done() for part in parts))
            raise


def mark_readers(target: Target) -> Target:
    """Pure but for chance. The same database, for sessions that `end_readers` will know by their name."""
    name = target.parameters.get("application_name", "")
    if name.startswith(READER):
        return target
    own = f"{READER}{session_mark()} {secrets.token_hex(8)}"
    return replace(target, parameters={**target.parameters, "application_name": own})


def end_readers(target: Target, marked: Target, ended: Callable[[], bool]) -> None:
    """Terminate the sessions of a marked target, which are our own, until their threads have ended.

    For clean-up: a server that cannot be reached has ended them by itself. Where a firewall or proxy swallows what the
    server says, our side of them is shut after a few seconds.
    """
    name = marked.parameters["application_name"]
    patient_until = time.monotonic() + UNANSWERED_S
    with suppress(LawskerError), target.connect(autocommit=True) as conn:
        while not ended():
            for raw in tuple(_readers.get(name, ())) if time.monotonic() > patient_until else ():
                shut(raw)
            conn.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = :name"),
                {"name": name},
            ).all()
            time.sleep(END_POLL_S)


@contextmanager
def connected_reader(target: Target, *, autocommit: bool = False) -> Iterator[Connection]:
    """A connection that `end_readers` knows as long as it is there, if the target is a marked one."""
    with target.connect(autocommit=autocommit) as conn:
        raw = conn.connection.driver_connection
        reading = _readers.setdefault(target.parameters.get("application_name", ""), [])
        if isinstance(raw, psycopg.Connection):
            reading.append(raw)
        try:
            yield conn
        finally:
            if raw in reading:
                reading.remove(raw)


@contextmanager
def _reading(target: Target, snapshot: Snapshot | None, limit: str) -> Iterator[Connection]:
    """A READ ONLY transaction under the snapshot, with pinned settings and nothing on the path but temporary objects."""
    with connected_reader(target) as conn:
        _begin(conn, snapshot, limit)
        yield conn
        conn.rollback()


def _begin(conn: Connection, snapshot: Snapshot | None, limit: str) -> None:
    conn.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
    if snapshot is not None:
        conn.execute(literal(f"SET TRANSACTION SNAPSHOT '{snapshot.name}'"))
    pin_session(conn, "pg_catalog")
    # Readers stand in nobody's way while they wait, so they wait as long as pg_dump does.
    conn.execute(literal(f"SET LOCAL lock_timeout = '{limit}'"))


def read_sequence(conn: Connection, name: str) -> Sequence:
    """Where one sequence (quoted and qualified) stands now. Takes ACCESS SHARE until the transaction ends."""
    row = conn.execute(literal(f"SELECT last_value, is_called FROM {name}")).one()
    return Sequence(name=name, last_value=int(row[0]), is_called=bool(row[1]))


def counts_upwards(conn: Connection, name: str) -> bool:
    """Whether a sequence (quoted and qualified) counts upwards. Reads the catalog."""
    query = text("SELECT seqincrement > 0 FROM pg_sequence WHERE seqrelid = to_regclass(:name)")
    return bool(conn.execute(query, {"name": name}).scalar_one())


def _large_objects(conn: Connection) -> Fingerprint:
    """All large objects as one fingerprint: their ids and bytes. (Pages are not compared: a restore fills holes.)

    Read in chunks: one may be larger than a value can be (1 GB), and the server's memory stays flat.
    """
    form = "hashtextextended(oid::text || ' ' || place::text || ' ' || digest, {seed})"
    sums = ", ".join(f"coalesce(sum({form.format(seed=seed)}), 0)::text" for seed in (1, 2))
    row = conn.execute(
        text(
            "WITH RECURSIVE chunks AS ("
            " SELECT m.oid, 0::bigint AS place, encode(sha256(c.bytes), 'hex') AS digest, length(c.bytes) AS size"
            " FROM pg_largeobject_metadata m, LATERAL (SELECT lo_get(m.oid, 0, :chunk) AS bytes OFFSET 0) c"
            " UNION ALL SELECT p.oid, p.place + :chunk, encode(sha256(c.bytes), 'hex'), length(c.bytes)"
            " FROM chunks p, LATERAL (SELECT lo_get(p.oid, p.place + :chunk, :chunk) AS bytes OFFSET 0) c"
            " WHERE p.size = :chunk)"
            f" SELECT count(DISTINCT oid), {sums} FROM chunks"
        ),
        {"chunk": CHUNK_BYTES},
    ).one()
    return Fingerprint(table=LARGE_OBJECTS, columns=("oid", "bytes"), rows=int(row[0]), sums=(row[1], row[2]))


def _left_out(name: str, kind: str, of_extension: bool) -> tuple[str, str]:
    """Pure. Why the content of a relation is not compared."""
    if of_extension:
        return name, Phrase("belongs to an extension, which fills it itself")
    reasons = {
        "m": Phrase("a materialized view: a restore fills it afresh"),
        "f": Phrase("a foreign table: its rows are elsewhere"),
    }
    return name, reasons[kind]


def _between(low: Sequence, found: Sequence, high: Sequence) -> bool:
    """Pure. Whether a sequence stands between two of its states, whichever way it counts."""
    if (low.last_value, low.is_called) == (high.last_value, high.is_called):
        return (found.last_value, found.is_called) == (low.last_value, low.is_called)
    return min(low.last_value, high.last_value) <= found.last_value <= max(low.last_value, high.last_value)


def _shown(table: Fingerprint | None) -> str:
    if table is None:
        return Phrase("nothing")
    return Phrase("{rows} rows, {first}/{second}", rows=table.rows, first=table.sums[0], second=table.sums[1])
