"""The three roads to the revisions, what a database looks like before and after, and what a run leaves over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import oracle
import psycopg
import pytest
from alembic import command
from alembic.config import Config
from catalog_rows import catalog_rows

from lawsker_db.evidence import RunReport
from lawsker_db.safety.upgrade import UpgradeOptions, safe_upgrade
from lawsker_db.target import parse_target

LEFT_OVER = (
    "SELECT 'session', application_name FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    " UNION ALL SELECT 'lock', mode FROM pg_locks WHERE pid <> pg_backend_pid()"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND pid NOT IN (SELECT pid FROM pg_stat_activity WHERE backend_type = 'autovacuum worker')"
    " UNION ALL SELECT 'prepared', gid FROM pg_prepared_xacts WHERE database = current_database()"
    " UNION ALL SELECT 'temporary', relname FROM pg_class WHERE relpersistence = 't'"
    " UNION ALL SELECT 'scratch', nspname FROM pg_namespace WHERE nspname ~ '^lawsker_(scratch|probe)'"
    " UNION ALL SELECT 'slot', slot_name FROM pg_replication_slots"
)
SCRATCH = "SELECT datname FROM pg_database WHERE datname LIKE 'lawsker_scratch_%'"


@dataclass(frozen=True)
class Picture:
    """A database as two oracles see it that share no code with the product: the dump and the catalogs' rows."""

    dumped: tuple[str, dict[str, str]]
    catalogs: dict[str, str]


def take_picture(url: str) -> Picture:
    rows_of_both = {**catalog_rows(url, shared=False), **catalog_rows(url, shared=True)}
    return Picture(dumped=oracle.picture(url), catalogs=rows_of_both)


@cache
def _picture_of_template(url: str) -> tuple[tuple[str, dict[str, str]], dict[str, str]]:
    return oracle.picture(url), catalog_rows(url, shared=False)


def picture_of_clone(url: str, template_url: str) -> Picture:
    """What `take_picture` gives of a clone that nobody has touched yet, for a tenth of the time."""
    dumped, catalogs = _picture_of_template(template_url)
    return Picture(dumped=dumped, catalogs={**catalogs, **catalog_rows(url, shared=True)})


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def run(url: str, statements: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statements.encode())


def left_over(url: str) -> list[tuple[Any, ...]]:
    """Sessions, locks, prepared transactions and temporary tables that others have in this database, after a moment: a
    server process ends a little later than its connection."""
    deadline = time.monotonic() + 10
    while (found := rows(url, LEFT_OVER)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def assert_untouched(url: str, before: Picture) -> None:
    """The database is what it was, stamped as it was, with nothing on record, and nobody and nothing is left in it."""
    after = take_picture(url)
    assert [name for name, digest in after.catalogs.items() if digest != before.catalogs.get(name)] == []
    assert after == before
    assert rows(url, "SELECT version_num FROM alembic_version") == [("012",)]
    assert rows(url, "SELECT direction FROM lawsker_db.migration_run") == [("adopt",)]
    assert left_over(url) == []
    assert rows(url, SCRATCH) == []


def rehearsed(url: str, config: Path) -> RunReport:
    """Road 1: `safe-upgrade` as it is, which proves its backup and rehearses on the copy."""
    return _safe_upgrade(url, config, prove=True)


def unrehearsed(url: str, config: Path, on_event: Callable[[Any], None] = lambda event: None) -> RunReport:
    """Road 2: `safe-upgrade` without proof and rehearsal: the gate alone."""
    return _safe_upgrade(url, config, prove=False, on_event=on_event)


def by_alembic(url: str, config: Path) -> None:
    """Road 3: plain `alembic upgrade head`, within this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", url)
        command.upgrade(Config(str(config)), "head")


def _safe_upgrade(
    url: str, config: Path, *, prove: bool, on_event: Callable[[Any], None] = lambda event: None
) -> RunReport:
    options = UpgradeOptions(runs=config.parent / "runs", config=config, patience_s=5, prove=prove)
    return safe_upgrade(parse_target(url), options=options, on_event=on_event)


@contextmanager
def taken_down(url: str, teardown: str) -> Iterator[None]:
    """After the block, take away what would keep the database from being dropped."""
    try:
        yield
    finally:
        if teardown:
            run(url, teardown)
