"""A small database, a small chain above it, and the verdict on one run: old, new or mixed, by the oracle alone.

The chain stops where the test holds an advisory lock: before its strong lock, or behind it.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import oracle
import psycopg
from alembic import command
from chains import small_chain
from command_line import Ended, eventually, run

from lawsker_db.revisions import load_chain
from lawsker_db.target import parse_target

BEFORE_LOCK, BEHIND_LOCK = 41, 42  # keys of the advisory locks at which the chain stops
# Asked again and again, not waited for: the session's lock_timeout would end a wait.
STOP = (
    "DO $$BEGIN WHILE NOT pg_try_advisory_xact_lock({key}) LOOP PERFORM pg_sleep(0.02); END LOOP; END$$ -- stop {key}"
)
LEDGER = """
op.create_table(
    "ledger", sa.Column("id", sa.Integer, primary_key=True, autoincrement=False), sa.Column("note", sa.Text)
)
op.execute("INSERT INTO ledger SELECT n, 'note ' || n FROM generate_series(1, 40) AS n")
"""
LEDGER_PROMISE = (
    'tables=(Table(name="ledger", group="ledger", columns=(Column("id", "integer"), Column("note", "text", nullable=True)),'
    ' primary_key=("id",), rows=40),)'
)
COLUMN = f"""
op.execute({STOP.format(key=BEFORE_LOCK)!r})
ops.lock_tables({{"users": "ACCESS EXCLUSIVE"}})
op.add_column("users", sa.Column("shoe_size", sa.Integer, nullable=False, server_default="42"))
op.execute({STOP.format(key=BEHIND_LOCK)!r})
op.create_table(
    "receipt", sa.Column("id", sa.Integer, primary_key=True, autoincrement=False), sa.Column("note", sa.Text)
)
op.execute("INSERT INTO receipt SELECT n, repeat('receipt ' || n, 9) FROM generate_series(1, 3000) AS n")
"""
COLUMN_PROMISE = (
    'alters=("users",), extensions=(Extension(table="users", columns=(Column("shoe_size", "integer", "42"),)),),'
    ' tables=(Table(name="receipt", group="receipt", columns=(Column("id", "integer"),'
    ' Column("note", "text", nullable=True)), primary_key=("id",), rows=3000),)'
)
BACK = """
ops.lock_tables({"users": "ACCESS EXCLUSIVE"})
op.drop_table("receipt")
op.drop_column("users", "shoe_size")
"""
FILLED = (
    "INSERT INTO tenants (id, name, tenant_code, mode, status)"
    " VALUES (md5('t')::uuid, 'somebody', 'one', 'SAAS', 'ACTIVE')",
    "INSERT INTO users (id, tenant_id, username, password_hash, status)"
    " SELECT md5('u' || n)::uuid, md5('t')::uuid, 'user ' || n, 'x', 'ACTIVE' FROM generate_series(1, 60) AS n",
)
GOAL = "101"
# What an exit code says of the database. 12 says nothing, and a killed tool has said nothing either.
SAYS = {0: ("new",), 13: ("new",), 10: ("old",), 11: ("old",), 15: ("old",), 12: ("old", "new"), -9: ("old", "new")}
LEFT = {
    "session": "SELECT pid::text || ' ' || application_name FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    " AND backend_type = 'client backend'",
    "lock": "SELECT l.locktype || ' ' || l.mode FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
    " WHERE a.pid <> pg_backend_pid() AND a.backend_type = 'client backend' AND l.locktype IN ('advisory', 'relation')",
    "prepared transaction": "SELECT gid FROM pg_prepared_xacts",
    "scratch database": "SELECT datname FROM pg_database WHERE datname LIKE 'lawsker_scratch_%'",
    "closed database": "SELECT datname FROM pg_database WHERE NOT datallowconn AND datname <> 'template0'",
    "invalid index": "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid",
}


class Server(Protocol):
    """What is needed of a server: the URL of each of its databases."""

    def url(self, database: str = ...) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A database as the oracle sees it, its stamp, and how many runs it remembers."""

    schema: str
    content: dict[str, str]
    stamp: tuple[str, ...]
    runs: int


@dataclass(frozen=True, kw_only=True)
class Ground:
    """Where runs happen: the template to be cloned, the chain, and the pictures before and after an undisturbed run."""

    server: Server
    template: str
    config: Path
    old: Picture
    new: Picture

    @property
    def typed(self) -> tuple[str, ...]:
        """What the operator types."""
        return ("safe-upgrade", "--yes", "--no-rehearsal", "--config", str(self.config))

    def standing(self, url: str) -> str:
        """`old`, `new`, or `mixed` with what differs from both."""
        found = look(url)
        if found == self.old:
            return "old"
        if found == self.new:
            return "new"
        return (
            f"mixed: unlike the old one in {_unlike(found, self.old)}, unlike the new one in {_unlike(found, self.new)}"
        )


def look(url: str) -> Picture:
    """The oracle's picture, stamp and history. Reads only."""
    schema, content = oracle.picture(url)
    with psycopg.connect(url) as conn:
        stamp = conn.execute("SELECT version_num::text FROM alembic_version ORDER BY 1").fetchall()
        runs = conn.execute("SELECT count(*) FROM lawsker_db.migration_run").fetchall()
    return Picture(schema=schema, content=content, stamp=tuple(str(row[0]) for row in stamp), runs=int(runs[0][0]))


