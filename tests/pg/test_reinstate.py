"""Reinstate: after a rollback, an upgrade brings back every row and value whose parents stand, and tells of the rest."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import oracle
import psycopg
import pytest
from chains import small_chain
from command_line import run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kinds import DOWN, PROMISE, UP, USERS, Ground, State, execute, expected, go, look, make_ground
from migrated import BUSINESS, ROLES_FOR_ALL

from lawsker_db.demo.binaries import binaries_in
from lawsker_db.demo.server import ThrowawayServer, throwaway_server
from lawsker_db.errors import GateRefused, Refused, RolledBack
from lawsker_db.evidence import Reinstated, Verdict
from lawsker_db.postgres.kept import Archive, find_archives
from lawsker_db.postgres.session import identify
from lawsker_db.record.history import read_history
from lawsker_db.safety.gate import Gate
from lawsker_db.safety.upgrade import UpgradeOptions, safe_upgrade
from lawsker_db.target import parse_target


@pytest.fixture(scope="module")
def ground(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    made = make_ground(server, tmp_path_factory.mktemp("kinds") / "chain")
    yield made
    server.run(f"DROP DATABASE {made.template}")


@pytest.fixture
def url(ground: Ground) -> Iterator[str]:
    with ground.clone() as url:
        yield url


def user(number: int) -> str:
    """Pure. The id of a user of the ground."""
    return str(uuid.UUID(hashlib.md5(f"u{number}".encode(), usedforsecurity=False).hexdigest()))


def shop(number: int) -> str:
    return str(uuid.UUID(hashlib.md5(f"s{number}".encode(), usedforsecurity=False).hexdigest()))


WRITTEN = (
    "UPDATE badges SET note = 'changed' WHERE name = 'one'",
    "DELETE FROM badges WHERE name = 'two'",
    "INSERT INTO badges (name) VALUES ('four')",
    f"UPDATE boxes SET worth = 1.00, badge_id = 3 WHERE user_id = '{user(1)}'",
    f"UPDATE boxes SET worth = 9 WHERE user_id = '{user(2)}'",
    f"DELETE FROM boxes WHERE user_id = '{user(3)}'",
    f"INSERT INTO orders (user_id, shop_id, total) VALUES ('{user(1)}', '{shop(1)}', 10), ('{user(2)}', '{shop(2)}', 20),"
    f" ('{user(3)}', NULL, 30)",
    "INSERT INTO items VALUES (1, 1, 'a'), (1, 2, 'b'), (2, 1, 'c'), (3, 1, 'd')",
    "INSERT INTO remarks VALUES (1, 1, 1, 'on a'), (2, 2, 1, 'on c'), (3, NULL, NULL, 'on nothing')",
    f"UPDATE users SET nick = 'first' WHERE id = '{user(1)}'",
)


def written(url: str) -> State:
    """Let applications write into everything, and swap two unique values of users; what stands then."""
    execute(url, *WRITTEN)
    with psycopg.connect(url) as conn:
        seats: dict[str, int] = dict(conn.execute("SELECT id::text, seat FROM users").fetchall())
        conn.execute("UPDATE users SET seat = NULL WHERE id = %s", (user(1),))
        conn.execute("UPDATE users SET seat = %s WHERE id = %s", (seats[user(1)], user(2)))
        conn.execute("UPDATE users SET seat = %s WHERE id = %s", (seats[user(2)], user(1)))
    return look(url)


def told(gate: Gate) -> Reinstated:
    assert gate.reinstating is not None
    (back,) = gate.reinstating.told
    return back


def archives(url: str) -> tuple[Archive, ...]:
    with parse_target(url).connect() as conn:
        return find_archives(conn)


def archived(url: str, name: str) -> dict[str, str]:
    """What stands in an archive, by the oracle."""
    return {table: sums for table, sums in oracle.content(url).items() if table.startswith(f"{name}.")}


def test_rows_and_values_come_back_as_they_were_and_the_archive_stays_untouched(ground: Ground, url: str) -> None:
    before = written(url)
    go(url, ground.config, "012")
    (archive,) = archives(url)
    kept = archived(url, archive.schema)
    back = told(go(url, ground.config, "head"))
    assert look(url) == before
    assert archived(url, archive.schema) == kept
    assert (back.archive, back.revision) == (archive.schema, "100")
    numbers = {table.table: (table.archived, table.back, table.left) for table in back.tables}
    assert numbers == {
        "users": (USERS, USERS, 0),
        "badges": (3, 3, 0),
        "boxes": (USERS - 1, USERS - 1, 0),
        "orders": (3, 3, 0),
        "items": (4, 4, 0),
        "remarks": (3, 3, 0),
    }


def test_what_lost_its_parent_does_as_its_foreign_key_says_and_newcomers_keep_what_the_run_made(
    ground: Ground, url: str
) -> None:
    before = written(url)
    go(url, ground.config, "012")
    newcomer = str(uuid.uuid4())
    execute(
        url,
        f"DELETE FROM users WHERE id = '{user(2)}'",
        f"DELETE FROM tenants WHERE id = '{shop(1)}'",
        "INSERT INTO users (id, tenant_id, username, password_hash, status)"
        f" VALUES ('{newcomer}', md5('t')::uuid, 'new', 'x', 'ACTIVE')",
    )
    back = {table.table: table for table in told(go(url, ground.config, "head")).tables}
    assert look(url) == expected(before, {user(2)}, {shop(1)}, {newcomer: seat_of(url, newcomer)})
    assert (back["users"].left_keys, back["boxes"].left_keys) == ((user(2),), (user(2),))
    assert (back["orders"].left_keys, back["items"].left_keys) == (("2",), ("2, 1",))
    assert (back["orders"].without_parent_keys, back["remarks"].without_parent_keys) == (("1",), ("2",))
    assert (back["boxes"].kept_as_made, back["users"].kept_as_made) == (1, 1)


def seat_of(url: str, user_id: str) -> int:
    with psycopg.connect(url) as conn:
        row = conn.execute("SELECT hashtext(%s)", (user_id,)).fetchone()
    assert row is not None
    return int(row[0])


def test_numbers_go_on_behind_those_that_were_given_out_before_the_rollback(ground: Ground, url: str) -> None:
    written(url)
    execute(url, "SELECT setval('badges_id_seq', 77)", f"DELETE FROM orders WHERE user_id = '{user(3)}'")
    go(url, ground.config, "012")
    go(url, ground.config, "head")
    with psycopg.connect(url) as conn:
        row = conn.execute("SELECT nextval('badges_id_seq'), nextval('orders_id_seq')").fetchone()
    assert row == (78, 4)


def test_the_last_downgrade_counts_and_older_archives_are_named_and_can_be_taken(ground: Ground, url: str) -> None:
    before = written(url)
    go(url, ground.config, "012")
    go(url, ground.config, "head")
    execute(url, "DELETE FROM items", "UPDATE badges SET note = 'later'")
    later = look(url)
    go(url, ground.config, "012")
    newest, oldest = archives(url)
    back = told(go(url, ground.config, "head"))
    assert (back.archive, look(url)) == (newest.schema, later)
    go(url, ground.config, "012", archive=False)
    ended = run(ground.config.parent, "safe-upgrade", "--dry-run", "--config", str(ground.config), url=url)
    assert f"{oldest.schema}: 5 tables" in ended.out
    assert f"not taken; --reinstate {oldest.schema} takes it" in ended.out
    assert "will be brought back" not in ended.out
    gate = go(url, ground.config, "head")
    assert gate.reinstating is not None
    assert gate.reinstating.told == []
    go(url, ground.config, "012", archive=False)
    assert told(go(url, ground.config, "head", reinstate=oldest.schema)).archive == oldest.schema
    assert look(url) == before


def test_never_leaves_it_and_ask_refuses_where_nobody_can_answer(ground: Ground, url: str) -> None:
    written(url)
    go(url, ground.config, "012")
    (archive,) = archives(url)
    before = oracle.picture(url)
    for typed, said in (("ask", "--reinstate never"), ("nonsense", archive.schema)):
        words = ("safe-upgrade", "--yes", "--reinstate", typed, "--config", str(ground.config))
        ended = run(ground.config.parent, *words, url=url)
        assert ended.code == 10, ended.said
        assert said in ended.said
        with pytest.raises(Refused):
            go(url, ground.config, "head", reinstate=typed)
    assert oracle.picture(url) == before
    gate = go(url, ground.config, "head", reinstate="never")
    assert gate.reinstating is not None
    assert gate.reinstating.told == []
    assert look(url)["orders"] == {}


def other_version(folder: Path, *changes: tuple[str, str]) -> Path:
    """The chain with another version of its revision: words of body and contract replaced."""
    up, promise = UP, PROMISE
    for old, new in changes:
        assert old in up + promise
        up, promise = up.replace(old, new), promise.replace(old, new)
    folder.mkdir()
    return small_chain(folder, (up, promise, DOWN))


def test_an_archive_of_another_version_is_taken_by_name_alone_and_where_all_of_it_has_a_place(
    ground: Ground, url: str, tmp_path: Path
) -> None:
    before = written(url)
    go(url, ground.config, "012")
    (archive,) = archives(url)
    wider = other_version(
        tmp_path / "wider",
        ("what text NOT NULL,", "what text NOT NULL, colour text DEFAULT 'red',"),
        ('Column("what", "text"))', 'Column("what", "text"), Column("colour", "text", "\'red\'", nullable=True))'),
    )
    with pytest.raises(Refused, match=r"of another version of revision 100 .*column items.colour") as refused:
        go(url, wider, "head")
    assert f"-x reinstate={archive.schema} takes it all the same" in refused.value.hint
    narrower = other_version(
        tmp_path / "narrower", ("note text)", "remark text)"), ('Column("note", "text"', 'Column("remark", "text"')
    )
    retyped = other_version(
        tmp_path / "retyped",
        ("what text NOT NULL", "what varchar(9) NOT NULL"),
        ('"what", "text"', '"what", "varchar(9)"'),
    )
    for chain, said in ((narrower, "column badges.note"), (retyped, r"column items.what \(text there, varchar")):
        with pytest.raises(Refused, match=f"no place for: {said}") as refused:
            go(url, chain, "head", reinstate=archive.schema)
        assert "-x reinstate=never" in refused.value.hint
    go(url, wider, "head", reinstate=archive.schema)
    execute(url, "ALTER TABLE items DROP COLUMN colour")
    assert look(url) == before


def test_two_revisions_that_were_rolled_back_together_get_back_what_each_of_them_made(
    ground: Ground, url: str, tmp_path: Path
) -> None:
    lock = 'ops.lock_tables({"badges": "ACCESS EXCLUSIVE"})\n'
    tag = (
        f'{lock}op.add_column("badges", sa.Column("tag", sa.Text))',
        'alters=("badges",), extensions=(Extension(table="badges", columns=(Column("tag", "text", nullable=True),)),)',
        f'{lock}ops.drop_columns("badges", ("tag",))',
    )
    folder = tmp_path / "two"
    folder.mkdir()
    chain = small_chain(folder, (UP, PROMISE, DOWN), tag)
    go(url, chain, "head")
    execute(url, "UPDATE badges SET tag = 'of ' || name", "DELETE FROM badges WHERE name = 'two'")
    before = look(url)
    go(url, chain, "012")
    gate = go(url, chain, "head")
    assert gate.reinstating is not None
    assert [back.revision for back in gate.reinstating.told] == ["100", "101"]
    assert look(url) == before


def test_an_archive_that_somebody_wrote_is_refused(ground: Ground, url: str) -> None:
    written(url)
    go(url, ground.config, "012")
    (archive,) = archives(url)
    execute(url, f"UPDATE {archive.schema}.items SET what = 'z' WHERE order_id = 3")
    before = oracle.picture(url)
    with pytest.raises(Refused, match="is not what its record says: items changed since"):
        go(url, ground.config, "head")
    assert oracle.picture(url) == before
    execute(url, f"DELETE FROM {archive.schema}.contents WHERE original = 'items'")
    with pytest.raises(Refused, match="is not what the history says of it"):
        go(url, ground.config, "head")
    execute(url, f"DROP SCHEMA {archive.schema} CASCADE")
    ended = run(ground.config.parent, "safe-upgrade", "--dry-run", "--config", str(ground.config), url=url)
    assert f"{archive.schema}, which the last downgrade kept, is there no more: nothing comes back" in ended.out
    assert ended.code == 0


def test_a_constraint_that_refuses_archived_rows_is_named_and_everything_is_as_before(
    ground: Ground, url: str, tmp_path: Path
) -> None:
    written(url)
    go(url, ground.config, "012")
    (archive,) = archives(url)
    stricter = other_version(
        tmp_path / "stricter",
        ("total numeric(10,2) NOT NULL)", "total numeric(10,2) NOT NULL CONSTRAINT small_total CHECK (total < 25))"),
        (
            'Column("total", "numeric(10,2)")),',
            'Column("total", "numeric(10,2)")), checks=(Check("small_total", "total < 25"),),',
        ),
    )
    before = oracle.picture(url)
    with pytest.raises(RolledBack, match="keeps of orders cannot come back: constraint small_total refuses them"):
        go(url, stricter, "head", reinstate=archive.schema)
    assert oracle.picture(url) == before


def test_the_gate_refuses_when_what_came_back_is_not_what_was_archived(ground: Ground, url: str) -> None:
    written(url)
    go(url, ground.config, "012")
    # A rule in place of UPDATE: the revision's own UPDATE is void too, and nobody notices but the proof.
    execute(url, "CREATE RULE deaf AS ON UPDATE TO users WHERE old.username = 'user 1' DO INSTEAD NOTHING")
    before = oracle.picture(url)
    with pytest.raises(
        GateRefused, match="reinstated users: expected 6 rows, as archived, found 6 rows, other content"
    ):
        go(url, ground.config, "head")
    assert oracle.picture(url) == before


def test_the_gate_looks_again_behind_it_and_refuses_what_was_written_besides(ground: Ground, url: str) -> None:
    written(url)
    go(url, ground.config, "012")
    # The revision updates every user once. What is asked of a row that is updated after that is asked by our UPDATE alone.
    execute(
        url,
        "CREATE FUNCTION along() RETURNS boolean LANGUAGE plpgsql AS $$BEGIN"
        f" IF pg_stat_get_xact_tuples_updated('users'::regclass) >= {USERS} THEN"
        " EXECUTE $_$UPDATE tenants SET name = 'touched'$_$; END IF; RETURN true; END$$",
        "ALTER TABLE users ADD CONSTRAINT along CHECK (along())",
    )
    before = oracle.picture(url)
    with pytest.raises(GateRefused, match=r"content of public.tenants: expected untouched"):
        go(url, ground.config, "head")
    assert oracle.picture(url) == before


def test_plain_alembic_brings_back_too_and_cannot_ask(ground: Ground, url: str) -> None:
    before = written(url)
    go(url, ground.config, "012")

    def alembic(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "alembic", *arguments]
        environment = {**os.environ, "DATABASE_URL": url}
        folder = ground.config.parent
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    for typed, said in (("ask", "Alembic cannot ask"), ("nonsense", "-x reinstate=auto, never, or the name")):
        ended = alembic("-x", f"reinstate={typed}", "upgrade", "head")
        assert ended.returncode != 0
        assert said in ended.stdout + ended.stderr
    ended = alembic("upgrade", "head")
    assert ended.returncode == 0, ended.stderr
    assert look(url) == before


def test_the_record_tells_what_came_back_and_a_later_downgrade_does_not_take_it_for_the_runs_own(
    ground: Ground, url: str
) -> None:
    written(url)
    go(url, ground.config, "012")
    (archive,) = archives(url)
    go(url, ground.config, "head")
    with parse_target(url).connect() as conn:
        last = read_history(conn, identify(conn))[-1]
    assert last.reinstated == (archive.schema,)
    prints = {print_.table: print_.rows for print_ in last.fingerprints}
    assert (prints["public.orders"], prints["public.badges"]) == (0, 3)
    with psycopg.connect(url) as conn:
        row = conn.execute("SELECT count(*) FROM badges WHERE note = 'changed'").fetchone()
    assert row == (1,)


def test_safe_upgrade_rehearses_it_brings_it_back_and_lists_it_in_the_report(
    ground: Ground, url: str, tmp_path: Path
) -> None:
    before = written(url)
    go(url, ground.config, "012")
    execute(url, f"DELETE FROM users WHERE id = '{user(2)}'")
    options = UpgradeOptions(runs=tmp_path / "runs", config=ground.config)
    report = safe_upgrade(parse_target(url), options=options)
    assert report.verdict is Verdict.DONE
    assert look(url) == expected(before, {user(2)}, set(), {})
    (back,) = report.reinstated
    assert {table.table: table.left for table in back.tables if table.left} == {
        "users": 1, "boxes": 1, "orders": 1, "items": 1,
    }  # fmt: skip
    assert any(check.name == "archive" and "will be brought back" in check.found for check in report.checks)
    assert any(
        note.startswith(f"1 rows of orders stay in {back.archive}, because a parent is gone: 2")
        for note in report.notes
    )
    assert any("rows of remarks came back without a parent that is gone: 2" in note for note in report.notes)
    assert back.archive in (Path(report.folder) / "report.html").read_text()


# Beside BUSINESS: 10,000 rows, changed and deleted seeds, values of users; and two users with rows that hang on them alone.
MORE_BUSINESS = (
    """INSERT INTO lawyer_point_transactions (lawyer_id, transaction_type, points_change, points_before, points_after)
    SELECT lawyer_id, 'case', n, 0, n FROM lawyer_level_details CROSS JOIN generate_series(1, 10000) AS n LIMIT 10000""",
    "UPDATE lawyer_levels SET daily_case_limit = daily_case_limit + 1 WHERE level = 10",
    "DELETE FROM demo_accounts WHERE demo_type = 'user'",
    "UPDATE enterprise_service_packages SET monthly_fee = monthly_fee + 0.01 WHERE package_type = 'custom'",
    "UPDATE users SET email_verified = true, registration_source = 'app' WHERE status = 'ACTIVE'",
    "UPDATE users SET workspace_id = 'own-' || substr(id::text, 1, 8) WHERE username LIKE '%7'",
    "UPDATE workspace_mappings AS m SET workspace_id = u.workspace_id FROM users AS u WHERE u.id = m.user_id",
    """INSERT INTO workspace_mappings (user_id, workspace_id, workspace_type)
    SELECT id, workspace_id, 'user' FROM users WHERE username LIKE 'new_'""",
    """INSERT INTO credit_purchase_records (user_id, credits_count, total_amount)
    SELECT id, 1, 1 FROM users WHERE username IN ('new1', 'new2')""",
)
LEAVE = (
    "DELETE FROM user_roles WHERE user_id IN (SELECT id FROM users WHERE username IN ('new1', 'new2'))",
    "DELETE FROM users WHERE username IN ('new1', 'new2')",
)


def in_business(url: str) -> None:
    """The sample at 013, with applications at work since."""
    with psycopg.connect(url) as conn:
        conn.execute(ROLES_FOR_ALL)
    go(url, None, "head")
    with psycopg.connect(url) as conn:
        for statement in (*BUSINESS, *MORE_BUSINESS):
            conn.execute(statement.encode())


def lines(url: str) -> dict[str, list[bytes]]:
    """Every row of every table of the application, as COPY writes it, sorted."""
    found: dict[str, list[bytes]] = {}
    with psycopg.connect(url) as conn:
        tables = conn.execute(
            "SELECT quote_ident(relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
        ).fetchall()
        for (table,) in tables:
            with conn.cursor().copy(f"COPY public.{table} TO STDOUT".encode()) as copy:
                found[table] = sorted(b"".join(bytes(block) for block in copy).splitlines())
    return found


def structure(url: str) -> list[str]:
    """What pg_dump says of the schema, archives apart."""
    return [line for line in oracle.schema(url).split("\n") if "lawsker_archive_" not in line]


def test_the_business_of_013_survives_a_rollback_under_an_application_that_deletes_users(adopted_url: str) -> None:
    in_business(adopted_url)
    before, shape = lines(adopted_url), structure(adopted_url)
    with psycopg.connect(adopted_url) as conn:
        gone = [str(row[0]).encode() for row in conn.execute("SELECT id FROM users WHERE username IN ('new1', 'new2')")]
    go(adopted_url, None, "012")
    execute(adopted_url, *LEAVE)
    back = told(go(adopted_url, None, "head", of_chain={"users": "rewrite"}))
    after = lines(adopted_url)
    for table, rows in before.items():
        assert after[table] == [row for row in rows if not any(one in row for one in gone)], table
    assert structure(adopted_url) == shape
    left = {table.table: table.left for table in back.tables if table.left}
    assert left == {"users": 2, "workspace_mappings": 2, "credit_purchase_records": 2}
    with psycopg.connect(adopted_url) as conn:
        apart = conn.execute(
            "SELECT count(*) FROM users u JOIN workspace_mappings m ON m.user_id = u.id"
            " WHERE u.workspace_id <> m.workspace_id"
        ).fetchone()
    assert apart == (0,)
    assert len(after["lawyer_point_transactions"]) >= 10_000


@pytest.mark.long
def test_the_same_by_the_commands_and_verify_finds_no_fault_afterwards(adopted_url: str, tmp_path: Path) -> None:
    in_business(adopted_url)
    before = lines(adopted_url)
    assert run(tmp_path, "rollback", "--yes", url=adopted_url).code == 0
    ended = run(tmp_path, "safe-upgrade", "--yes", url=adopted_url)
    assert ended.code == 0, ended.said
    assert "brought back from lawsker_archive_" in ended.said
    assert lines(adopted_url) == before
    ended = run(tmp_path, "verify", url=adopted_url)
    assert ended.code == 0, ended.said


CHANGES = st.fixed_dictionaries(
    {
        "badges": st.tuples(*[st.sampled_from(("keep", "change", "delete"))] * 3),
        "more_badges": st.integers(0, 2),
        "boxes": st.tuples(*[st.sampled_from(("keep", "change", "delete"))] * USERS),
        "seats": st.permutations(range(1, USERS + 1)),
        "orders": st.lists(st.tuples(st.integers(1, USERS), st.integers(0, 3), st.integers(0, 2)), max_size=5),
        "remarks": st.lists(st.integers(0, 9), max_size=4),
        "gone": st.sets(st.integers(1, USERS), max_size=4),
        "shops_gone": st.sets(st.integers(1, 3), max_size=2),
        "come": st.integers(0, 2),
    }
)


def write_as_told(url: str, told: dict[str, Any]) -> None:
    """Let applications write what a drawn example says."""
    with psycopg.connect(url) as conn:
        for number, what in enumerate(told["badges"], 1):
            conn.execute(SAID_OF_BADGES[what], (number,)) if what != "keep" else None
        for number in range(told["more_badges"]):
            conn.execute("INSERT INTO badges (name, note) VALUES (%s, 'more')", (f"more {number}",))
        for number, what in enumerate(told["boxes"], 1):
            conn.execute(SAID_OF_BOXES[what], (user(number),)) if what != "keep" else None
        seats: dict[str, int] = dict(conn.execute("SELECT id::text, seat FROM users").fetchall())
        conn.execute("UPDATE users SET seat = NULL")
        for number, place in enumerate(told["seats"], 1):
            values = (seats[user(place)], f"nick {place}", user(number))
            conn.execute("UPDATE users SET seat = %s, nick = %s WHERE id = %s", values)
        items: list[tuple[int, int]] = []
        for number, (owner, at, pieces) in enumerate(told["orders"], 1):
            values_of = (user(owner), shop(at) if at else None, number)
            conn.execute("INSERT INTO orders (user_id, shop_id, total) VALUES (%s, %s, %s)", values_of)
            items += [(number, place) for place in range(pieces)]
        for order, place in items:
            conn.execute("INSERT INTO items VALUES (%s, %s, 'thing')", (order, place))
        for number, which in enumerate(told["remarks"]):
            order_, place_ = items[which] if which < len(items) else (None, None)
            conn.execute("INSERT INTO remarks VALUES (%s, %s, %s, 'said')", (number, order_, place_))


SAID_OF_BADGES = {
    "change": "UPDATE badges SET note = 'changed' WHERE id = %s",
    "delete": "DELETE FROM badges WHERE id = %s",
}
SAID_OF_BOXES = {
    "change": "UPDATE boxes SET worth = worth + 1 WHERE user_id = %s",
    "delete": "DELETE FROM boxes WHERE user_id = %s",
}


def comes_back_as_expected(ground: Ground, drawn: dict[str, Any]) -> None:
    gone = {user(number) for number in drawn["gone"]}
    shops = {shop(number) for number in drawn["shops_gone"]}
    come = [str(uuid.uuid4()) for _ in range(drawn["come"])]
    with ground.clone() as url:
        write_as_told(url, drawn)
        before = look(url)
        go(url, ground.config, "012")
        with psycopg.connect(url) as conn:
            conn.execute("DELETE FROM users WHERE id::text = ANY (%s)", (list(gone),))
            conn.execute("DELETE FROM tenants WHERE id::text = ANY (%s)", (list(shops),))
            for newcomer in come:
                conn.execute(
                    "INSERT INTO users (id, tenant_id, username, password_hash, status)"
                    " VALUES (%s, md5('t')::uuid, %s, 'x', 'ACTIVE')",
                    (newcomer, newcomer[:20]),
                )
        go(url, ground.config, "head")
        assert look(url) == expected(before, gone, shops, {one: seat_of(url, one) for one in come})


FEW = settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
MANY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@FEW
@given(drawn=CHANGES)
def test_whatever_was_written_and_whoever_is_gone_all_comes_back_that_can(
    ground: Ground, drawn: dict[str, Any]
) -> None:
    comes_back_as_expected(ground, drawn)


@pytest.mark.long
@MANY
@given(drawn=CHANGES)
def test_whatever_was_written_comes_back_in_many_more_cases(ground: Ground, drawn: dict[str, Any]) -> None:
    comes_back_as_expected(ground, drawn)


class Major:
    """A server of one major version, as conftest's."""

    def __init__(self, server: ThrowawayServer) -> None:
        self.url = server.url

    def run(self, statement: str) -> None:
        execute(self.url("postgres"), statement)


@pytest.mark.majors
@pytest.mark.parametrize("major", [12, 13, 14, 15, 16, 17, 18])
def test_it_is_so_on_every_supported_major_version(major: int, tmp_path: Path) -> None:
    programs = binaries_in(Path(os.environ["LAWSKER_MAJORS"]).absolute() / str(major) / "bin", origin="LAWSKER_MAJORS")
    with throwaway_server(programs) as server:
        ground = make_ground(Major(server), tmp_path / "chain")
        with ground.clone() as url:
            before = written(url)
            go(url, ground.config, "012")
            execute(url, f"DELETE FROM users WHERE id = '{user(2)}'", f"DELETE FROM tenants WHERE id = '{shop(1)}'")
            go(url, ground.config, "head")
            assert look(url) == expected(before, {user(2)}, {shop(1)}, {})
