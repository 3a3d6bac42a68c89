"""Read what the schema is into comparable values, and compare two.

Everything is read from pg_catalog with nothing else on the search_path (a temporary table could hide a catalog where it is
searched first), so that every name of ours in a definition is qualified. Objects of
extensions are left out (the extension and its version stand for them), and so is the schema `lawsker_db`, temporary
objects, and what the server makes by itself (array types, row types, TOAST, NOT NULL constraints of PostgreSQL 18, which
the columns tell already).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import zip_longest

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from lawsker_db.phrases import Phrase, first_of
from lawsker_db.postgres.closed import (
    CLOSED_QUERIES,
    DIGEST,
    NEWER_CLOSED_QUERIES,
    OBJECTS_OF,
    SECRETS,
    WRITTEN_OBJECTS,
)
from lawsker_db.postgres.facts import NEWER_QUERIES, QUERIES, opened
from lawsker_db.postgres.session import CATALOG_PATH, quoted_as_read, server_major

# Printing a definition takes ACCESS SHARE on its table. Whoever waits for that holds up nobody but an ACCESS EXCLUSIVE
# lock behind it, so somebody's TRUNCATE or VACUUM FULL is waited for, not taken for a failure.
PATIENT = "60s"

# What the catalogs of PostgreSQL call it, in words; the other names are words already.
ATTRIBUTES = {
    "acl": Phrase("list of grants"),
    "forced": Phrase("row security for the owner too"),
    "row_security": Phrase("row security"),
}

FIRST_OF_USERS = 16384  # FirstNormalObjectId: what has a lower OID came with the server

NAMED = 5  # objects behind a digest
NOTHING = Phrase("nothing")
ABSENT, PRESENT, MISSING = Phrase("absent"), Phrase("present"), Phrase("missing")

Identity = tuple[str, str]
Facts = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """The schema as facts: (kind, qualified name) to what is known of it."""

    objects: Mapping[Identity, Facts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing in which two catalogs differ. `attribute` is empty when the object stands in only one of them."""

    kind: str
    name: str
    attribute: str
    expected: str
    found: str

    @property
    def label(self) -> str:
        """Pure. "index public.ix_users_email: missing". Of a text of several lines the first that differs."""
        place = _line_that_differs(self.expected, self.found)
        if place is None:
            return self.whole
        line, expected, found = place
        return Phrase(
            "{kind} {name}: {attribute}, line {line}, is {found}, expected {expected}",
            kind=Phrase(self.kind),
            name=self.name,
            attribute=ATTRIBUTES.get(self.attribute, self.attribute),
            line=line,
            found=found,
            expected=expected,
        )

    @property
    def whole(self) -> str:
        """Pure. The label with the whole of what differs, however many lines that has."""
        if self.attribute:
            return Phrase(
                "{kind} {name}: {attribute} is {found}, expected {expected}",
                kind=Phrase(self.kind),
                name=self.name,
                attribute=ATTRIBUTES.get(self.attribute, self.attribute),
                found=self.found,
                expected=self.expected,
            )
        return Phrase(
            "{kind} {name}: {found}, expected {expected}",
            kind=Phrase(self.kind),
            name=self.name,
            found=self.found,
            expected=self.expected,
        )


def read_catalog(
    conn: Connection, *, schema: str | None = None, closed: bool = False, patience: str = PATIENT
) -> Catalog:
    """Read the whole schema of the database, or the objects of one schema (`schema` as it is, not quoted).

    `closed` is for comparisons of one database with itself: it adds the schema `lawsker_db` and what closed.py asks, as far
    as the session may look.

    Reads pg_catalog only: ACCESS SHARE on it, and on each view and table whose definitions are printed, for which
    `patience` is waited where somebody holds it ACCESS EXCLUSIVE. All that under a savepoint which is rolled back: the locks
    go with it, though the transaction may last for long, and so does another search_path.
    """
    queries = _queries(conn, closed=closed)
    objects: dict[Identity, Facts] = {}
    with _on_catalog_path(conn, patience):
        for kind, query in queries.items():
            for name, facts in conn.exec_driver_sql(query):
                objects[kind, name] = {key: value for key, value in facts.items() if value is not None}
    if schema is not None:
        prefix = quoted_as_read(conn, schema) + "."
        objects = {identity: facts for identity, facts in objects.items() if identity[1].startswith(prefix)}
    return Catalog(objects=objects)


def hold_definitions(conn: Connection, patience: str) -> None:
    """Take ACCESS SHARE on every view and on what stands behind it, until the transaction ends; on none where somebody
    holds one of them for longer than `patience`.

    Before a strong lock, behind which the catalog is read again: a REFRESH that has got its view by then, and waits for
    our table, would be a deadlock with that reading.
    """
    with suppress(DBAPIError), conn.begin_nested():
        conn.execute(text("SELECT set_config('lock_timeout', :limit, true)"), {"limit": patience})
        conn.execute(text(f"SELECT count(pg_get_ruledef(oid)) FROM pg_rewrite WHERE oid >= {FIRST_OF_USERS}"))


