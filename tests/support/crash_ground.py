"""What a crash point stands on: a server, a chain, a database before it and what it must be after it.

Two chains. The small one is of the tests' own and costs little: one table grows a column and is rewritten, two tables come
with keys, seeds and rows for those that exist. The shipped one is revision 013 on the sample database.
"""

from __future__ import annotations

import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import oracle
import psycopg
from command_line import eventually, run

from lawsker_db.demo.sample import load_sample
from lawsker_db.demo.server import ThrowawayServer, throwaway_server

ROOT = Path(__file__).parents[2]
CANARY = "c4n4ry-of-the-crash-points"
SAMPLE_USERS = 20
MIGRATOR = "migrator"  # an ordinary role, with what `lawsker-db grants` prints for it
TYPED = ("safe-upgrade", "--yes", "--no-rehearsal")
# A server without autovacuum sends the tool down the same road every time.
SETTINGS = {"autovacuum": "off"}

LOWER = '''"""Where the small chain begins: users and their cases."""

import sqlalchemy as sa
from alembic import op

from lawsker_db.contract import Column, Contract, ForeignKey, Table

revision = "001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("users", sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
                    sa.Column("name", sa.Text(), nullable=False),
                    sa.PrimaryKeyConstraint("id", name="users_pkey"))
    op.create_table("cases", sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
                    sa.Column("user_id", sa.Integer(), nullable=False),
                    sa.Column("worth", sa.Numeric(12, 2), nullable=False),
                    sa.PrimaryKeyConstraint("id", name="cases_pkey"),
                    sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="cases_user_id_fkey"))


def downgrade() -> None:
    pass


contract = Contract(
    revision="001",
    follows=None,
    tables=(
        Table(name="users", group="all", columns=(Column("id", "integer"), Column("name", "text")), primary_key=("id",)),
        Table(
            name="cases",
            group="all",
            columns=(Column("id", "integer"), Column("user_id", "integer"), Column("worth", "numeric(12,2)")),
            primary_key=("id",),
            foreign_keys=(ForeignKey("cases_user_id_fkey", ("user_id",), "users"),),
        ),
    ),
)
'''

UPPER = '''"""Where it goes: a level for each user, a table of levels with its seeds, a score."""

import sqlalchemy as sa
from alembic import op

from lawsker_db import ops
from lawsker_db.contract import Check, Column, Contract, Extension, ForeignKey, Index, Table, Unique

revision = "002"
down_revision = "001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("levels", sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
                    sa.Column("name", sa.Text(), nullable=False),
                    sa.PrimaryKeyConstraint("id", name="levels_pkey"), sa.UniqueConstraint("name", name="levels_name_key"))
    levels = sa.table("levels", sa.column("id", sa.Integer()), sa.column("name", sa.Text()))
    op.bulk_insert(levels, [{"id": number, "name": f"level {number}"} for number in range(1, 4)])
    op.create_table("scores", sa.Column("user_id", sa.Integer(), autoincrement=False, nullable=False),
                    sa.Column("score", sa.Numeric(14, 2), server_default=sa.text("0"), nullable=False),
                    sa.PrimaryKeyConstraint("user_id", name="scores_pkey"),
                    sa.CheckConstraint("score >= 0", name="ck_scores_score"))
    op.execute("INSERT INTO scores SELECT u.id, coalesce(sum(c.worth), 0) FROM users u LEFT JOIN cases c"
               " ON c.user_id = u.id GROUP BY u.id")
    ops.lock_tables({"users": "ACCESS EXCLUSIVE"}, rewrites=("users",))
    op.add_column("users", sa.Column("level", sa.Integer(), server_default=sa.text("1"), nullable=False))
    op.execute("ALTER TABLE users ALTER level TYPE integer USING 1 + id % 3")
    op.create_index("idx_users_level", "users", ["level"])
    op.create_foreign_key("scores_user_id_fkey", "scores", "users", ["user_id"], ["id"])
    ops.check_group(contract, "all")


def downgrade() -> None:
    pass


contract = Contract(
    revision="002",
    follows="001",
    reads=("users", "cases"),
    alters=("users",),
    tables=(
        Table(
            name="levels",
            group="all",
            columns=(Column("id", "integer"), Column("name", "text")),
            primary_key=("id",),
            unique=(Unique("levels_name_key", ("name",)),),
            rows=3,
        ),
        Table(
            name="scores",
            group="all",
            columns=(Column("user_id", "integer"), Column("score", "numeric(14,2)", "0")),
            primary_key=("user_id",),
            checks=(Check("ck_scores_score", "score >= 0"),),
            foreign_keys=(ForeignKey("scores_user_id_fkey", ("user_id",), "users"),),
            rows="SELECT count(*) FROM users",
        ),
    ),
    extensions=(
        Extension(
            table="users",
            columns=(Column("level", "integer", "1"),),
            indexes=(Index("idx_users_level", ("level",)),),
        ),
    ),
)
'''
ROWS = """
    INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 30) AS n;
    INSERT INTO cases SELECT n, 1 + n % 30, n * 1.5 FROM generate_series(1, 200) AS n;
"""

