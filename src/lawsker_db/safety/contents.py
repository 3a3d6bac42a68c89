"""Data as it should be, found by queries: a contract's invariants, sequences, foreign keys and promised NOT NULLs.

Everything is read. Each question is asked under a savepoint, so that one which the server refuses spoils no other: it
is then not known, which is never "passed". Keys are shown, at most five, and never anything else of a person's row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import ARRAY, TIMESTAMP, Connection, RowMapping, Text, TextClause, bindparam, text
from sqlalchemy.exc import DBAPIError

from lawsker_db.contract import Contract, Invariant
from lawsker_db.evidence import Check
from lawsker_db.phrases import Phrase, joined
from lawsker_db.postgres.session import literal
from lawsker_db.safety.answers import answered
from lawsker_db.safety.checklist import ITEMS, SHOWN, When, passed, unknown, violated
from lawsker_db.target import said_by_server

# Columns that a sequence numbers: it is theirs, or their default draws from it and does nothing else. A sequence that
# begins again at its end may well stand behind, and those of partitions are their parent's.
NUMBERED = """
    SELECT c.relname = ANY (CAST(:own AS text[])) AS own, s.oid::regclass::text AS sequence,
           c.relname || '.' || a.attname AS column_name, q.seqincrement AS step,
           CASE WHEN c.relkind = 'r' THEN 'ONLY ' ELSE '' END || c.oid::regclass AS source, quote_ident(a.attname) AS named
    FROM (
        SELECT objid AS sequence, refobjid AS relation, refobjsubid::int AS number FROM pg_depend
        WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass AND deptype IN ('a', 'i')
            AND refobjsubid > 0
        UNION
        SELECT d.refobjid, e.adrelid, e.adnum FROM pg_depend AS d
        JOIN pg_attrdef AS e ON d.classid = 'pg_attrdef'::regclass AND e.oid = d.objid
        WHERE d.refclassid = 'pg_class'::regclass
            AND pg_get_expr(e.adbin, e.adrelid) ~ '^nextval[(]''[^,]*''::regclass[)]$'
    ) AS of
    JOIN pg_class AS s ON s.oid = of.sequence AND s.relkind = 'S'
    JOIN pg_sequence AS q ON q.seqrelid = s.oid AND NOT q.seqcycle
    JOIN pg_class AS c ON c.oid = of.relation AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        AND c.relpersistence <> 't'
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = of.number AND NOT a.attisdropped
        AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'numeric'::regtype)
    WHERE (SELECT oid FROM pg_namespace WHERE nspname = :schema) IN (c.relnamespace, s.relnamespace)
        AND (:older OR c.relname = ANY (CAST(:own AS text[])))
    ORDER BY 3, 2
"""

# Foreign keys out of or into the schema, spelt as the server itself compares them. A key with a NULL in it leads nowhere
# and is no orphan (MATCH SIMPLE). The row is named by its primary key where that is of numbers and uuids.
REFERENCES = """
    SELECT c.relname = ANY (CAST(:own AS text[])) AS own, c.relname || '.' || k.conname AS name,
           CASE WHEN c.relkind = 'r' THEN 'ONLY ' ELSE '' END || c.oid::regclass AS child,
           CASE WHEN p.relkind = 'r' THEN 'ONLY ' ELSE '' END || p.oid::regclass AS parent,
           pair.matched, pair.filled, coalesce(own.key, 'f.ctid') AS key
    FROM pg_constraint AS k
    JOIN pg_class AS c ON c.oid = k.conrelid
    JOIN pg_class AS p ON p.oid = k.confrelid
    CROSS JOIN LATERAL (
        SELECT string_agg(format('p.%I%s OPERATOR(%I.%s) f.%I%s', pa.attname, apart.said, n.nspname, o.oprname,
                                 fa.attname, apart.said), ' AND ') AS matched,
               string_agg(format('f.%I IS NOT NULL', fa.attname), ' AND ') AS filled
        FROM unnest(k.conkey, k.confkey, k.conpfeqop) AS part (child, parent, operator)
        JOIN pg_attribute AS fa ON fa.attrelid = k.conrelid AND fa.attnum = part.child
        JOIN pg_attribute AS pa ON pa.attrelid = k.confrelid AND pa.attnum = part.parent
        JOIN pg_operator AS o ON o.oid = part.operator
        JOIN pg_namespace AS n ON n.oid = o.oprnamespace
        LEFT JOIN pg_collation AS l ON l.oid = pa.attcollation AND pa.attcollation <> fa.attcollation
        CROSS JOIN LATERAL (
            SELECT CASE WHEN l.oid IS NULL THEN ''
                   ELSE format(' COLLATE %s.%I', l.collnamespace::regnamespace, l.collname) END AS said
        ) AS apart
    ) AS pair
    LEFT JOIN LATERAL (
        SELECT string_agg(format('f.%I::text', a.attname), ' || '', '' || ' ORDER BY a.attnum) AS key
        FROM pg_index AS i
        JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
        WHERE i.indrelid = k.conrelid AND i.indisprimary
        HAVING bool_and(a.atttypid IN ('uuid'::regtype, 'int2'::regtype, 'int4'::regtype, 'int8'::regtype))
    ) AS own ON true
    WHERE k.contype = 'f' AND k.conparentid = 0 AND coalesce(to_jsonb(k) ->> 'conperiod', 'false') = 'false'
        AND (SELECT oid FROM pg_namespace WHERE nspname = :schema) IN (c.relnamespace, p.relnamespace)
        AND (:older OR c.relname = ANY (CAST(:own AS text[])))
    ORDER BY 2
