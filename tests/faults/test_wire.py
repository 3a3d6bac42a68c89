"""The proxy of the crash points: it counts the same every time, and strikes where and when it was told to."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from command_line import eventually
from crash_ground import SETTINGS, Site
from crash_points import Census, both, read_census, shard
from crash_run import census
from strikes import Fault, Moment, Seen, Strike
from wire import Wire, wire

from lawsker_db.demo.server import ThrowawayServer, throwaway_server


@pytest.fixture(scope="module")
def lone() -> Iterator[ThrowawayServer]:
    """A server whose sessions are ours alone."""
    with throwaway_server(settings=SETTINGS) as server:
        with psycopg.connect(server.url(), autocommit=True) as conn:
            conn.execute("CREATE TABLE noted (number int)")
        yield server


def strike(ordinal: int, moment: Moment, fault: Fault) -> Strike:
    return Strike(label="tool#1", ordinal=ordinal, moment=moment, fault=fault)


def noted(server: ThrowawayServer) -> list[int]:
    with psycopg.connect(server.url()) as conn:
        return [int(row[0]) for row in conn.execute("SELECT number FROM noted ORDER BY 1").fetchall()]


def connect(between: Wire) -> psycopg.Connection[tuple[object, ...]]:
    """This process is the tool. Its messages: 1 the start-up, 2 the first statement."""
    between.tool = os.getpid()
    return psycopg.connect(between.url, autocommit=True)


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
@pytest.mark.parametrize("fault", [Fault.RESET, Fault.CUT, Fault.DOWN])
@pytest.mark.parametrize("moment", Moment)
def test_a_connection_is_cut_at_the_message_and_at_the_moment_that_was_said(
    moment: Moment, fault: Fault, tcp: bool, lone: ThrowawayServer
) -> None:
    with psycopg.connect(lone.url(), autocommit=True) as conn:
        conn.execute("TRUNCATE noted")
    with wire(lone.url(), tcp=tcp, strike=strike(3, moment, fault)) as between, connect(between) as conn:
        conn.execute("INSERT INTO noted VALUES (1)")
        if moment is Moment.PASSED:
            conn.execute("INSERT INTO noted VALUES (2)")
            assert between.struck.wait(10)
        with pytest.raises(psycopg.OperationalError):
            conn.execute("INSERT INTO noted VALUES (2)" if moment is not Moment.PASSED else "SELECT 1")
        assert between.struck_at is not None
        assert (between.struck_at.ordinal, between.struck_at.kind) == (3, "Q")
        if fault is Fault.DOWN:
            with pytest.raises(psycopg.OperationalError):
                connect(between)
        else:
            with connect(between) as another:
                another.execute("SELECT 1")
    reaches = [1] if moment is Moment.BEFORE else [1, 2]
    assert eventually(lambda: noted(lone) == reaches), noted(lone)


def test_what_is_dropped_silently_stays_open_on_both_sides(lone: ThrowawayServer) -> None:
    with wire(lone.url(), strike=strike(3, Moment.BEFORE, Fault.DROP)) as between, connect(between) as conn:
        conn.execute("SELECT 1")
        conn.pgconn.send_query(b"SELECT 2")
        assert between.struck.wait(10)
        conn.pgconn.consume_input()
        assert conn.pgconn.is_busy(), "no answer and no end"
        with psycopg.connect(lone.url()) as other:
            rows = other.execute(
                "SELECT state FROM pg_stat_activity WHERE pid = %s", (conn.info.backend_pid,)
            ).fetchall()
        assert rows == [("idle",)], "the server has not heard of it"
        with connect(between) as another:
            assert another.execute("SELECT 3").fetchone() == (3,)
        conn.pgconn.finish()


def test_a_silent_network_lets_nobody_in(lone: ThrowawayServer) -> None:
    with wire(lone.url(), strike=strike(2, Moment.ANSWERED, Fault.SILENCE)) as between, connect(between) as conn:
        conn.pgconn.send_query(b"SELECT 2")
        assert between.struck.wait(10)
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            psycopg.connect(between.url, connect_timeout=2)
        conn.pgconn.finish()


def test_a_signal_comes_while_the_message_waits(lone: ThrowawayServer) -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        with wire(lone.url(), strike=strike(2, Moment.BEFORE, Fault.TERM)) as between, connect(between) as conn:
            assert conn.execute("SELECT 7").fetchone() == (7,)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came == [signal.SIGTERM]


@pytest.mark.faults
def test_messages_have_the_same_numbers_from_run_to_run_over_either_socket(
    lone: ThrowawayServer, tmp_path: Path
) -> None:
    runs = []
    with Site(lone, tmp_path) as site:
        for number, tcp in enumerate((False, True)):
            (tmp_path / str(number)).mkdir()
            seen = census(site, site.ground("small"), tmp_path / str(number), tcp=tcp)
            runs.append(read_census("small", seen))
    unix, over_tcp = map(settled, runs)
    assert unix == over_tcp


def settled(found: Census) -> dict[tuple[str, int], str]:
    """What is the same in every run: the tool's own connections from the migration on. Before it the readers share one queue
    of tables, pg_restore gives work to whichever worker is free, and slow work is looked at more often."""
    own = ("migration", "commit", "after")
    return {(m.label, m.ordinal): m.kind + m.text[:20] for m in found.seen if m.label.partition("#")[0] in own}


def test_the_points_are_many_and_each_has_its_place_in_one_shard() -> None:
    found = read_census("small", made_up())
    points = both(found, replace(found, ground="shipped"), 2400)
    assert len({point.name for point in points}) == len(points) == 2400
    assert {point.ground for point in points} == {"small", "shipped"}
    at_commit = {
        (point.moment, point.fault) for point in points if point.ground == "small" and point.about == "Q COMMIT"
    }
    assert {fault for _, fault in at_commit} == set(Fault)
    assert {moment for moment, _ in at_commit} == set(Moment)
    parts = [shard(points, part, 3) for part in (1, 2, 3)]
    assert sorted(point.name for part in parts for point in part) == sorted(point.name for point in points)
    assert points == both(found, replace(found, ground="shipped"), 2400), "the same ones every time"


def made_up() -> list[Seen]:
    """A run as long as a real one."""
    before = [Seen(label="pg_dump#1", ordinal=number, kind="Q") for number in range(1, 800)]
    kinds = "QPBDES" * 100
    migration = [Seen(label="migration#1", ordinal=number, kind=kind) for number, kind in enumerate(kinds, start=1)]
    migration.append(Seen(label="commit#1", ordinal=1, kind="P", text="INSERT"))
    migration.append(Seen(label="commit#1", ordinal=2, kind="Q", text="COMMIT"))
    after = [Seen(label="after#1", ordinal=number, kind="Q") for number in range(1, 800)]
    return [*before, *migration, *after]
