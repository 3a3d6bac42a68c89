"""Harm to one cell: values that are equal to `=`, print the same or differ in the last bit, once on users behind its lock
and once on a table that is not locked."""

from __future__ import annotations

from dataclasses import dataclass

from variants import ONE_USER, Variant, does, quietly


@dataclass(frozen=True)
class Cell:
    """What becomes of one value. `before` and `after` are SQL expressions; `setup` makes the type."""

    name: str
    type: str
    before: str
    after: str
    setup: str = ""


CELLS = (
    Cell("the sign of a float's zero", "double precision", "'0'", "'-0'"),
    Cell("the sign of a real's zero", "real", "'0'", "'-0'"),
    Cell("the last bit of a float", "double precision", "0.1", "0.10000000000000002"),
    Cell("the scale of a number", "numeric", "1.0", "1.00"),
    Cell("the scale of a number in a range", "numrange", "'[1.0,2]'", "'[1.00,2]'"),
    Cell("the scale of a number in a composite value", "price", "'(1.0,CNY)'", "'(1.00,CNY)'",
         "CREATE TYPE price AS (amount numeric, currency text)"),
    Cell("the scale of a number in jsonb", "jsonb", """'{"a": 1.0}'""", """'{"a": 1.00}'"""),
    Cell("white space in json", "json", """'{"a":1}'""", """'{"a": 1}'"""),
    Cell("the order of keys in json", "json", """'{"a":1,"b":2}'""", """'{"b":2,"a":1}'"""),
    Cell("the fraction of a time stamp", "timestamptz", "'2023-01-01 00:00:00+00'", "'2023-01-01 00:00:00.000001+00'"),
    Cell("a month that becomes 30 days", "interval", "'1 month'", "'30 days'"),
    Cell("a day that becomes 24 hours", "interval", "'1 day'", "'24 hours'"),
    Cell("null that becomes empty text", "text", "NULL", "''"),
    Cell("null that becomes the word", "text[]", "'{NULL}'", """'{"NULL"}'"""),
    Cell("false that becomes null", "boolean", "false", "NULL"),
    Cell("the bounds of an array", "integer[]", "'{1,2}'", "'[0:1]={1,2}'"),
    Cell("the shape of an array", "integer[]", "'{1,2}'", "'{{1,2}}'"),
    Cell("one byte", "bytea", r"'\x00ff'", r"'\x01ff'"),
    Cell("the last byte of a long text", "text", "repeat('0123456789abcdef', 20000)",
         "repeat('0123456789abcdef', 19999) || '0123456789abcdeg'"),
    Cell("the padding of a text", "bpchar", "'ab'", "'ab '"),
    Cell("a line end", "text", r"E'a\nb'", r"E'a\r\nb'"),
    Cell("the composition of a letter", "text", r"U&'\00e9'", r"U&'e\0301'"),
    Cell("the case of a text without case", "citext", "'a@b'", "'A@b'", "CREATE EXTENSION citext"),
    Cell("the label of an enum", "mood", "'calm'", "'cross'", "CREATE TYPE mood AS ENUM ('calm', 'cross')"),
    Cell("the case of a domain's value", "email_address", "'a@b'", "'A@b'"),
    Cell("the mask of an address", "inet", "'10.0.0.1/8'", "'10.0.0.1/9'"),
    Cell("the weight of a word", "tsvector", "'a:1'", "'a:1A'"),
    Cell("the sign of a zero in a point", "point", "'(0,0)'", "'(-0,0)'"),
    Cell("a bit more", "bit varying", "B'1'", "B'10'"),
    Cell("the zone of a time of day", "timetz", "'12:00:00+00'", "'13:00:00+01'"),
    Cell("the name of a relation", "regclass", "'profiles'", "'wallets'"),
)  # fmt: skip


def _setup(cell: Cell, statement: str) -> str:
    return f"{cell.setup}; {statement}" if cell.setup else statement


def _behind_the_lock(cell: Cell) -> Variant:
    return does(
        f"{cell.name}, in users",
        quietly(f"UPDATE users SET odd = {cell.after} WHERE id = {ONE_USER}"),
        "content of public.users",
        setup=_setup(
            cell, f"ALTER TABLE users ADD odd {cell.type}; {quietly(f'UPDATE users SET odd = {cell.before}')}"
        ),
    )


def _not_locked(cell: Cell) -> Variant:
    return does(
        f"{cell.name}, in a table of its own",
        f"UPDATE odd SET value = {cell.after} WHERE id = 1",
        "content of public.odd",
        setup=_setup(
            cell,
            f"CREATE TABLE odd (id integer PRIMARY KEY, value {cell.type});"
            f" INSERT INTO odd VALUES (1, {cell.before}), (2, {cell.before})",
        ),
    )


LOCKED_CELLS = tuple(map(_behind_the_lock, CELLS))
FREE_CELLS = tuple(map(_not_locked, CELLS))
