"""One group of a contract, looked at in the middle of its revision: do its tables stand, with their rows, valid?"""

from __future__ import annotations

from sqlalchemy import Connection, text

from lawsker_db.contract import Contract, Table
from lawsker_db.evidence import Check
from lawsker_db.phrases import Phrase, joined
from lawsker_db.postgres.catalog import Catalog
from lawsker_db.postgres.fingerprint import column_names
from lawsker_db.postgres.session import literal


def check_group(
    conn: Connection, contract: Contract, group: str, *, schema: str, before: Catalog
) -> tuple[tuple[Check, ...], dict[str, int]]:
    """What is wrong with the tables of a group, and the rows of those that are promised some. `schema` is quoted.

    `before` is the catalog as the revision found it: what was not valid then is none of its doing. Reads only.
    """
    tables = [table for table in contract.tables if table.group == group]
    names = {table.name: f"{schema}.{table.name}" for table in tables}
    missing = tuple(
        _check(Phrase("group {group}", group=group), Phrase("table {name}", name=name), Phrase("missing"))
        for name in names.values()
        if conn.execute(text("SELECT to_regclass(:name)"), {"name": name}).scalar_one() is None
    )
    if missing:
        return missing, {}
    seeded = {table.name: table.rows for table in tables if isinstance(table.rows, int) and table.rows}
    counts = {name: int(conn.execute(literal(f"SELECT count(*) FROM {names[name]}")).scalar_one()) for name in seeded}
    wrong = tuple(
        _check(
            Phrase("rows of {table}", table=name), Phrase("{promised} seed rows", promised=promised), str(counts[name])
        )
        for name, promised in seeded.items()
        if counts[name] != promised
    )
    return wrong + _shape(conn, contract, tables, schema, before), counts


def group_words(contract: Contract, group: str, counts: dict[str, int]) -> str:
    """Pure. A group that stands, in a sentence."""
    tables = sum(table.group == group for table in contract.tables)
    stand = Phrase("{group}: columns stand", group=group)
    if tables:
        stand = Phrase("{group}: {tables} tables stand", group=group, tables=tables)
    seeds = [Phrase("{table} {rows} rows", table=name, rows=rows) for name, rows in counts.items()]
    return Phrase("{stand} ({seeds})", stand=stand, seeds=joined(seeds)) if seeds else stand


def _shape(
    conn: Connection, contract: Contract, tables: list[Table], schema: str, before: Catalog
) -> tuple[Check, ...]:
    """Invalid indexes and constraints on a group's tables, as far as the revision made them; for the group of extended
    tables, their columns too."""
    names = [table.name for table in tables] or [extension.table for extension in contract.extensions]
    columns = [] if tables else [(e.table, column.name) for e in contract.extensions for column in e.columns]
    missing = [
        f"{table}.{column}" for table, column in columns if column not in column_names(conn, f"{schema}.{table}")
    ]
    places = [f"{schema}.{name}." for name in names] + [f"{schema}."]
    older = [name for kind, name in before.objects if kind in ("index", "constraint")]
    others = [name.removeprefix(place) for name in older for place in places if name.startswith(place)]
    invalid = conn.execute(
        text(
            "SELECT name FROM (SELECT c.relname::text AS name, i.indrelid AS of_table FROM pg_index i"
            " JOIN pg_class c ON c.oid = i.indexrelid WHERE NOT i.indisvalid UNION ALL SELECT conname::text, conrelid"
            " FROM pg_constraint WHERE NOT convalidated) AS invalid WHERE quote_ident(name) <> ALL (:others ::text[])"
            " AND of_table = ANY (SELECT to_regclass(t)::oid FROM unnest(:tables ::text[]) AS t)"
        ),
        {"tables": [f"{schema}.{name}" for name in names], "others": others},
    )
    wrong = [Phrase("{name} is missing", name=name) for name in missing]
    wrong += [Phrase("{name} is not valid", name=row[0]) for row in invalid]
    return tuple(_check(Phrase("group"), Phrase("present, valid and validated"), found) for found in wrong)


def _check(name: str, expected: str, found: str) -> Check:
    return Check(name=name, ok=False, expected=expected, found=found)
