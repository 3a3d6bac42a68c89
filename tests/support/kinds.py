"""A small chain that makes a table of every kind which may come back from an archive, and what must stand afterwards.

`expected` is worked out in Python from what stood before the rollback and from who is gone: it shares nothing with the
product.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psycopg
from chains import small_chain

from lawsker_db.record.journal import new_run_id
from lawsker_db.revisions import current_revisions, load_chain, plan_downgrade, plan_upgrade, run_steps
from lawsker_db.safety.gate import Gate
from lawsker_db.safety.guard import RunOptions, migration_transaction
from lawsker_db.target import parse_target

# badges: seeds. boxes: rows for the users that exist. orders, items, remarks: none, until applications write.
UP = """
op.execute("CREATE TABLE badges (id serial PRIMARY KEY, name text NOT NULL CONSTRAINT badges_name_key UNIQUE, note text)")
op.execute("INSERT INTO badges (name) VALUES ('one'), ('two'), ('three')")
op.execute(
    "CREATE TABLE boxes (user_id uuid PRIMARY KEY, worth numeric(10,2) NOT NULL,"
    " badge_id integer CONSTRAINT boxes_badge_id_fkey REFERENCES badges (id))"
)
op.execute("INSERT INTO boxes SELECT id, 1 FROM users")
op.execute(
    "CREATE TABLE orders (id serial PRIMARY KEY, user_id uuid NOT NULL, shop_id uuid, total numeric(10,2) NOT NULL)"
)
op.execute(
    "CREATE TABLE items (order_id integer CONSTRAINT items_order_id_fkey REFERENCES orders (id) ON DELETE CASCADE,"
    " place integer, what text NOT NULL, PRIMARY KEY (order_id, place))"
)
op.execute(
    "CREATE TABLE remarks (id integer PRIMARY KEY, order_id integer, place integer, said text NOT NULL,"
    " CONSTRAINT remarks_item_fkey FOREIGN KEY (order_id, place) REFERENCES items (order_id, place) ON DELETE SET NULL)"
)
ops.lock_tables({"users": "ACCESS EXCLUSIVE", "tenants": "SHARE ROW EXCLUSIVE"})
op.execute(
    "ALTER TABLE boxes"
    " ADD CONSTRAINT boxes_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE"
)
op.execute(
    "ALTER TABLE orders"
    " ADD CONSTRAINT orders_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE RESTRICT,"
    " ADD CONSTRAINT orders_shop_id_fkey FOREIGN KEY (shop_id) REFERENCES tenants (id) ON DELETE SET NULL"
)
op.execute("ALTER TABLE users ADD COLUMN nick text, ADD COLUMN seat integer")
op.execute("ALTER TABLE users DISABLE TRIGGER USER")
op.execute("UPDATE users SET seat = hashtext(id::text)")
op.execute("ALTER TABLE users ENABLE TRIGGER USER")
op.execute("ALTER TABLE users ADD CONSTRAINT users_seat_key UNIQUE (seat)")
"""
PROMISE = """
reads=("users",),
alters=("users",),
locks=("tenants",),
extensions=(
    Extension(
        table="users",
        columns=(Column("nick", "text", nullable=True), Column("seat", "int", nullable=True)),
        unique=(Unique("users_seat_key", ("seat",)),),
    ),
),
tables=(
    Table(
        name="remarks", group="kinds", primary_key=("id",), rows=0,
        columns=(Column("id", "integer"), Column("order_id", "integer", nullable=True),
                 Column("place", "integer", nullable=True), Column("said", "text")),
        foreign_keys=(ForeignKey("remarks_item_fkey", ("order_id", "place"), "items", ("order_id", "place"), "SET NULL"),),
    ),
    Table(
        name="items", group="kinds", primary_key=("order_id", "place"), rows=0,
        columns=(Column("order_id", "integer"), Column("place", "integer"), Column("what", "text")),
        foreign_keys=(ForeignKey("items_order_id_fkey", ("order_id",), "orders", on_delete="CASCADE"),),
    ),
    Table(
        name="orders", group="kinds", primary_key=("id",), rows=0, serial="id",
        columns=(Column("id", "integer"), Column("user_id", "uuid"), Column("shop_id", "uuid", nullable=True),
                 Column("total", "numeric(10,2)")),
        foreign_keys=(ForeignKey("orders_user_id_fkey", ("user_id",), "users", on_delete="RESTRICT"),
                      ForeignKey("orders_shop_id_fkey", ("shop_id",), "tenants", on_delete="SET NULL")),
    ),
    Table(
        name="boxes", group="kinds", primary_key=("user_id",), rows="SELECT count(*) FROM users",
        columns=(Column("user_id", "uuid"), Column("worth", "numeric(10,2)"), Column("badge_id", "integer", nullable=True)),
        foreign_keys=(ForeignKey("boxes_user_id_fkey", ("user_id",), "users", on_delete="CASCADE"),
                      ForeignKey("boxes_badge_id_fkey", ("badge_id",), "badges")),
    ),
    Table(
        name="badges", group="kinds", primary_key=("id",), rows=3, serial="id",
        columns=(Column("id", "integer"), Column("name", "text"), Column("note", "text", nullable=True)),
        unique=(Unique("badges_name_key", ("name",)),),
    ),
),
"""
DOWN = """
tables = ("users", "tenants", "remarks", "items", "orders", "boxes", "badges")
ops.lock_tables({table: "ACCESS EXCLUSIVE" for table in tables})
for table in tables[2:]:
    ops.drop_table(table)
