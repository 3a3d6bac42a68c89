"""What the swap stands on: sequences, settings, rights, names, the gate; and a history that survives restores."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from copies import Server
from restoring import one

from lawsker_db.errors import RolledBack
from lawsker_db.evidence import Server as Identity
from lawsker_db.postgres.databases import beside, shortened
from lawsker_db.postgres.session import identify
from lawsker_db.postgres.swap import (
    Standing,
    Swap,
    close_gate,
    damaged_name,
    end_everybody,
    exchange,
    hand_settings,
    is_swapped,
    let_in,
    lift_sequences,
    read_belongings,
    read_standings,
)
from lawsker_db.record.history import CARRIED, Run, carry_over, read_history, read_replaced, read_rows, write_marker
from lawsker_db.target import Target, parse_target


@pytest.fixture
def pair(server: Server) -> Iterator[tuple[Target, Target]]:
    """Two databases, the live one and its copy."""
    name = f"swap_{secrets.token_hex(3)}"
    for one_of in (name, f"{name}_copy"):
        server.run(f"CREATE DATABASE {one_of} TEMPLATE template0")
    yield parse_target(server.url(name)), parse_target(server.url(f"{name}_copy"))
    with psycopg.connect(server.url("postgres")) as conn:
        rows = conn.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (name,)).fetchall()
    for (found,) in rows:
        server.run(f'DROP DATABASE "{found}"')


def here(target: Target) -> Identity:
    with target.connect() as conn:
        return identify(conn, sized=False)


def swap_of(live: Target, copy: Target) -> Swap:
    return Swap(
        live=here(live).database,
        damaged=f"{here(live).database}_damaged",
        copy=here(copy).database,
        live_oid=here(live).database_oid,
        copy_oid=here(copy).database_oid,
    )


def test_sequences_are_set_ahead_in_their_own_direction_and_never_back(pair: tuple[Target, Target]) -> None:
    live, copy = pair
    made = (
        "CREATE SEQUENCE up",
        "CREATE SEQUENCE down INCREMENT -1",
        "CREATE SEQUENCE ahead",
        "CREATE SEQUENCE unused",
        'CREATE SEQUENCE "Odd ""名"""',
    )
    for target in pair:
        with target.raw_connection() as conn:
            for statement in (*made, "SELECT setval('ahead', 90)", "SELECT setval('down', -5)"):
                conn.execute(statement)
    with live.raw_connection() as conn:
        conn.execute("CREATE SEQUENCE only_here; SELECT nextval('only_here')")
        conn.execute(
            "SELECT setval('up', 40), setval('down', -9), setval('ahead', 70), setval('\"Odd \"\"名\"\"\"', 3)"
        )
    with copy.raw_connection() as conn:
        conn.execute("ALTER SEQUENCE up MAXVALUE 30")
    with live.connect() as conn:
        standings = read_standings(conn)
    assert "public.unused" not in [standing.name for standing in standings]
    with copy.connect() as conn:
        assert lift_sequences(conn, standings) == (2, ("public.up",))
        conn.commit()
        assert lift_sequences(conn, standings) == (0, ("public.up",)), "they stand there already"
    with copy.raw_connection() as conn:
        row = conn.execute("SELECT nextval('down'), nextval('ahead'), nextval('\"Odd \"\"名\"\"\"')").fetchone()
        assert row == (-10, 91, 4)
        assert conn.execute("SELECT nextval('unused')").fetchone() == (1,)


def test_a_sequence_whose_first_id_is_handed_out_only_there_does_not_hand_it_out_again(
    pair: tuple[Target, Target],
) -> None:
    live, copy = pair
    for target in pair:
        with target.raw_connection() as conn:
            conn.execute("CREATE SEQUENCE first")
    with live.raw_connection() as conn:
        conn.execute("SELECT nextval('first')")
    with live.connect() as one_side, copy.connect() as other:
        assert read_standings(one_side) == (Standing(name="public.first", last_value=1),)
        lift_sequences(other, read_standings(one_side))
        other.commit()
    with copy.raw_connection() as conn:
        assert conn.execute("SELECT nextval('first')").fetchone() == (2,)


SETTINGS = (
    ("*", 'search_path="$user", public, "Odd, name"'),
    ("*", "DateStyle=German, DMY"),
    ("*", "default_tablespace=gone since"),
    ("*", 'my.own=it\'s 100%:x \\ "quoted"'),
)


def test_settings_of_all_kinds_are_handed_over_as_they_are_written(pair: tuple[Target, Target], server: Server) -> None:
    """Lists, what names something that is gone, those of extensions; and nothing that was there before."""
    _, copy = pair
    name = here(copy).database
    server.run(f"ALTER DATABASE {name} SET work_mem = '3MB'")
    with copy.connect() as conn:
        assert hand_settings(conn, name, SETTINGS) == ()
        conn.commit()
        found = dict(setting.split("=", 1) for _, setting in read_belongings(conn).settings)
    expected = dict(setting.split("=", 1) for _, setting in SETTINGS)
    assert found == expected


