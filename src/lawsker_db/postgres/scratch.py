"""Have the server build what a contract promises, beside the real thing, and read it back.

A server prints what it built in its own words (`status IN (...)` becomes `status = ANY (ARRAY[...])`), and the words
change with versions. So the contract is built in a scratch schema under a savepoint, read by the same reader as the real
schema, given the real schema's name, and rolled back.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from sqlalchemy import Connection, text

from lawsker_db.contract import Check, Column, Contract, Extension, Index, Table, Unique
from lawsker_db.postgres.catalog import Catalog, Facts, Identity, read_catalog
from lawsker_db.postgres.session import CORE_UUID_MAJOR, literal, quoted_as_read, server_major


def build_promised(conn: Connection, contract: Contract, schema: str) -> Catalog:
    """What the contract adds to the catalog of `schema`, as this server prints it.

    Creates a schema, builds, reads and rolls back to a savepoint: nothing is left, and no lock on any existing table.
    Needs CREATE on the database. Settings that the session has stay.
    """
    scratch = f"lawsker_scratch_{secrets.token_hex(4)}"
    savepoint = conn.begin_nested()
    try:
        conn.execute(literal(f"CREATE SCHEMA {scratch}"))
        path = _install_extensions(conn, contract)
        conn.execute(
            text("SELECT set_config('search_path', :path, true)"),
            {"path": ", ".join((scratch, *path, "pg_temp"))},
        )
        for statement in _statements(contract):
            conn.execute(literal(statement))
        built = read_catalog(conn, schema=scratch)
        grants = _default_grants(conn, schema)
    finally:
        savepoint.rollback()
    real = quoted_as_read(conn, schema)
    promised = promised_identities(contract, real)
    renamed = {
        (kind, _renamed(name, scratch, real)): _renamed_facts(facts, scratch, real)
        for (kind, name), facts in built.objects.items()
    }
    return Catalog(
        objects={
            identity: _with_grants(identity[0], facts, grants)
            for identity, facts in renamed.items()
            if identity in promised
        }
    )


def promised_identities(contract: Contract, schema: str) -> frozenset[Identity]:
    """Pure. Kind and qualified name of everything a contract promises. `schema` is quoted."""
    found: set[Identity] = set()
    for table in contract.tables:
        base = f"{schema}.{table.name}"
        found.add(("table", base))
        found.add(("constraint", f"{base}.{table.name}_pkey"))
        found.add(("index", f"{schema}.{table.name}_pkey"))
        if table.serial:
            found.add(("sequence", f"{schema}.{table.name}_{table.serial}_seq"))
        found |= {("constraint", f"{base}.{key.name}") for key in table.foreign_keys}
        found |= {("trigger", f"{base}.{trigger.name}") for trigger in table.triggers}
        found |= set(_parts(schema, table.name, table))
    for extension in contract.extensions:
        found |= set(_parts(schema, extension.table, extension))
    found |= {("function", f"{schema}.{function.name}()") for function in contract.functions}
    found |= {("type", f"{schema}.{enum.name}") for enum in contract.enums}
    return frozenset(found)


def _parts(schema: str, table: str, parts: Table | Extension) -> Iterator[Identity]:
    """Pure. What a new table and an extended one have alike."""
    base = f"{schema}.{table}"
    yield from (("column", f"{base}.{_quoted(column.name)}") for column in parts.columns)
    yield from (("constraint", f"{base}.{check.name}") for check in parts.checks)
    yield from (("index", f"{schema}.{index.name}") for index in parts.indexes)
    for unique in parts.unique:
        yield "constraint", f"{base}.{unique.name}"
        yield "index", f"{schema}.{unique.name}"


def _statements(contract: Contract) -> Iterator[str]:
    """Pure. The DDL of a contract: stand-ins for tables that it refers to, then everything, foreign keys last."""
    own = {table.name for table in contract.tables}
    for enum in contract.enums:
        labels = ", ".join("'" + label.replace("'", "''") + "'" for label in enum.labels)
        yield f"CREATE TYPE {enum.name} AS ENUM ({labels})"
    for function in contract.functions:
        yield f"CREATE FUNCTION {function.name}() RETURNS trigger LANGUAGE plpgsql AS $lawsker${function.body}$lawsker$"
    for name in sorted({extension.table for extension in contract.extensions} - own):
        yield f"CREATE TABLE {name} ()"
    for table in contract.tables:
        if table.serial:
            yield f"CREATE SEQUENCE {table.name}_{table.serial}_seq AS integer"
        columns = ", ".join(_column(column) for column in table.columns)
        key = ", ".join(_quoted(name) for name in table.primary_key)
        yield f"CREATE TABLE {table.name} ({columns}, CONSTRAINT {table.name}_pkey PRIMARY KEY ({key}))"
        if table.serial:
            sequence = f"{table.name}_{table.serial}_seq"
            yield f"ALTER SEQUENCE {sequence} OWNED BY {table.name}.{table.serial}"
            yield f"ALTER TABLE {table.name} ALTER COLUMN {table.serial} SET DEFAULT nextval('{sequence}'::regclass)"
        yield from additions(table.name, table.unique, table.checks, table.indexes)
        for trigger in table.triggers:
            yield (
                f"CREATE TRIGGER {trigger.name} BEFORE UPDATE ON {table.name}"
                f" FOR EACH ROW EXECUTE FUNCTION {trigger.function}()"
            )
    for extension in contract.extensions:
        for column in extension.columns:
            yield f"ALTER TABLE {extension.table} ADD COLUMN {_column(column)}"
        yield from additions(extension.table, extension.unique, extension.checks, extension.indexes)
    yield from _foreign_keys(contract, own)


def additions(
    table: str, unique: tuple[Unique, ...], checks: tuple[Check, ...], indexes: tuple[Index, ...]
) -> Iterator[str]:
    """Pure. What a contract adds to a table beside its columns, as SQL that gives it the promised spelling."""
    for key in unique:
        yield f"ALTER TABLE {table} ADD CONSTRAINT {key.name} UNIQUE ({_listed(key.columns)})"
    for check in checks:
        yield f"ALTER TABLE {table} ADD CONSTRAINT {check.name} CHECK ({check.expression})"
    for index in indexes:
        kind = "UNIQUE INDEX" if index.unique else "INDEX"
        where = f" WHERE {index.where}" if index.where else ""
        yield f"CREATE {kind} {index.name} ON {table} ({_listed(index.columns)}){where}"


def _foreign_keys(contract: Contract, own: set[str]) -> Iterator[str]:
    """Pure. Foreign keys; tables that stand already get a stand-in with the referenced key, of the key's type."""
    extended = {extension.table for extension in contract.extensions}
    ready: set[tuple[str, tuple[str, ...]]] = set()
    for table in contract.tables:
        types = {column.name: column.type for column in table.columns}
        for key in table.foreign_keys:
            target = (key.references, key.referenced_columns)
            if key.references not in own and target not in ready:
                if key.references not in extended | {name for name, _ in ready}:
                    yield f"CREATE TABLE {key.references} ()"
                for name, local in zip(key.referenced_columns, key.columns, strict=True):
                    yield f"ALTER TABLE {key.references} ADD COLUMN IF NOT EXISTS {_quoted(name)} {types[local]}"
                yield f"ALTER TABLE {key.references} ADD UNIQUE ({_listed(key.referenced_columns)})"
                ready.add(target)
            action = "" if key.on_delete == "NO ACTION" else f" ON DELETE {key.on_delete}"
            yield (
                f"ALTER TABLE {table.name} ADD CONSTRAINT {key.name} FOREIGN KEY ({_listed(key.columns)})"
                f" REFERENCES {key.references} ({_listed(key.referenced_columns)}){action}"
            )