ops.drop_columns("users", ("nick", "seat"))
"""
USERS, SHOPS = 6, 3
FILLED = (
    "INSERT INTO tenants (id, name, tenant_code, mode, status)"
    " VALUES (md5('t')::uuid, 'somebody', 'one', 'SAAS', 'ACTIVE')",
    "INSERT INTO tenants (id, name, tenant_code, mode, status)"
    f" SELECT md5('s' || n)::uuid, 'shop', 's' || n, 'SAAS', 'ACTIVE' FROM generate_series(1, {SHOPS}) AS n",
    "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS"
    " 'BEGIN NEW.updated_at := clock_timestamp(); RETURN NEW; END'",
    "CREATE TRIGGER touch BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch()",
    "INSERT INTO users (id, tenant_id, username, password_hash, status)"
    f" SELECT md5('u' || n)::uuid, md5('t')::uuid, 'user ' || n, 'x', 'ACTIVE' FROM generate_series(1, {USERS}) AS n",
)
TABLES = ("badges", "boxes", "orders", "items", "remarks")
Rows = dict[Any, tuple[Any, ...]]
State = dict[str, Rows]
KEYS = {"badges": 1, "boxes": 1, "orders": 1, "items": 2, "remarks": 1, "users": 1}


class Server(Protocol):
    """conftest's server."""

    def url(self, database: str) -> str: ...

    def run(self, statement: str) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Ground:
    """The chain, and a template that has its revision 100."""

    server: Server
    config: Path
    template: str

    @contextmanager
    def clone(self) -> Iterator[str]:
        """The URL of a copy of the template, for the block."""
        name = f"kinds_{secrets.token_hex(4)}"
        self.server.run(f"CREATE DATABASE {name} TEMPLATE {self.template}")
        try:
            yield self.server.url(name)
        finally:
            self.server.run(f"DROP DATABASE {name}")


def make_ground(server: Server, folder: Path) -> Ground:
    """Make the chain in a folder and its template on a server."""
    folder.mkdir(exist_ok=True)
    config = small_chain(folder, (UP, PROMISE, DOWN))
    name = f"template_kinds_{secrets.token_hex(4)}"
    server.run(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
    url = server.url(name)
    go(url, config, "012")
    execute(url, *FILLED)
    go(url, config, "head")
    return Ground(server=server, config=config, template=name)


def go(url: str, config: Path | None, goal: str, *, of_chain: dict[str, str] | None = None, **chosen: Any) -> Gate:
    """Up or down by the guarded transaction that all ways in share; down with an archive, unless told otherwise."""
    target, chain = parse_target(url), load_chain(config, of_chain)
    with target.connect() as conn:
        current = current_revisions(conn)
        conn.rollback()
        down = goal in ("012", "base") and bool(current)
        plan = (plan_downgrade if down else plan_upgrade)(chain, current, goal)
        options = {"archive": True} if down else {"reinstate": "auto"}
        run = RunOptions(run_id=new_run_id("test"), via="alembic", **{**options, **chosen})
        with migration_transaction(conn, target, plan, run) as guarded:
            run_steps(conn, chain, plan, guarded.gate)
    return guarded.gate


def execute(url: str, *statements: str) -> None:
    """Each statement by itself, committed."""
    with psycopg.connect(url, autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement.encode())


def look(url: str) -> State:
    """Every row of the chain's tables, and of users what the chain gave them, by key."""
    found: State = {}
    with psycopg.connect(url) as conn:
        for table in TABLES:
            rows = conn.execute(f"SELECT * FROM {table}".encode()).fetchall()
            found[table] = {tuple(row[: KEYS[table]]): tuple(map(str, row)) for row in rows}
        rows = conn.execute("SELECT id, nick, seat FROM users").fetchall()
        found["users"] = {(row[0],): tuple(map(str, row)) for row in rows}
    return found


def expected(before: State, gone: set[str], shops_gone: set[str], come: dict[str, int]) -> State:
    """Pure. What must stand after the upgrade: everything whose parents stand, and for users who `come` (with the seat that
    the revision gives them) what the revision makes."""
    after: State = {"badges": before["badges"]}
    after["users"] = {k: r for k, r in before["users"].items() if r[0] not in gone}
    after["users"] |= {(uuid.UUID(user),): (user, "None", str(seat)) for user, seat in come.items()}
    after["boxes"] = {k: r for k, r in before["boxes"].items() if r[0] not in gone}
    after["boxes"] |= {(uuid.UUID(user),): (user, "1.00", "None") for user in come}
    after["orders"] = {
        k: (*r[:2], "None" if r[2] in shops_gone else r[2], r[3])
        for k, r in before["orders"].items()
        if r[1] not in gone
    }
    after["items"] = {k: r for k, r in before["items"].items() if k[:1] in after["orders"]}
    standing = {r[:2] for r in after["items"].values()} | {("None", "None")}
    after["remarks"] = {
        k: r if r[1:3] in standing else (r[0], "None", "None", r[3]) for k, r in before["remarks"].items()
    }
    return after