"""

# Promised NOT NULL, and in the catalog not so, or (18) not validated.
NULLABLE = """
    SELECT true AS own, c.relname || '.' || a.attname AS name, c.oid::regclass::text AS source,
           quote_ident(a.attname) AS named
    FROM unnest(CAST(:tables AS text[]), CAST(:columns AS text[])) AS promised (table_name, column_name)
    JOIN pg_class AS c ON c.oid = to_regclass(quote_ident(promised.table_name))
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = promised.column_name AND a.attnum > 0
        AND NOT a.attisdropped
    WHERE NOT a.attnotnull OR EXISTS (
        SELECT FROM pg_constraint AS k
        WHERE k.conrelid = c.oid AND k.contype = 'n' AND NOT k.convalidated AND k.conkey = ARRAY[a.attnum]
    )
    ORDER BY 2
"""


def check_contents(
    conn: Connection, contract: Contract, *, schema: str, made_at: datetime | None, older: bool = True
) -> tuple[Check, ...]:
    """Findings by query on one contract's promises, and on the sequences and foreign keys of the whole schema.

    `made_at` is the time of the transaction that made it all: what applications have written since is information
    where the list says "at the gate". None is the strict sense, at COMMIT: every row counts. Trouble of tables that are
    none of the contract's is older than it, and a warning; without `older` it is not looked for, which could take as
    long as reading the whole database. Reads only, with ACCESS SHARE on the tables; the session must be pinned to the
    schema.
    """
    checks = [check for invariant in contract.invariants for check in check_invariant(conn, invariant, made_at)]
    promised = [(table.name, column) for table in contract.tables for column in table.columns]
    promised += [(extension.table, column) for extension in contract.extensions for column in extension.columns]
    filled = [(table, column.name) for table, column in promised if not column.nullable]
    names = {"tables": [table for table, _ in filled], "columns": [column for _, column in filled]}
    whole = {"schema": schema, "own": [table.name for table in contract.tables], "older": older}
    return (
        *checks,
        *_look(conn, "D02", (NUMBERED, whole), _BEHIND),
        *_look(conn, "D16", (REFERENCES, whole), _ORPHANS),
        *_look(conn, "D17", (NULLABLE, names), _NULLS),
    )


def check_invariant(conn: Connection, invariant: Invariant, made_at: datetime | None) -> tuple[Check, ...]:
    """One query of a contract: a finding for each of its codes. Reads, under a savepoint."""
    codes = (invariant.code, *invariant.also)
    always = [code for code in codes if code in ITEMS and ITEMS[code].when is When.ALWAYS]
    columns, code = ("key, found, written_at", f"CAST('{invariant.code}' AS text)")
    if invariant.also:
        columns, code = (f"{columns}, code", "q.code")
    query = invariant.query.replace(":", "\\:")
    counted = text(
        "SELECT code, theirs, total, key, found FROM ("
        "SELECT code, theirs, key, found, count(*) OVER w AS total, row_number() OVER w AS place FROM ("
        f"SELECT {code} AS code, q.key, q.found,"
        f" coalesce(q.written_at > :made_at AND {code} <> ALL (:always), false) AS theirs"
        f" FROM ({query}) AS q ({columns})) AS judged WINDOW w AS (PARTITION BY code, theirs)"
        ") AS numbered WHERE place <= :shown"
    ).bindparams(
        bindparam("made_at", made_at, TIMESTAMP(timezone=True)),
        bindparam("always", always, ARRAY(Text)),
        bindparam("shown", SHOWN),
    )
    found = _answer(conn, counted)
    if isinstance(found, str):
        return tuple(_unknown(code, invariant, found) for code in codes)
    return tuple(_judge(code, invariant, [r for r in found if r["code"] == code], made_at) for code in codes)


def _judge(code: str, invariant: Invariant, rows: list[RowMapping], made_at: datetime | None) -> Check:
    """Pure. The finding on one code, from what one query gave for it."""
    ours = [row for row in rows if not row["theirs"]]
    theirs = next((int(row["total"]) for row in rows if row["theirs"]), 0)
    since = Phrase("so it is")
    if theirs:
        since = Phrase("so it is, but for {theirs} that the applications have written since", theirs=theirs)
    told = ((str(row["key"]), answered(invariant.query, str(row["found"]))) for row in ours)
    keys = tuple(Phrase("{key}: {found}", key=key, found=found) for key, found in told)
    if code in ITEMS:
        return violated(code, keys, count=int(ours[0]["total"])) if ours else passed(code, since)
    found = joined(keys, "; ") or since
    later = made_at is not None  # nobody knows whether a foreign chain's promise is for ever
    return Check(
        code=code,
        name=invariant.name,
        ok=not ours,
        expected=Phrase(invariant.says),
        found=found,
        keys=keys,
        warning=later,
    )


def _unknown(code: str, invariant: Invariant, why: str) -> Check:
    if code in ITEMS:
        return unknown(code, why)
    found = Phrase("could not be checked: {why}", why=why)
    return Check(code=code, name=invariant.name, ok=None, expected=Phrase(invariant.says), found=found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """What is asked of each thing that a query of the catalog lists: `query` gives what offends, and how many in all.
    `counted` are so many of these things in words, `said` is a row that offends."""

    query: Callable[[RowMapping], str]
    counted: Callable[[int], Phrase]
    said: Callable[[RowMapping], str]


def _look(
    conn: Connection, code: str, listing: tuple[str, Mapping[str, object]], question: _Question
) -> Iterator[Check]:
    """One finding on all things that a query of the catalog lists."""
    things = _answer(conn, text(listing[0]).bindparams(**listing[1]))
    if isinstance(things, str):
        yield unknown(code, things)
        return
    answers = [(bool(thing["own"]), _answer(conn, literal(question.query(thing)))) for thing in things]
    wrong = [(own, answer) for own, answer in answers if answer and not isinstance(answer, str)]
    for ours in (True, False):
        found = [answer for own, answer in wrong if own is ours]
        if found:
            keys = tuple(question.said(row) for answer in found for row in answer)
            count = sum(int(answer[0]["total"]) for answer in found)
            yield violated(code, keys[:SHOWN], count=count, warning=not ours)
        refused = [answer for own, answer in answers if own is ours and isinstance(answer, str)]
        if refused:
            things_all = question.counted(len(things))
            why = Phrase("{number} of {things}: {why}", number=len(refused), things=things_all, why=refused[0])
            untold = unknown(code, why)
            yield untold if ours else replace(untold, warning=True)
    if not any(answer for _, answer in answers):
        yield passed(code, question.counted(len(things)))


def _behind(thing: RowMapping) -> str:
    """Pure. Whether the next number of a sequence has been given out already."""
    end, beyond = ("max", "<=") if thing["step"] > 0 else ("min", ">=")
    return (
        f"SELECT {spelt(thing['sequence'])} AS sequence, n.next::text AS next, {spelt(thing['column_name'])} AS column_name,"
        " c.last::text AS last, 1 AS total"
        f" FROM (SELECT last_value + CASE WHEN is_called THEN {thing['step']} ELSE 0 END AS next FROM {thing['sequence']})"
        f" AS n, (SELECT {end}({thing['named']}) AS last FROM {thing['source']}) AS c WHERE n.next {beyond} c.last"
    )


def _orphans(thing: RowMapping) -> str:
    """Pure. The rows whose foreign key leads to no row."""
    return (
        f"SELECT {spelt(thing['name'])} || ': ' || ({thing['key']})::text AS said, count(*) OVER () AS total"
        f" FROM {thing['child']} AS f"
        f" WHERE {thing['filled']} AND NOT EXISTS (SELECT FROM {thing['parent']} AS p WHERE {thing['matched']})"
        f" LIMIT {SHOWN}"
    )


def _nulls(thing: RowMapping) -> str:
    """Pure. How many NULLs a column holds."""
    return (
        f"SELECT {spelt(thing['name'])} AS column_name, count(*) AS total FROM {thing['source']}"
        f" WHERE {thing['named']} IS NULL HAVING count(*) > 0"
    )


_BEHIND = _Question(
    query=_behind,
    counted=lambda number: Phrase("{number} sequences", number=number),
    said=lambda row: Phrase(
        "{sequence} goes on with {next}, {column} has {last}",
        sequence=row["sequence"],
        next=row["next"],
        column=row["column_name"],
        last=row["last"],
    ),
)
_ORPHANS = _Question(
    query=_orphans,
    counted=lambda number: Phrase("{number} foreign keys", number=number),
    said=lambda row: str(row["said"]),
)
_NULLS = _Question(
    query=_nulls,
    counted=lambda number: Phrase("{number} columns that have nothing against them", number=number),
    said=lambda row: Phrase("{column}: {rows} rows", column=row["column_name"], rows=row["total"]),
)


def spelt(value: str) -> str:
    """Pure. A text as SQL, with standard_conforming_strings on, which the session pins."""
    return "'" + value.replace("'", "''") + "'"


def _answer(conn: Connection, query: TextClause) -> list[RowMapping] | str:
    """The rows of a query, or why nobody can tell. Asks under a savepoint; nothing is left of it."""
    savepoint = conn.begin_nested()
    try:
        return list(conn.execute(query).mappings())
    except DBAPIError as failed:
        if failed.connection_invalidated:
            raise
        said = said_by_server(failed.orig)
        return said or Phrase("the server refused the query")
    finally:
        if savepoint.is_active and not conn.invalidated:
            savepoint.rollback()
