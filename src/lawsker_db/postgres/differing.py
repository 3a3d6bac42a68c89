"""The rows in which one table of two databases differs, found without bringing rows here.

Both are summed by bucket first; for the buckets that differ, the hashes of the damaged database's rows go by binary COPY
into a temporary table of the restored one and are joined there. What differs is left in a second temporary table, as
places (ctid): within the snapshot that found them they lead straight back to the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg.rows import tuple_row
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from lawsker_db.phrases import Phrase
from lawsker_db.postgres.pulse import cancel
from lawsker_db.postgres.rows import BUCKETS, Pair, Shape, known_rows, sums_by_bucket
from lawsker_db.postgres.session import literal
from lawsker_db.target import said_by_server

THEIRS, FOUND = "pg_temp.lawsker_theirs", "pg_temp.lawsker_found"
INSERTED, CHANGED, DELETED = "inserted", "changed", "deleted"
BROKEN = ("XX001", "XX002", "58")  # data or index corrupted, and what the system says of a file
GROUP = 1_000  # rows that are fetched by one statement: their places stand in it

PIECE_BYTES = 128 << 10  # rows come one by one, and handing each on by itself took five times as long

_SUMS = dict[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many rows of a table differ: only in the damaged database, in both with other content, only in the restored."""

    inserted: int = 0
    changed: int = 0
    deleted: int = 0

    @property
    def any(self) -> bool:
        """Pure. Whether there is a difference at all."""
        return bool(self.inserted or self.changed or self.deleted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Some rows of one relation: (change, hash of the restored row where both have it, ctid) of each."""

    deleted: bool
    leaf: int
    rows: tuple[tuple[str, str | None, str], ...]

    @property
    def source(self) -> str:
        """Pure. What gives `c` of the rows, behind FROM: words and places that came from the server."""
        changes, befores, places = zip(*self.rows, strict=True)
        noted = ",".join(before or "NULL" for before in befores)
        spots = ",".join(f'"{place}"' for place in places)
        return (
            f"unnest('{{{','.join(changes)}}}'::text[], '{{{noted}}}'::text[], '{{{spots}}}'::tid[])"
            " AS c(change, before, place)"
        )


def prepare(restored: Connection) -> None:
    """Make the two temporary tables, which go when the transaction ends. Needs TEMPORARY on the database."""
    restored.execute(
        text(
            f"CREATE TEMPORARY TABLE {THEIRS} (k1 bigint, k2 bigint, h1 bigint, h2 bigint, place tid, leaf oid)"
            " ON COMMIT DROP"
        )
    )
    restored.execute(
        text(f"CREATE TEMPORARY TABLE {FOUND} (change text, before text, place tid, leaf oid) ON COMMIT DROP")
    )


def find_differing(
    damaged: Connection, restored: Connection, compared: Pair, major: int, since: int | None = None
) -> Counts:
    """Compare one table; the rows that differ then stand in FOUND. Reads the table twice at most, on each side.

    `since` is the transaction of the restored database after which applications were let in: a row that was written later
    is not what the backup had, so its hash is not noted. Both are in transactions of `begin_reading`, the restored one's
    `writable` and prepared. Memory here is flat.
    """
    restored.execute(text(f"TRUNCATE {THEIRS}, {FOUND}"))
    chosen = _differing_buckets(damaged, restored, compared, major)
    if chosen is not None and not any(chosen):
        return Counts()
    _carry(damaged, restored, known_rows(compared, compared.damaged, major, chosen))
    restored.execute(text(f"ANALYZE {THEIRS}"))
    restored.execute(literal(_joined(compared, known_rows(compared, compared.restored, major, chosen, since), since)))
    counted = restored.execute(text(f"SELECT change, count(*) FROM {FOUND} GROUP BY change"))
    return Counts(**{str(change): int(rows) for change, rows in counted})


def broken(failed: DBAPIError) -> str:
    """Pure. What the server says of a table whose file is broken, without values. Raises any other error again."""
    state = getattr(failed.orig, "sqlstate", None) or ""
    if failed.connection_invalidated or not state.startswith(BROKEN):
        raise failed
    return Phrase("cannot be read ({state}): {said}", state=state, said=str(said_by_server(failed.orig)))


def count_rows(conn: Connection, shape: Shape) -> int:
    """How many rows a table has. Reads it."""
    return int(conn.execute(literal(f"SELECT count(*) FROM {shape.source} AS t")).scalar_one())


def found_places(restored: Connection) -> Iterator[Places]:
    """What FOUND holds, in groups of one relation, inserted rows first, deleted last. Only one such walk at a time."""
    restored.execute(
        text(
            "DECLARE lawsker_walk NO SCROLL CURSOR FOR SELECT f.change, f.before, f.place::text, f.leaf::bigint"
            f" FROM {FOUND} AS f ORDER BY CASE f.change WHEN '{INSERTED}' THEN 1 WHEN '{CHANGED}' THEN 2 ELSE 3 END,"
            " f.leaf, f.place"
        )
    )
    while rows := restored.execute(text(f"FETCH {GROUP} FROM lawsker_walk")).all():
        groups: dict[tuple[bool, int], list[tuple[str, str | None, str]]] = {}
        for change, before, place, leaf in rows:
            groups.setdefault((change == DELETED, leaf), []).append((change, before, place))
        for (deleted, leaf), found in groups.items():
            yield Places(deleted=deleted, leaf=leaf, rows=tuple(found))
    restored.execute(text("CLOSE lawsker_walk"))


def raw(conn: Connection) -> psycopg.Connection[object]:
    """Pure. The driver's connection below SQLAlchemy's."""
    found = conn.connection.driver_connection
    if not isinstance(found, psycopg.Connection):
        raise TypeError("a psycopg connection is needed")
    return found


@contextmanager
def copying() -> Iterator[None]:
    """Turn what the driver raises in the block into SQLAlchemy's error, which `Target.connect` puts into words."""
    try:
        yield
    except psycopg.Error as failed:
        raise DBAPIError("COPY", None, failed) from failed


def _differing_buckets(damaged: Connection, restored: Connection, compared: Pair, major: int) -> bytes | None:
    """The buckets whose rows differ, a bit each; None where nearly all do. Both databases read at the same time."""
    mine, other = _at_once(
        lambda: _sums(damaged, sums_by_bucket(compared, compared.damaged, major)),
        lambda: _sums(restored, sums_by_bucket(compared, compared.restored, major)),
        restored,
    )
    chosen, differing = bytearray(BUCKETS // 8), 0
    for bucket in mine.keys() | other.keys():
        if mine.get(bucket) != other.get(bucket):
            chosen[bucket // 8] |= 1 << bucket % 8
            differing += 1
    # Where most rows are read again, hashing each key once more to choose them costs more than it saves.
    return None if differing > BUCKETS // 2 else bytes(chosen)


def _at_once(mine: Callable[[], _SUMS], other: Callable[[], _SUMS], stop: Connection) -> tuple[_SUMS, _SUMS]:
    """Run `other` in a thread while `mine` runs here. An error or interrupt here cancels what `stop` is asked."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        beside = pool.submit(other)
        try:
            return mine(), beside.result()
        except BaseException:
            cancel(raw(stop))
            raise


def _sums(conn: Connection, question: str) -> _SUMS:
    with copying(), raw(conn).cursor(row_factory=tuple_row) as cursor:
        cursor.execute(question.encode())
        return dict(cursor)


def _carry(damaged: Connection, restored: Connection, question: str) -> None:
    """Stream what one database answers into THEIRS of the other, block by block."""
    with copying(), raw(damaged).cursor() as out, raw(restored).cursor() as into:
        ask = f"COPY ({question}) TO STDOUT (FORMAT binary)".encode()
        put = f"COPY {THEIRS} FROM STDIN (FORMAT binary)".encode()
        with out.copy(ask) as source, into.copy(put) as sink:
            piece = bytearray()
            for block in source:
                piece += block
                if len(piece) >= PIECE_BYTES:
                    sink.write(bytes(piece))
                    piece.clear()
            sink.write(bytes(piece))


def _joined(compared: Pair, question: str, since: int | None) -> str:
    """Pure. The statement that fills FOUND. Without a key, the same row counts as often as it stands: its first occurrence
    meets the other's first, the second the second."""
    names, fresh = "k1, k2, h1, h2, place, leaf", "" if since is None else ", fresh"
    theirs, ours, same = THEIRS, f"(SELECT * FROM ({question}) AS q({names}{fresh}))", "d.k1 = r.k1 AND d.k2 = r.k2"
    if not compared.key:
        numbered = "SELECT q.*, row_number() OVER (PARTITION BY q.k1, q.k2) AS n FROM"
        theirs, ours = f"({numbered} {THEIRS} AS q)", f"({numbered} {ours} AS q)"
        same += " AND d.n = r.n"
    both = "d.k1 IS NOT NULL AND r.k1 IS NOT NULL" + (" AND NOT r.fresh" if fresh else "")
    hashed = "lpad(to_hex(r.h1), 16, '0') || lpad(to_hex(r.h2), 16, '0')"
    return (
        f"INSERT INTO {FOUND} SELECT CASE WHEN r.k1 IS NULL THEN '{INSERTED}' WHEN d.k1 IS NULL THEN '{DELETED}'"
        f" ELSE '{CHANGED}' END, CASE WHEN {both} THEN {hashed} END, coalesce(d.place, r.place), coalesce(d.leaf, r.leaf)"
        f" FROM {theirs} AS d FULL JOIN {ours} AS r ON {same}"
        " WHERE d.k1 IS NULL OR r.k1 IS NULL OR d.h1 <> r.h1 OR d.h2 <> r.h2"
    )