TRACES = """
    SELECT format('database %s', datname) FROM pg_database WHERE datname LIKE 'lawsker_scratch_%'
    UNION ALL SELECT format('%s lock of pid %s', locktype, pid) FROM pg_locks
        WHERE locktype IN ('advisory', 'relation') AND pid <> pg_backend_pid()
    UNION ALL SELECT format('prepared transaction %s', gid) FROM pg_prepared_xacts
    UNION ALL SELECT format('database %s takes no connections', datname) FROM pg_database
        WHERE NOT datallowconn AND datname <> 'template0'
"""
INVALID = "SELECT format('invalid index %s', indexrelid::regclass) FROM pg_index WHERE NOT indisvalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What the oracle sees: schema, content by table, and what it leaves out by itself: stamp and history, row by row."""

    schema: str
    content: dict[str, str]
    stamp: tuple[str, ...]
    history: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A database to be cloned for each run, and what it looks like before and after an undisturbed one."""

    name: str
    template: str
    typed: tuple[str, ...]
    before: Picture
    old_columns: dict[str, tuple[str, ...]]
    after: Picture


class Site:
    """One server, on which grounds are laid once each; with a connection to it until the block ends."""

    def __init__(self, server: ThrowawayServer, folder: Path) -> None:
        self._server, self._folder = server, folder
        self._grounds: dict[str, Ground] = {}
        self._lock = threading.Lock()
        # one connection for all questions: those of others that are on their way out are then nobody's but the tool's
        self._conn = psycopg.connect(server.url("postgres"), autocommit=True)

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_: object) -> None:
        self._conn.close()

    def url(self, database: str) -> str:
        return self._server.url(database).replace("//", f"//postgres:{CANARY}@", 1)

    def administer(self, *statements: str) -> list[tuple[object, ...]]:
        """Run statements as superuser; the rows of the last one, if it gives any."""
        for statement in statements:
            found = self._conn.execute(statement.encode())
        return found.fetchall() if found.description else []

    def ground(self, name: str) -> Ground:
        """Lay it at the first call."""
        with self._lock:
            if name not in self._grounds:
                self._grounds[name] = self._lay(name)
            return self._grounds[name]

    @contextmanager
    def clone(self, ground: Ground, *, migrated: bool = False) -> Iterator[str]:
        """The URL of a fresh copy of the ground for the block, or of what became of it in an undisturbed run."""
        name = f"crash_{secrets.token_hex(4)}"
        template = after(ground.template) if migrated else ground.template
        self.administer(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {MIGRATOR}")
        try:
            yield self.url(name)
        finally:
            self.administer(f"DROP DATABASE {name} WITH (FORCE)")

    def _lay(self, name: str) -> Ground:
        folder = self._folder / name
        folder.mkdir()
        template = f"ground_{name}"
        self.administer(f"CREATE DATABASE {template} TEMPLATE template0 ENCODING 'UTF8'")
        url = self.url(template)
        typed = _small(folder, url) if name == "small" else _shipped(folder, url)
        printed = run(folder, "grants", "--role", MIGRATOR, *typed[len(TYPED) :], url=url)
        assert printed.code == 0, printed.said
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute(printed.out.encode())
        assert eventually(lambda: not self.sessions(template)), "nobody may be connected to a template"
        copy = after(template)
        self.administer(f"CREATE DATABASE {copy} TEMPLATE {template} OWNER {MIGRATOR}")
        ended = run(folder, *typed, url=as_migrator(self.url(copy)))
        assert ended.code == 0, ended.said
        before, old_columns = picture(url), oracle.columns(url)
        kept = oracle.content(self.url(copy), only_columns=old_columns)
        assert all(kept.get(table) == total for table, total in before.content.items()), (
            "an undisturbed run keeps it all"
        )
        return Ground(
            name=name,
            template=template,
            typed=typed,
            before=before,
            old_columns=old_columns,
            after=picture(self.url(copy)),
        )

    def sessions(self, database: str) -> list[str]:
        """Client sessions in a database, as text."""
        return [line for line in self.clients() if line.endswith(f" in {database}")]

    def clients(self) -> list[str]:
        """Every client session on the server but this one, as text."""
        rows = self.administer(
            "SELECT format('session %s %s %s in %s', pid, application_name, state, datname) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return [str(row[0]) for row in rows]

    def traces(self, url: str) -> list[str]:
        """What runs may not leave on the server, as text: scratch databases, locks, prepared transactions, closed doors, and
        in this database indexes that are not valid."""
        rows = self.administer(TRACES)
        with psycopg.connect(url) as conn:
            rows += conn.execute(
                "SELECT format('invalid index %s', indexrelid::regclass) FROM pg_index WHERE NOT indisvalid"
            )
        return [str(row[0]) for row in rows]


@contextmanager
def own_site(folder: Path) -> Iterator[Site]:
    """A site on a server of its own: the proxy must know its socket, and nobody else may be seen on it."""
    with throwaway_server(settings=SETTINGS) as server, Site(server, folder) as site:
        yield site


def as_migrator(url: str) -> str:
    """The same database for the ordinary role that the tool works as; the oracle looks as a superuser."""
    return url.replace("//postgres:", f"//{MIGRATOR}:", 1)


def after(template: str) -> str:
    """The name of the database in which the undisturbed run of a ground was."""
    return f"{template}_after"


def picture(url: str) -> Picture:
    """The oracle's picture of a database, with the stamp and every row of the history."""
    schema, content = oracle.picture(url)
    with psycopg.connect(url) as conn:
        stamp = conn.execute("SELECT version_num FROM alembic_version ORDER BY 1").fetchall()
        history = conn.execute("SELECT r::text FROM lawsker_db.migration_run AS r ORDER BY 1").fetchall()
    return Picture(
        schema=schema, content=content, stamp=tuple(row[0] for row in stamp), history=tuple(row[0] for row in history)
    )