def _queries(conn: Connection, *, closed: bool) -> dict[str, str]:
    """The queries for this server's version and this role's rights."""
    version = server_major(conn)
    queries = _with_newer(QUERIES, NEWER_QUERIES, version)
    if not closed:
        return queries
    allowed = {
        kind: query
        for kind, (condition, query) in SECRETS.items()
        if conn.exec_driver_sql(f"SELECT {condition}").scalar_one()
    }
    own = {kind: opened(query) for kind, query in queries.items()}
    return {**own, **_with_newer(CLOSED_QUERIES, NEWER_CLOSED_QUERIES, version), **allowed}


def _with_newer(queries: Mapping[str, str], newer: Mapping[int, Mapping[str, str]], version: int) -> dict[str, str]:
    """Pure. The queries, and those that this version of the server can be asked besides or in their place."""
    found = dict(queries)
    for major, more in newer.items():
        if version >= major:
            found |= more
    return found


def name_written(conn: Connection, differences: tuple[Difference, ...]) -> tuple[Difference, ...]:
    """The differences, with names in place of a digest that has come out another: of the rows that this transaction has
    written there. (What it has deleted has no name any more.) Reads the system catalogs where there is such a digest."""
    if not any(map(_is_digest, differences)):
        return differences
    with _on_catalog_path(conn, PATIENT):
        written = {str(name): objects or [] for name, objects in conn.exec_driver_sql(WRITTEN_OBJECTS)}
    return tuple(
        replace(
            difference,
            expected=Phrase("as before"),
            found=Phrase("another; written: {objects}", objects=first_of(written.get(difference.name, []), NAMED))
            if written.get(difference.name)
            else Phrase("another; something was removed"),
        )
        if _is_digest(difference)
        else difference
        for difference in differences
    )


def _is_digest(difference: Difference) -> bool:
    return difference.kind == OBJECTS_OF and difference.attribute == DIGEST


@contextmanager
def _on_catalog_path(conn: Connection, patience: str) -> Iterator[None]:
    """Look names up in pg_catalog alone for the block, and wait so long for locks, which go at its end: it is a savepoint
    that is rolled back."""
    savepoint = conn.begin_nested()
    try:
        conn.execute(
            text("SELECT set_config('search_path', :path, true), set_config('lock_timeout', :limit, true)"),
            {"path": CATALOG_PATH, "limit": patience},
        )
        yield
    finally:
        if savepoint.is_active and not conn.invalidated:
            savepoint.rollback()


def compare_catalogs(expected: Catalog, found: Catalog) -> tuple[Difference, ...]:
    """Pure. Everything in which the two differ, in order of kind and name; empty when they are the same."""
    differences: list[Difference] = []
    for kind, name in sorted(expected.objects.keys() | found.objects.keys()):
        before, after = expected.objects.get((kind, name)), found.objects.get((kind, name))
        if before is None or after is None:
            words = (ABSENT, PRESENT) if before is None else (PRESENT, MISSING)
            differences.append(Difference(kind=kind, name=name, attribute="", expected=words[0], found=words[1]))
            continue
        differences += [
            Difference(
                kind=kind,
                name=name,
                attribute=key,
                expected=_shown(before.get(key)),
                found=_shown(after.get(key)),
            )
            for key in sorted(before.keys() | after.keys())
            if before.get(key) != after.get(key)
        ]
    return tuple(differences)


def parts_of(name: str) -> tuple[str, ...]:
    """Pure. The parts of a qualified name, quoted as they are: `a."b.c".d` gives `a`, `"b.c"` and `d`."""
    return tuple(re.findall(r'"(?:[^"]|"")*"|[^.]+', name))


def catalog_digest(catalog: Catalog) -> str:
    """Pure. SHA-256 of the whole catalog as JSON with sorted keys."""
    facts = [[kind, name, catalog.objects[kind, name]] for kind, name in sorted(catalog.objects)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _shown(fact: object) -> str:
    """Pure. A fact as people read it: what is no text is told in words, or listed in brackets."""
    if fact is None:
        return NOTHING
    if isinstance(fact, bool):
        return Phrase("yes") if fact else Phrase("no")
    return f"({', '.join(map(str, fact))})" if isinstance(fact, list) else str(fact)


def _line_that_differs(expected: str, found: str) -> tuple[int, str, str] | None:
    """Pure. Of texts of several lines the number of the first line that differs, as expected and as found."""
    if "\n" not in expected + found:
        return None
    lines = enumerate(zip_longest(expected.split("\n"), found.split("\n")), start=1)
    number, (old, new) = next((place, pair) for place, pair in lines if pair[0] != pair[1])
    old, new = (NOTHING if line is None else line.strip() for line in (old, new))
    return number, old, new