def _unlike(found: Picture, other: Picture) -> list[str]:
    """Pure. Which parts and tables differ from what was expected."""
    parts = [name for name in ("schema", "stamp", "runs") if getattr(found, name) != getattr(other, name)]
    tables = {name for name, _ in set(found.content.items()) ^ set(other.content.items())}
    return [*parts, *sorted(tables)]


def execute(url: str, *statements: str) -> None:
    """Each statement by itself, committed."""
    with psycopg.connect(url, autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement.encode())


@contextmanager
def clone(server: Server, template: str) -> Iterator[str]:
    """The URL of a copy of a template, for the block."""
    name = f"small_{secrets.token_hex(4)}"
    execute(server.url("postgres"), f"CREATE DATABASE {name} TEMPLATE {template}")
    yield server.url(name)
    execute(server.url("postgres"), f"DROP DATABASE {name}")


def make_ground(server: Server, folder: Path, *, options: str = "") -> Ground:
    """Make the template on a server (`options` for CREATE DATABASE), the chain in a folder, and run it once undisturbed."""
    template = f"template_{secrets.token_hex(4)}"
    made = f"CREATE DATABASE {template} TEMPLATE template0 ENCODING 'UTF8' {options}"
    execute(server.url("postgres"), made)
    url = server.url(template)
    chain = load_chain()
    with parse_target(url).connect() as conn:
        chain.config.attributes["connection"] = conn
        command.upgrade(chain.config, "012")
        conn.commit()
    execute(url, *FILLED, "VACUUM (ANALYZE)")
    folder.mkdir(exist_ok=True)
    config = small_chain(
        folder,
        (LEDGER, LEDGER_PROMISE, 'op.drop_table("ledger")'),
        (COLUMN, COLUMN_PROMISE, BACK),
    )
    old = look(url)
    with clone(server, template) as tried:
        ended = run(folder, "safe-upgrade", "--yes", "--no-rehearsal", "--config", str(config), url=tried)
        assert ended.code == 0, ended.said
        new = look(tried)
    assert (new.stamp, new.runs) == ((GOAL,), old.runs + 1)
    assert "public.ledger" in new.content
    return Ground(server=server, template=template, config=config, old=old, new=new)


def disagreement(ended: Ended, standing: str) -> str:
    """Pure. In what the tool's exit code and words contradict the oracle; empty when in nothing."""
    expected = SAYS.get(ended.code)
    if expected is None:
        return f"exit {ended.code} is none that a fault may end in"
    if standing not in expected:
        return f"exit {ended.code}, and the database is {standing}"
    if "Traceback" in ended.said:
        return "a traceback"
    state = {"old": "The migration is committed", "new": "the database is as it was"}[standing]
    if ended.code != 12 and state in ended.said:
        return f"the words say {state!r}, and the database is {standing}"
    if ended.code in (10, 11, 12, 13, 15) and "\nNext: " not in f"\n{ended.err}":
        return "no word on what to type next"
    return ""


def run_ids(folder: Path) -> list[str]:
    """The runs that were made in a folder, oldest first."""
    runs = folder / "lawsker-runs"
    return sorted(path.name for path in runs.iterdir()) if runs.is_dir() else []


def told_later(ground: Ground, folder: Path, url: str, standing: str) -> str:
    """What is wrong with what `status --run` says of the first run here; empty when it says how the database stands."""
    for run_id in run_ids(folder)[:1]:
        ended = run(folder, "status", "--run", run_id, "--json", url=url)
        if ended.code != 0:
            return f"status ended {ended.code}: {ended.said}"
        if ended.document["run"]["committed"] is not (standing == "new"):
            return f"status --run says {ended.document['run']}, and the database is {standing}"
    return ""


def ends_done(ground: Ground, folder: Path, url: str, *, recover: bool) -> str:
    """Type the same command again, after `recover` if so told. What is wrong with the end; empty when all is done and
    nothing is left."""
    if recover and (recovered := run(folder, "recover", url=url)).code != 0:
        return f"recover ended {recovered.code}: {recovered.said}"
    again = run(folder, *ground.typed, url=url)
    if again.code != 0:
        return f"the same command again ended {again.code}: {again.said}"
    standing = ground.standing(url)
    if standing != "new":
        return f"after the same command again the database is {standing}"
    left = left_over(url, folder)
    return f"left over: {left}" if left else half_backup(folder)


def left_over(url: str, folder: Path) -> list[str]:
    """What should not be there any more: on the server, among the processes, on the disk."""
    found: list[str] = []

    def look_again() -> bool:
        found[:] = [*_left_on_server(url), *_left_running(folder)]
        return not found

    eventually(look_again, within_s=10.0)  # a server process takes a moment to see that its client has gone
    return found + [str(path.relative_to(folder)) for path in folder.rglob("*.partial")]


def _left_on_server(url: str) -> list[str]:
    with psycopg.connect(url) as conn:
        return [f"{what} {row[0]}" for what, query in LEFT.items() for row in conn.execute(query.encode()).fetchall()]


def _left_running(folder: Path) -> list[str]:
    """Processes that work in the folder of the run: the tool and its children."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder and int(process.name) != os.getpid():
                found.append(f"process {process.name} {(process / 'comm').read_text().strip()}")
        except OSError:
            continue
    return found


def half_backup(folder: Path) -> str:
    """A backup that has a manifest, and so counts, and whose files are not those of its sums; empty when there is none."""
    for manifest in sorted(folder.glob("lawsker-runs/*/backup/manifest.json")):
        sums = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
        checked = subprocess.run(sums, cwd=manifest.parent, capture_output=True, text=True, check=False)
        if checked.returncode != 0:
            return f"a half backup counts as one: {checked.stdout}{checked.stderr}"
    return ""