def stands(ground: Ground, url: str) -> str:
    """`old`, `new` or `mixed`, by the oracle alone.

    New: the schema and stamp of an undisturbed run, the old history and one row more, every older table as it was in its
    older columns, and of the small chain, which makes no random values, every new one as well.
    """
    found, old, new = picture(url), ground.before, ground.after
    if found == old:
        return "old"
    wrong = [name for name in ("schema", "stamp") if getattr(found, name) != getattr(new, name)]
    if len(found.history) != len(old.history) + 1 or not set(found.history) > set(old.history):
        wrong.append("history")
    if found.content.keys() != new.content.keys():
        wrong.append("tables")
    if ground.name == "small":
        wrong += [name for name, total in new.content.items() if found.content.get(name) != total]
    elif not wrong:
        older = oracle.content(url, only_columns=ground.old_columns)
        wrong += [name for name, total in old.content.items() if older.get(name) != total]
    return f"mixed: {', '.join(wrong)} not of the new database" if wrong else "new"


def _small(folder: Path, url: str) -> tuple[str, ...]:
    for name in ("env.py", "script.py.mako"):
        (folder / "alembic" / "versions").mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "alembic" / name, folder / "alembic" / name)
    shutil.copy(ROOT / "alembic.ini", folder)
    (folder / "alembic" / "versions" / "001_lower.py").write_text(LOWER)
    (folder / "alembic" / "versions" / "002_upper.py").write_text(UPPER)
    config = ("--config", str(folder / "alembic.ini"))
    laid = run(folder, "safe-upgrade", "001", "--yes", "--no-rehearsal", *config, url=url)
    assert laid.code == 0, laid.said
    with psycopg.connect(url) as conn:
        conn.execute(ROWS.encode())
    return (*TYPED, *config)


def _shipped(folder: Path, url: str) -> tuple[str, ...]:
    load_sample(url, users=SAMPLE_USERS)
    adopted = run(folder, "adopt", "--yes", url=url)
    assert adopted.code == 0, adopted.said
    return TYPED
