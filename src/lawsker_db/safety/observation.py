"""What stood before a revision, and whether it holds the same afterwards: untouched, or fingerprinted twice under a lock.

A relation is untouched when this transaction holds no lock on it with which rows can be written, and it bears the same name
and has the same file, read by the same columns, or another file that another session has given it (TRUNCATE, VACUUM FULL,
ALTER SEQUENCE … RESTART). Whatever else must have been observed behind its lock, on the columns that are to survive, and
give the same fingerprint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import Connection

from lawsker_db.evidence import Check, Fingerprint, TableContent
from lawsker_db.phrases import Phrase
from lawsker_db.postgres.content import Sequence, counts_upwards, read_sequence
from lawsker_db.postgres.fingerprint import column_names, fingerprint_table
from lawsker_db.postgres.session import free_to_idle, literal, quoted
from lawsker_db.postgres.touched import (
    LARGE_OBJECTS,
    Relation,
    Written,
    count_shared,
    count_written,
    read_family,
    read_relations,
    rewritten_by_others,
    written_relations,
    written_shared,
)

OWN_SCHEMA = "lawsker_db."
SEQUENCE = "S"
_LARGE_OBJECTS = tuple(f"pg_catalog.{catalog}" for catalog in LARGE_OBJECTS)

Reader = Callable[[list[str]], list[Fingerprint]]
Columns = frozenset[tuple[str, str]]  # of which table; (sequence, "S") for one that may move on


class Observation:
    """Every relation as it stood when the revision under way began, and what was observed of its content since."""

    def __init__(self, conn: Connection, *, own: str, beside: Reader | None = None) -> None:
        """Remember; `begin` does the work. `own` is Alembic's table. With `beside`, which reads tables on connections of
        their own, every table that was observed is compared, touched or not."""
        self._conn = conn
        self._own = own
        self._beside = beside
        self._relations: dict[int, Relation] = {}
        self._prints: dict[str, Fingerprint] = {}
        self._sequences: dict[str, Sequence] = {}
        self._upwards: dict[str, bool] = {}  # of those that may move on
        self._shared: dict[str, int] = count_shared(conn)
        self._written: dict[int, Written] = {}
        self.moved: list[str] = []

    def begin(self) -> None:
        """Read what stands now. Reads the catalog alone."""
        self._relations = {relation.oid: relation for relation in read_relations(self._conn)}

    def tables(self) -> tuple[str, ...]:
        """Pure. The ordinary tables that stood, Alembic's and ours left out."""
        found = (relation.name for relation in self._relations.values() if relation.kind == "r")
        return tuple(name for name in found if name != self._own and not name.startswith((OWN_SCHEMA, "pg_catalog.")))

    def stands(self, name: str) -> bool:
        """Pure. Whether there was such a relation."""
        return any(relation.name == name for relation in self._relations.values())

    def sequences(self) -> frozenset[str]:
        """Pure. The sequences that stood."""
        return frozenset(relation.name for relation in self._relations.values() if relation.kind == SEQUENCE)

    def observe(self, table: str, varying: Columns, tell: Callable[[Fingerprint], None]) -> None:
        """Fingerprint a table, and its partitions and children, on all columns but those that may vary.

        The caller holds the lock. Takes ACCESS SHARE; time grows with the table. What was observed once stays so.
        """
        for relation in self._family(table):
            if relation.name in self._prints:
                continue
            if relation.kind == SEQUENCE:
                self._sequences[relation.name] = read_sequence(self._conn, relation.name)
                if (relation.name, SEQUENCE) in varying:
                    self._upwards[relation.name] = counts_upwards(self._conn, relation.name)
                continue
            columns = column_names(self._conn, relation.name)
            kept = tuple(name for name in columns if not {(relation.name, name), (table, name)} & varying)
            self._prints[relation.name] = fingerprint_table(self._conn, relation.name, kept)
            tell(self._prints[relation.name])

    def observe_beside(self, tables: tuple[str, ...]) -> None:
        """Fingerprint those of these tables that were not observed yet, on connections of their own. The caller holds locks
        on them that keep writers out and let readers in, and has written none of them."""
        names = {relation.name for relation in self._relations.values()}
        self._prints |= self._read_beside([name for name in tables if name in names and name not in self._prints])

    def written_early(self, tables: tuple[str, ...]) -> tuple[str, ...]:
        """Those of these tables that this transaction has written before they were observed. Reads pg_locks."""
        written = written_relations(self._conn)
        return tuple(
            relation.name
            for table in tables
            for relation in self._family(table)
            if relation.oid in written and relation.name not in self._prints
        )

    def judge(self, dropped: frozenset[str]) -> tuple[list[Check], list[TableContent]]:
        """Each relation that stood: untouched, or with the content that it had behind its lock; `dropped` may be gone.

        Reads pg_locks, the catalog and each written table once more.
        """
        now = {relation.oid: relation for relation in read_relations(self._conn)}
        written = written_relations(self._conn)
        others = self._rewritten_by_others(now, written)
        checks: list[Check] = []
        contents: list[TableContent] = []
        untouched: dict[str, str] = {}
        for oid, relation in self._relations.items():
            if relation.name == self._own or relation.name in dropped:
                continue
            if oid in others:
                untouched[relation.name] = Phrase("untouched; another session has given it a new file")
                continue
            if oid not in written and now.get(oid) == relation:
                untouched[relation.name] = Phrase("untouched")
                continue
            if oid in written and relation.kind == SEQUENCE:
                self.moved.append(relation.name)
            check, content = self._compare(relation, now.get(oid))
            checks.append(check)
            contents += content
        again = self._read_beside([name for name in untouched if name in self._prints])
        for name, proof in untouched.items():
            if name in again:
                check, content = self._same(self._prints[name], again[name])
                checks.append(check)
                contents += content
            elif not name.startswith(OWN_SCHEMA):  # our history is watched, and no part of the report
                contents.append(TableContent(table=name, proof=proof))
        return checks, contents

    def prepare_next(self, varying: Columns, tell: Callable[[Fingerprint], None]) -> None:
        """What the last revision made or wrote is old to the next one: observe it anew, on the columns of that one."""
        self.begin()
        written = written_relations(self._conn)
        varied = {relation.name for table in {name for name, _ in varying} for relation in self._family(table)}
        untouched = {relation.name for relation in self._relations.values() if relation.oid not in written}
        kept = untouched - varied if self._beside else set()
        self._prints = {name: print_ for name, print_ in self._prints.items() if name in kept}
        self._sequences.clear()
        self._upwards.clear()
        for relation in self._relations.values():
            if relation.oid in written and relation.name != self._own:
                self.observe(relation.name, varying, tell)

    def shared_written(self) -> frozenset[str]:
        """Catalogs of the whole server that this transaction has written. Reads its own counters and pg_locks."""
        return written_shared(self._conn, self._shared)

    def settle(self) -> None:
        """Remember what this transaction has written until now, which was judged."""
        self._written = count_written(self._conn)

    def written_since(self, *, catalogs: bool) -> list[Check]:
        """A finding for each relation written since then, `lawsker_db` apart; the system's with `catalogs` alone."""
        return [
            _check(
                Phrase("content of {table}", table=now.name),
                False,
                Phrase("as the gate judged it"),
                Phrase("written after that"),
            )
            for oid, now in count_written(self._conn, catalogs=catalogs).items()
            if self._written.get(oid) != now
        ]

    def _rewritten_by_others(self, now: Mapping[int, Relation], written: frozenset[int]) -> frozenset[int]:
        """The relations of the same name that have another file now, by no lock and no transaction of ours."""
        kept = [(old, now[oid]) for oid, old in self._relations.items() if oid not in written and oid in now]
        changed = [old.oid for old, new in kept if old.name == new.name and old.filenode != new.filenode]
        return rewritten_by_others(self._conn, changed) if changed else frozenset()

    def _read_beside(self, tables: list[str]) -> dict[str, Fingerprint]:
        if self._beside is None or not tables:
            return {}
        with free_to_idle(self._conn):
            return {print_.table: print_ for print_ in self._beside(tables)}

    def _family(self, table: str) -> tuple[Relation, ...]:
        """A relation that stood, with all its partitions and children that hold rows."""
        return tuple(self._relations[oid] for oid in read_family(self._conn, table) if oid in self._relations)

    def _compare(self, relation: Relation, now: Relation | None) -> tuple[Check, list[TableContent]]:
        """One relation that was written, or is compared in any case: its content now against what was observed."""
        name = Phrase("content of {table}", table=relation.name)
        if now is None:
            return _check(name, False, Phrase("rows unchanged"), Phrase("the table is gone")), []
        if now.name != relation.name:
            found = Phrase("these rows stand in {table} now", table=now.name)
            return _check(name, False, Phrase("rows unchanged"), found), []
        if relation.name in _LARGE_OBJECTS:
            found = Phrase("a large object was written, made, dropped or granted, which no contract can promise")
            return _check(name, False, Phrase("untouched"), found), []
        if relation.kind == SEQUENCE:
            return self._compare_sequence(name, relation)
        observed = self._prints.get(relation.name)
        if observed is None:
            return _check(
                name, False, Phrase("untouched"), Phrase("written without having been locked by ops.lock_tables first")
            ), []
        return self._same(observed, fingerprint_table(self._conn, relation.name, observed.columns))

    def _same(self, observed: Fingerprint, again: Fingerprint) -> tuple[Check, list[TableContent]]:
        """Pure. Two fingerprints of one table, as a finding."""
        same = observed.same_content(again)
        found = (
            Phrase("{rows} rows, the same", rows=again.rows)
            if same
            else Phrase("{rows} rows, other content", rows=again.rows)
        )
        unchanged = Phrase("{rows} rows, unchanged", rows=observed.rows)
        check = _check(Phrase("content of {table}", table=again.table), same, unchanged, found)
        return check, [TableContent(table=again.table, proof="fingerprint", rows=again.rows)]

    def _compare_sequence(self, name: str, relation: Relation) -> tuple[Check, list[TableContent]]:
        """A sequence that drew numbers or was set: only where the contract says so, and never backwards.

        What others draw meanwhile moves it forwards too, and no rollback takes a number back.
        """
        before = self._sequences.get(relation.name)
        if before is None:
            return _check(
                name, False, Phrase("untouched"), Phrase("numbers drawn or set, which the contract does not promise")
            ), []
        after = read_sequence(self._conn, relation.name)
        upwards = self._upwards.get(relation.name)
        if upwards is None:
            ok, expected = after == before, Phrase("untouched")
        else:
            ok, expected = _is_forwards(before, after, upwards=upwards), Phrase("never backwards")
        proof = TableContent(table=relation.name, proof=Phrase("not backwards"))
        found = Phrase("{before} to {after}", before=before.last_value, after=after.last_value)
        return _check(name, ok, expected, found), [proof]