def test_names_fit_and_are_nobody_elses(pair: tuple[Target, Target], server: Server) -> None:
    live, _ = pair
    long = "名" * 21
    assert shortened(long, "_damaged_ab12cd") == "名" * 16 + "_damaged_ab12cd"
    with live.connect() as conn:
        first = damaged_name(conn, here(live).database, "20261122T000000Z-restore-ab12cd")
        assert first == f"{here(live).database}_damaged_ab12cd"
        conn.rollback()
        server.run(f"CREATE DATABASE {first} TEMPLATE template0")
        again = damaged_name(conn, here(live).database, "20261122T000000Z-restore-ab12cd")
        assert again == f"{first}_2"


def test_both_names_change_at_once_and_the_gate_opens_with_them(pair: tuple[Target, Target]) -> None:
    live, copy = pair
    swap = swap_of(live, copy)
    with live.connect() as conn:
        belongings = read_belongings(conn)
    with beside(live, here(live)).connect(autocommit=True) as third:
        close_gate(third, swap.live)
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(**live.parameters)  # type: ignore[arg-type]
        looks: list[bool | None] = []
        exchange(third, swap, belongings, lambda: looks.append(is_swapped_elsewhere(live, swap)))
        assert (looks, is_swapped(third, swap)) == ([False], True)
        assert let_in(third, swap.copy_oid, allowed=True) is None, "it is open already"
    assert here(live).database_oid == swap.copy_oid


def is_swapped_elsewhere(live: Target, swap: Swap) -> bool | None:
    with beside(live).connect(autocommit=True) as conn:
        return is_swapped(conn, swap)


def test_who_is_still_there_when_the_time_is_over_is_named_and_a_prepared_transaction_at_once(
    pair: tuple[Target, Target],
) -> None:
    live, _ = pair
    oid = here(live).database_oid
    with closing(live.raw_connection()) as client, beside(live).connect(autocommit=True) as third:
        client.execute("SELECT 1")
        with pytest.raises(RolledBack, match=f"process {client.info.backend_pid}"):
            end_everybody(third, oid, until=time.monotonic() - 1)
        end_everybody(third, oid, keep=(client.info.backend_pid,), until=time.monotonic() - 1)
        end_everybody(third, oid, until=time.monotonic() + 30)
        with pytest.raises(psycopg.OperationalError):
            client.execute("SELECT 1")


# ---- the history -----------------------------------------------------------------------------------------------------


def made(
    target: Target, run_id: str, direction: str = "upgrade", steps: tuple[str, ...] = ("013",), **more: int
) -> None:
    with target.connect() as conn:
        run = Run(
            run_id=run_id,
            direction=direction,
            via="test",
            from_revisions=("012",),
            to_revisions=("013",),
            steps=steps,
            backup_id="the backup",
            rows_made=more,
        )
        write_marker(conn, run, identify(conn, sized=False))
        conn.commit()


def test_a_restored_database_knows_what_is_its_own_and_what_was_undone(
    pair: tuple[Target, Target], server: Server
) -> None:
    """In the table of an older version too, whose check knows no restores; a copy of it counts as none of them."""
    live, copy = pair
    made(live, "before")
    with live.raw_connection() as conn:
        conn.execute("ALTER TABLE lawsker_db.migration_run DROP CONSTRAINT migration_run_direction_check")
        conn.execute(
            "ALTER TABLE lawsker_db.migration_run ADD CONSTRAINT migration_run_direction_check"
            " CHECK (direction IN ('upgrade', 'downgrade', 'stamp', 'adopt'))"
        )
    name, oid = here(copy).database, here(live).database_oid
    server.run(f"DROP DATABASE {name}")
    server.run(f"CREATE DATABASE {name} TEMPLATE {here(live).database}")
    made(live, "after")
    with live.connect() as conn:
        rows = read_rows(conn)
    with copy.connect() as conn:
        carried = carry_over(conn, rows)
        assert (carried, carry_over(conn, rows)) == (1, 0)
        conn.commit()
    made(copy, "the restore", "restore", (str(oid), "what_is_kept"), **{CARRIED: carried})
    made(copy, "since")
    with copy.connect() as conn:
        server_there = identify(conn, sized=False)
        history = read_history(conn, server_there)
        (replaced,) = read_replaced(conn, server_there)
    assert [(past.run_id, past.here, past.undone) for past in history] == [
        ("before", True, ""),
        ("after", False, "what_is_kept"),
        ("the restore", True, ""),
        ("since", True, ""),
    ]
    assert all(past.intact for past in history)
    assert (replaced.database_oid, replaced.name, replaced.undone, replaced.known) == (
        oid,
        "what_is_kept",
        ("after",),
        True,
    )
    server.run(f"CREATE DATABASE {name}_rehearsed TEMPLATE {name}")
    rehearsed = parse_target(server.url(f"{name}_rehearsed"))
    with rehearsed.connect() as conn:
        assert [past.here for past in read_history(conn, identify(conn))] == [False] * 4
        assert read_replaced(conn, identify(conn)) == ()
    assert one(server.url(name), "SELECT count(*) FROM lawsker_db.migration_run") == 4
