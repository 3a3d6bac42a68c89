"""What a revision has made, judged before COMMIT: the rows of its tables, and what its contract says of the data."""

from __future__ import annotations

from sqlalchemy import Connection

from lawsker_db.contract import Contract, Invariant
from lawsker_db.evidence import Check
from lawsker_db.phrases import Phrase, joined
from lawsker_db.postgres.session import literal
from lawsker_db.safety.answers import answered
from lawsker_db.safety.observation import check_serial

SHOWN = 5  # offending rows in one finding: enough to see the pattern, few enough to read at night


def judge_made(conn: Connection, contract: Contract, schema: str) -> tuple[tuple[Check, ...], dict[str, int]]:
    """Row counts of a contract's tables and its invariants, behind the locks; and the rows of each table.

    `schema` is quoted. Reads the tables that the revision has made, and what the invariants ask for.
    """
    checks: list[Check] = []
    rows: dict[str, int] = {}
    for table in contract.tables:
        place = f"{schema}.{table.name}"
        rows[table.name] = number = _number(conn, f"SELECT count(*) FROM {place}")
        expected = number if table.rows is None else _promised(conn, table.rows)
        name = Phrase("rows of {table}", table=table.name)
        checks.append(Check(name=name, ok=number == expected, expected=str(expected), found=str(number)))
        if table.serial:
            checks.append(check_serial(conn, place, table.serial))
    checks += [_judge(conn, invariant) for invariant in contract.invariants if invariant.at_gate]
    return tuple(checks), rows


def _judge(conn: Connection, invariant: Invariant) -> Check:
    rows = conn.execute(literal(f"SELECT * FROM ({invariant.query}) AS v LIMIT {SHOWN}")).all()
    told = ((str(key), answered(invariant.query, str(found))) for key, found, *_ in rows)
    shown = (Phrase("{key}: {found}", key=key, found=found) for key, found in told)
    return Check(
        name=f"{invariant.code} {invariant.name}",
        ok=not rows,
        expected=Phrase(invariant.says),
        found=joined(shown, "; ") or Phrase("no violation"),
    )


def _promised(conn: Connection, rows: int | str) -> int:
    """How many rows a contract promises: a number, or the answer to its query."""
    return rows if isinstance(rows, int) else _number(conn, rows)


def _number(conn: Connection, query: str) -> int:
    return int(conn.execute(literal(query)).scalar_one())
