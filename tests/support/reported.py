"""Real reports of every kind, each by the procedure that makes it, on a small chain above the sample."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path

import psycopg
from chains import small_chain
from copies import Server
from report_values import everywhere
from restoring import databases

from lawsker_db.errors import LawskerError
from lawsker_db.evidence import RunReport
from lawsker_db.record.report import write_report
from lawsker_db.safety.restore import RestoreOptions, restore
from lawsker_db.safety.rollback import RollbackOptions, roll_back
from lawsker_db.safety.upgrade import UpgradeOptions, rehearse_upgrade, safe_upgrade
from lawsker_db.target import parse_target

KINDS = ("rehearsed", "no go", "rolled back", "done", "dry run", "rollback", "restore", "hostile")
FAILING = ("no go", "rolled back")
SLOW_LOCK_S = 600.0  # no forecast of a busy machine shall stop a run here
STEP = """
ops.lock_tables({"users": "ACCESS EXCLUSIVE"})
op.add_column("users", sa.Column("shoe_size", sa.Integer, nullable=False, server_default="42"))
op.create_table("ledger", sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("user_id", sa.UUID), sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="ledger_user"))
op.execute("INSERT INTO ledger SELECT n FROM generate_series(1, 40) AS n")
"""
EVIL = f"{STEP}op.execute('CREATE INDEX \"<b>&extra\" ON ledger (user_id)')\n"
PROMISE = (
    'alters=("users",), locks=("users",), extensions=(Extension(table="users",'
    ' columns=(Column("shoe_size", "integer", "42"),)),), tables=(Table(name="ledger", group="ledger",'
    ' columns=(Column("id", "integer"), Column("user_id", "uuid", nullable=True)), primary_key=("id",),'
    ' foreign_keys=(ForeignKey("ledger_user", ("user_id",), "users"),), rows=40),)'
)
BACK = """
ops.lock_tables({"users": "ACCESS EXCLUSIVE", "ledger": "ACCESS EXCLUSIVE"})
ops.drop_table("ledger")
ops.drop_columns("users", ("shoe_size",))
"""
HOSTILE = "</script></style><img src=x onerror=alert(1)>\u202e\n'\"&" + "律" * 40 + "w" * 300


def make_reports(server: Server, template: str, folder: Path) -> dict[str, Path]:
    """The folders of runs, by kind: each of `KINDS`. The database for them is gone afterwards."""
    name = f"reports_{secrets.token_hex(3)}"
    server.run(f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        return {**_made(server.url(name), folder), "hostile": _hostile(folder / "hostile")}
    finally:
        for database in databases(server, name):
            server.run(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS true')
            server.run(f'DROP DATABASE "{database}"')


def _made(url: str, folder: Path) -> dict[str, Path]:
    target = parse_target(url)
    good = small_chain(folder / "good", (STEP, PROMISE, BACK))
    evil = small_chain(folder / "evil", (EVIL, PROMISE, BACK))
    found: dict[str, Path] = {}

    def keep(kind: str, run: Callable[[Path], RunReport]) -> None:
        with suppress(LawskerError) if kind in FAILING else nullcontext():
            run(folder / kind)
        (found[kind],) = (folder / kind).iterdir()

    def options(runs: Path, config: Path = good, *, rehearsal: bool = True) -> UpgradeOptions:
        return UpgradeOptions(runs=runs, config=config, rehearsal=rehearsal, max_lock_s=SLOW_LOCK_S)

    keep("rehearsed", lambda runs: rehearse_upgrade(target, options=options(runs)))
    keep("no go", lambda runs: safe_upgrade(target, options=options(runs, evil)))
    keep("rolled back", lambda runs: safe_upgrade(target, options=options(runs, evil, rehearsal=False)))
    keep("done", lambda runs: safe_upgrade(target, options=options(runs)))
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("UPDATE users SET status = status WHERE id IN (SELECT id FROM users LIMIT 3)")
        conn.execute("INSERT INTO ledger VALUES (41)")
    backup = found["done"] / "backup"
    keep("dry run", lambda runs: restore(target, backup, options=RestoreOptions(runs=runs, dry_run=True)))
    keep("rollback", lambda runs: roll_back(target, options=RollbackOptions(runs=runs, config=good)))
    keep("restore", lambda runs: restore(target, backup, options=RestoreOptions(runs=runs)))
    return found


def _hostile(folder: Path) -> Path:
    """A report whose every text is an attacker's."""
    folder.mkdir()
    assert write_report(everywhere(HOSTILE), folder) == ""
    return folder
