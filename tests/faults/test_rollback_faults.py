"""A rollback that is killed, interrupted or cut off: upgraded or rolled back with its archive, and `recover` says which."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from command_line import Running, eventually, everything, run, sessions, started
from killed import killed_at_commit, the_run
from migrated import BUSINESS, migrate
from proxy import At, proxy

from lawsker_db.revisions import load_chain
from lawsker_db.safety.returned import check_returned
from lawsker_db.target import parse_target

ROLLBACK = ("rollback", "--yes")
WAITING = """
    SELECT count(*) > 0 FROM pg_locks l JOIN pg_database d ON d.oid = l.database
    WHERE NOT l.granted AND l.locktype = 'relation' AND d.datname = current_database()
"""


@pytest.fixture
def used_url(adopted_url: str) -> str:
    """A database that was upgraded and used."""
    migrate(adopted_url)
    with psycopg.connect(adopted_url) as connection:
        for statement in BUSINESS:
            connection.execute(statement.encode())
    return adopted_url


def stamp(url: str) -> str:
    with psycopg.connect(url) as conn:
        row = conn.execute("SELECT version_num FROM alembic_version").fetchone()
    assert row is not None
    return str(row[0])


def is_back_with_everything(url: str) -> bool:
    """Rolled back, and the archive is what the record says."""
    return stamp(url) == "012" and not [c for c in check_returned(parse_target(url), load_chain()) if c.fails]


@contextmanager
def held_up(folder: Path, url: str) -> Iterator[Running]:
    """A rollback under way that waits for somebody who reads one of the tables that go."""

    def waits() -> bool:
        with psycopg.connect(url) as conn:
            row = conn.execute(WAITING.encode()).fetchone()
        return bool(row and row[0])

    with psycopg.connect(url) as other:
        other.execute("SELECT FROM lawyer_levels")
        with started(folder, *ROLLBACK, url=url) as tool:
            assert eventually(lambda: waits() or tool.child.poll() is not None)
            assert tool.child.poll() is None, tool.said()
            yield tool


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGTERM, marks=pytest.mark.faults),
        pytest.param(signal.SIGINT, marks=pytest.mark.faults),
    ],
)
def test_a_rollback_that_is_stopped_before_its_locks_leaves_the_upgraded_database(
    number: signal.Signals, used_url: str, tmp_path: Path
) -> None:
    before = everything(used_url)
    with held_up(tmp_path, used_url) as tool:
        tool.child.send_signal(number)
        ended = tool.end()
    assert ended.code == (-signal.SIGKILL if number is signal.SIGKILL else 130), ended.said
    assert eventually(lambda: not sessions(used_url))
    assert everything(used_url) == before
    settled = run(tmp_path, "recover", url=used_url)
    assert settled.code == 0, settled.said
    if number is signal.SIGKILL:
        assert f"Run {the_run(tmp_path).name}: rolled back:" in settled.out
    assert run(tmp_path, *ROLLBACK, url=used_url).code == 0
    assert is_back_with_everything(used_url)


@pytest.mark.parametrize(
    ("at", "outcome"),
    [(At.ANSWERED, "committed"), pytest.param(At.LOST, "rolled back", marks=pytest.mark.faults)],
)
def test_recover_tells_what_became_of_a_rollback_that_was_killed_at_its_commit(
    at: At, outcome: str, used_url: str, tmp_path: Path
) -> None:
    before = everything(used_url)
    folder = killed_at_commit(tmp_path, used_url, at, ROLLBACK)
    assert eventually(lambda: not sessions(used_url))
    settled = run(tmp_path, "recover", url=used_url)
    assert (settled.code, f"Run {folder.name}: {outcome}:" in settled.out) == (0, True), settled.said
    if outcome == "committed":
        assert is_back_with_everything(used_url)
    else:
        assert everything(used_url) == before


@pytest.mark.faults
@pytest.mark.parametrize(("at", "code"), [(At.LOST, 11), (At.ANSWER_LOST, 0), (At.ANSWERED, 0)])
def test_a_rollback_whose_connection_is_lost_at_commit_says_what_became_of_it(
    at: At, code: int, used_url: str, tmp_path: Path
) -> None:
    before = everything(used_url)
    with proxy(used_url, at) as between:
        ended = run(tmp_path, *ROLLBACK, "--reconnect", "10", url=between.url)
    assert ended.code == code, ended.said
    if code:
        assert everything(used_url) == before
    else:
        assert is_back_with_everything(used_url)