def check_serial(conn: Connection, table: str, column: str) -> Check:
    """The numbers of a new serial column go on behind those that its rows have, and half of them at least are left."""
    sequence = f"{table}_{column}_seq"
    following, highest, last = conn.execute(
        literal(
            "SELECT s.last_value + CASE WHEN s.is_called THEN p.seqincrement ELSE 0 END,"
            f" (SELECT max({quoted(column)}) FROM {table}), p.seqmax"
            f" FROM {sequence} AS s, pg_sequence AS p WHERE p.seqrelid = to_regclass('{sequence}')"
        )
    ).one()
    ok = (highest is None or following > highest) and following <= last // 2
    expected = Phrase("above {highest}, at most half of {last}", highest=highest or 0, last=last)
    return _check(Phrase("next number of {sequence}", sequence=sequence), ok, expected, str(following))


def _is_forwards(before: Sequence, after: Sequence, *, upwards: bool) -> bool:
    """Pure. Whether a sequence stands where it stood, or further on in the direction in which it counts."""
    if before.last_value == after.last_value:
        return after.is_called or not before.is_called
    return (after.last_value > before.last_value) is upwards


def _check(name: str, ok: bool, expected: str, found: str) -> Check:
    return Check(name=name, ok=ok, expected=expected, found=found)