def _install_extensions(conn: Connection, contract: Contract) -> tuple[str, ...]:
    """On servers without gen_random_uuid() in core: create what the contract may install, and tell its schemas."""
    if server_major(conn) >= CORE_UUID_MAJOR:
        return ()
    for name in contract.may_install:
        conn.execute(literal(f"CREATE EXTENSION IF NOT EXISTS {_quoted(name)}"))
    rows = conn.execute(
        text("SELECT DISTINCT extnamespace::regnamespace::text FROM pg_extension WHERE extname = ANY (:names)"),
        {"names": list(contract.may_install)},
    )
    return tuple(str(row[0]) for row in rows)


def _default_grants(conn: Connection, schema: str) -> dict[str, object]:
    """The grants that new objects get in the real schema (ALTER DEFAULT PRIVILEGES may say so for it alone)."""
    real = quoted_as_read(conn, schema)
    probe = f"lawsker_probe_{secrets.token_hex(4)}"
    for statement in (
        f"CREATE TABLE {real}.{probe} ()",
        f"CREATE SEQUENCE {real}.{probe}_seq",
        f"CREATE FUNCTION {real}.{probe}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'",
        f"CREATE TYPE {real}.{probe}_enum AS ENUM ()",
    ):
        conn.execute(literal(statement))
    names = {
        "table": f"{real}.{probe}",
        "sequence": f"{real}.{probe}_seq",
        "function": f"{real}.{probe}()",
        "type": f"{real}.{probe}_enum",
    }
    objects = read_catalog(conn, schema=schema).objects
    return {kind: objects[kind, name].get("acl") for kind, name in names.items()}


def _with_grants(kind: str, facts: Facts, grants: dict[str, object]) -> Facts:
    if kind not in grants:
        return facts
    others = {key: value for key, value in facts.items() if key != "acl"}
    return others if grants[kind] is None else {**others, "acl": grants[kind]}


def _renamed(value: str, scratch: str, real: str) -> str:
    return value.replace(f"{scratch}.", f"{real}.")


def _renamed_facts(facts: Facts, scratch: str, real: str) -> Facts:
    return {key: _renamed(value, scratch, real) if isinstance(value, str) else value for key, value in facts.items()}


def _column(column: Column) -> str:
    default = f" DEFAULT {column.default}" if column.default is not None else ""
    return f"{_quoted(column.name)} {column.type}{default}{'' if column.nullable else ' NOT NULL'}"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(_quoted(name) for name in names)


def _quoted(name: str) -> str:
    """Pure. An identifier of a contract, quoted when it is not a plain lower-case word that is no key word."""
    plain = name.isascii() and name.replace("_", "a").isalnum() and name == name.lower() and not name[0].isdigit()
    return name if plain and name not in RESERVED else '"' + name.replace('"', '""') + '"'


# What quote_ident() quotes among names that our chains use; a name that is missing here fails loudly as a difference.
RESERVED = frozenset(
    {"user", "order", "group", "table", "column", "check", "default", "references", "values", "between"}
)
