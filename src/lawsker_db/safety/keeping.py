"""The archive that a downgrade makes as it goes, for the gate: what went into it, and is it all there, as it was?

Every table that goes is fingerprinted behind its lock, and again where it is kept; columns likewise, beside the key of
their table.
"""

from __future__ import annotations

import re

from sqlalchemy import Connection

from lawsker_db.contract import Contract
from lawsker_db.evidence import Check, Fingerprint
from lawsker_db.phrases import Phrase, joined
from lawsker_db.postgres.catalog import Catalog, Identity
from lawsker_db.postgres.fingerprint import column_names, fingerprint_table
from lawsker_db.postgres.kept import (
    ARCHIVE,
    CONTENTS,
    Kept,
    archive_schema,
    begin_archive,
    find_archives,
    keep_columns,
    keep_table,
    primary_key,
)
from lawsker_db.postgres.session import quoted, quoted_as_read

MOVED_WITH_TABLE = ("column", "constraint", "rule", "policy")  # triggers are taken off, and so are foreign keys
FOREIGN_KEY = "FOREIGN KEY"


class Keeping:
    """What one run keeps: its archive, empty and not there yet until the first thing goes into it."""

    def __init__(self, conn: Connection, run_id: str, chain_schema: str) -> None:
        """Remember; nothing is created yet. `chain_schema` is not quoted."""
        self._conn = conn
        self._run_id = run_id
        self._chain_schema = chain_schema
        self._quoted = quoted_as_read(conn, chain_schema)
        self._observed: dict[tuple[str, str], Fingerprint] = {}  # by revision and table
        self._expected: set[Identity] = set()
        self._began = False
        self.schema = archive_schema(run_id)
        self.kept: list[Kept] = []
        self.notes: list[str] = []

    @property
    def own_table(self) -> str:
        """Pure. The table of the archive that grows with each thing that is kept."""
        return f"{self.schema}.{CONTENTS}"

    def observe(self, table: str, contract: Contract) -> None:
        """Fingerprint a table that goes, or the columns that a table loses; the caller has locked it.

        `table` is unquoted. ACCESS SHARE; time grows with the table. What was observed once stays so.
        """
        key = (contract.revision, table)
        if key in self._observed:
            return
        place = f"{self._quoted}.{quoted(table)}"
        lost = tuple(c.name for extension in contract.extensions if extension.table == table for c in extension.columns)
        if table in {own.name for own in contract.tables}:
            self._observed[key] = fingerprint_table(self._conn, place)
        elif lost:
            wanted = (*primary_key(self._conn, place), *lost)
            there = tuple(name for name in column_names(self._conn, place) if name in wanted)
            self._observed[key] = fingerprint_table(self._conn, place, there)

    def keep_table(self, table: str, contract: Contract, digest: str) -> None:
        """Move a table into the archive, as `kept.keep_table` does."""
        place = f"{self._quoted}.{quoted_as_read(self._conn, table)}"
        self._begin()
        own = {trigger.name for entry in contract.tables if entry.name == table for trigger in entry.triggers}
        kept = keep_table(
            self._conn,
            self.schema,
            table,
            chain_schema=self._chain_schema,
            revision=contract.revision,
            digest=digest,
            observed=self._observed.get((contract.revision, table)),
        )
        self.kept.append(kept)
        others = [line for line in kept.definitions if _trigger_name(line) and _trigger_name(line) not in own]
        self.notes += [
            Phrase(
                "a trigger of others on {place} was taken off; the archive has its text: {text}", place=place, text=line
            )
            for line in others
        ]

    def keep_columns(self, table: str, columns: tuple[str, ...], contract: Contract, digest: str) -> None:
        """Copy columns into the archive, as `kept.keep_columns` does."""
        self._begin()
        kept = keep_columns(
            self._conn,
            self.schema,
            table,
            columns,
            chain_schema=self._chain_schema,
            revision=contract.revision,
            digest=digest,
            observed=self._observed.get((contract.revision, table)),
        )
        self.kept.append(kept)

    def apart(self, catalog: Catalog) -> Catalog:
        """Pure. A catalog without the archive, which has a judgement of its own."""
        return Catalog(objects={key: facts for key, facts in catalog.objects.items() if not self._is_ours(key)})

    def judge(self, before: Catalog, after: Catalog, contract: Contract) -> list[Check]:
        """Whether all that the contract's downgrade takes away is in the archive, as it was, and nothing else is. Reads
        what the archive says of itself."""
        now = [kept for kept in self.kept if kept.revision == contract.revision]
        checks = [self._judge_kept(kept) for kept in now]
        whole = {kept.original for kept in now if kept.kind == "table"}
        columns = {(kept.original, name) for kept in now if kept.kind == "columns" for name in kept.columns}
        checks += [
            _check(
                Phrase("archive of {table}", table=table.name),
                False,
                Phrase("kept"),
                Phrase("dropped by the revision: it must use ops.drop_table"),
            )
            for table in contract.tables
            if table.name not in whole and not self._is_empty_baseline(table.name, contract)
        ]
        for extension in contract.extensions:
            lost = [column.name for column in extension.columns if (extension.table, column.name) not in columns]
            words = Phrase("{columns} dropped by the revision: it must use ops.drop_columns", columns=", ".join(lost))
            if lost:
                checks.append(
                    _check(Phrase("archive of columns of {table}", table=extension.table), False, Phrase("kept"), words)
                )
        if self._began:
            checks += self._judge_schema(before, after, contract.revision)
        return checks

    def _begin(self) -> None:
        if not self._began:
            begin_archive(self._conn, self._run_id, self._chain_schema)
        self._began = True

    def _is_empty_baseline(self, table: str, contract: Contract) -> bool:
        """Pure. Whether a table of the lowest revision held no row behind its lock: that needs no archive."""
        observed = self._observed.get((contract.revision, table))
        return contract.follows is None and observed is not None and observed.rows == 0

    def _judge_kept(self, kept: Kept) -> Check:
        """One thing as it was behind its lock, and as it stands in the archive now. Reads it whole."""
        now = fingerprint_table(self._conn, kept.place)
        same = (kept.revision, kept.original) in self._observed and kept.fingerprint.same_content(now)
        name = (
            Phrase("archive of columns of {table}", table=kept.original)
            if kept.kind == "columns"
            else Phrase("archive of {table}", table=kept.original)
        )
        was = Phrase("{rows} rows, as behind its lock", rows=kept.fingerprint.rows)
        other = Phrase("{rows} rows, other content or columns", rows=now.rows)
        return _check(name, same, was, Phrase("{rows} rows, the same", rows=now.rows) if same else other)

    def _judge_schema(self, before: Catalog, after: Catalog, revision: str) -> list[Check]:
        """The archive in the catalog: what was moved and made, no more and no less, and closed to everybody else."""
        found = {key for key in after.objects if self._is_ours(key)}
        made = [ARCHIVE, CONTENTS, *(kept.kept_as for kept in self.kept if kept.kind == "columns")]
        self._expected |= {("schema", self.schema)}.union(*(self._made(found, table) for table in made))
        for kept in self.kept:
            if kept.revision == revision and kept.kind == "table":
                self._expected |= self._moved(before, kept)
        wrong = [
            Phrase("{kind} {name} is missing", kind=Phrase(kind), name=name)
            for kind, name in sorted(self._expected - found)
        ]
        wrong += [
            Phrase("{kind} {name} is there", kind=Phrase(kind), name=name)
            for kind, name in sorted(found - self._expected)
        ]
        wrong += [Phrase("others have rights on it")] * ("acl" in after.objects.get(("schema", self.schema), {}))
        told = next((archive for archive in find_archives(self._conn) if archive.schema == self.schema), None)
        if told is None or list(told.kept) != self.kept:
            wrong.append(Phrase("it does not say of itself what was kept"))
        found_wrong = joined(wrong, "; ") if wrong else Phrase("so it is")
        return [
            _check(
                Phrase("schema {schema}", schema=self.schema), not wrong, Phrase("exactly what was kept"), found_wrong
            )
        ]

    def _made(self, found: set[Identity], table: str) -> set[Identity]:
        """A table of the archive that this run made: its columns, one key and the index of that."""
        place = f"{self.schema}.{quoted_as_read(self._conn, table)}"
        below = {(kind, name) for kind, name in found if name.startswith(f"{place}.")}
        keys = sorted(name.removeprefix(f"{place}.") for kind, name in below if kind == "constraint")
        key = keys[0] if keys else f"{table}_pkey"
        made = {("table", place), ("constraint", f"{place}.{key}"), ("index", f"{self.schema}.{key}")}
        return made | {(kind, name) for kind, name in below if kind == "column"}

    def _moved(self, before: Catalog, kept: Kept) -> set[Identity]:
        """What stood of a table before it was moved, by the names that it must have now."""
        old = f"{self._quoted}.{quoted_as_read(self._conn, kept.original)}"
        new = f"{self.schema}.{quoted_as_read(self._conn, kept.kept_as)}"
        moved: set[Identity] = set()
        for (kind, name), facts in before.objects.items():
            if kind == "table" and name == old:
                moved.add((kind, new))
            elif kind in MOVED_WITH_TABLE and name.startswith(f"{old}."):
                if not str(facts.get("definition", "")).startswith(FOREIGN_KEY):
                    moved.add((kind, new + name.removeprefix(old)))
            elif facts.get("table") == old or str(facts.get("owned_by", "")).startswith(f"{old}."):
                moved.add((kind, f"{self.schema}.{name.removeprefix(f'{self._quoted}.')}"))
        return moved

    def _is_ours(self, identity: Identity) -> bool:
        """Pure. Whether something is the archive's schema or stands in it."""
        return identity[1].startswith(f"{self.schema}.") or identity == ("schema", self.schema)


def _trigger_name(definition: str) -> str:
    """Pure. The name in CREATE TRIGGER …, empty for any other statement."""
    found = re.match(r'CREATE (?:CONSTRAINT )?TRIGGER ("(?:[^"]|"")*"|\S+)', definition)
    return found.group(1).strip('"') if found else ""


def _check(name: str, ok: bool, expected: str, found: str) -> Check:
    return Check(name=name, ok=ok, expected=expected, found=found)
