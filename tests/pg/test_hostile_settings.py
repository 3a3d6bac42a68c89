"""Settings that a role or database brings along change neither what a revision means nor what the gate sees."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import oracle
import psycopg
import pytest
from chains import small_chain
from psycopg import sql

from lawsker_db.errors import GateRefused, Refused
from lawsker_db.evidence import Verdict
from lawsker_db.postgres.session import PINNED
from lawsker_db.safety.upgrade import UpgradeOptions, safe_upgrade
from lawsker_db.target import parse_target

# The setting, what a role may have made of it, and what the revision must find.
HOSTILE = (
    ("row_security", "on", "off"),
    ("lock_timeout", "1ms", "500ms"),
    ("statement_timeout", "5s", "0"),
    ("idle_in_transaction_session_timeout", "5s", "2min"),
    ("synchronous_commit", "off", "on"),
    ("client_min_messages", "debug5", "warning"),
    ("client_encoding", "LATIN1", "UTF8"),
    ("DateStyle", "German, DMY", "ISO, YMD"),
    ("IntervalStyle", "sql_standard", "postgres"),
    ("TimeZone", "Asia/Kathmandu", "UTC"),
    ("extra_float_digits", "-15", "1"),
    ("bytea_output", "escape", "hex"),
    ("xmloption", "document", "content"),
    ("quote_all_identifiers", "on", "off"),
    ("standard_conforming_strings", "off", "on"),
    ("check_function_bodies", "off", "on"),
    ("default_tablespace", "pg_default", ""),
    ("default_table_access_method", "heap", "heap"),
    ("default_transaction_deferrable", "on", "off"),
    ("enable_seqscan", "off", "on"),
    ("enable_hashjoin", "off", "on"),
    ("jit", "on", "off"),
    ("max_parallel_workers_per_gather", "8", "0"),
)
OTHERS = (
    ("default_transaction_read_only", "on"),
    ("default_transaction_isolation", "serializable"),
    ("search_path", "nowhere, public, audit"),
    ("track_counts", "off"),
    ("backslash_quote", "on"),
    ("escape_string_warning", "off"),
    ("transform_null_equals", "on"),
    ("array_nulls", "off"),
    ("default_statistics_target", "1"),
    ("work_mem", "64kB"),
    ("temp_buffers", "100"),
    ("force_parallel_mode", "on"),
    ("lc_numeric", "C"),
    ("lc_monetary", "C"),
    ("plpgsql.variable_conflict", "use_column"),
    ("zero_damaged_pages", "on"),
    ("constraint_exclusion", "off"),
)
OFTEN = 6  # of these, the first that many within make test
READ = 'found = op.get_bind().exec_driver_sql("SHOW {name}").scalar_one()\nassert found == {pinned!r}, found\n'
TABLE = (
    'op.create_table("kept_things", sa.Column("id", sa.Integer(), nullable=False),'
    ' sa.PrimaryKeyConstraint("id", name="kept_things_pkey"))\nop.drop_table("kept_things")\n'
)


def configure(url: str, name: str, value: str) -> None:
    """Have every new session of the database begin with the setting."""
    with psycopg.connect(url, autocommit=True) as connection:
        database = sql.Identifier(urlsplit(url).path[1:])
        parts = sql.SQL(".").join(sql.Identifier(part) for part in name.split("."))
        items = (
            sql.SQL(", ").join(sql.Literal(item.strip()) for item in value.split(","))
            if name == "search_path"
            else None
        )
        given = sql.Literal(value) if items is None else items
        connection.execute(sql.SQL("ALTER DATABASE {} SET {} = {}").format(database, parts, given))


def upgrade(url: str, folder: Path, body: str, contract: str = "") -> Verdict:
    options = UpgradeOptions(runs=folder / "runs", config=small_chain(folder, (body, contract)), prove=False)
    return safe_upgrade(parse_target(url), options=options).verdict


EVERY_SECOND = [
    pytest.param(*setting, id=setting[0], marks=() if place % 2 == 0 else pytest.mark.long)
    for place, setting in enumerate(HOSTILE)
]


@pytest.mark.parametrize(("name", "value", "pinned"), EVERY_SECOND)
def test_a_revision_runs_with_the_pinned_value_whatever_the_database_says(
    name: str, value: str, pinned: str, adopted_url: str, tmp_path: Path
) -> None:
    configure(adopted_url, name, value)
    assert upgrade(adopted_url, tmp_path, READ.format(name=name, pinned=pinned) + TABLE) is Verdict.DONE


def test_every_pinned_setting_has_its_hostile_test() -> None:
    assert set(PINNED) == {name for name, _, _ in HOSTILE}


HARM = (
    "op.execute(\"UPDATE public.case_logs SET action = 'x'"
    ' WHERE id = (SELECT min(l.id::text)::uuid FROM case_logs l)")'
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param(name, value, id=f"{name}={value}", marks=() if place < OFTEN else pytest.mark.long)
        for place, (name, value) in enumerate(OTHERS)
    ],
)
def test_other_settings_let_no_harm_pass_and_refuse_nothing_harmless(
    name: str, value: str, adopted_url: str, tmp_path: Path
) -> None:
    try:
        configure(adopted_url, name, value)
    except psycopg.errors.UndefinedObject:
        assert name == "force_parallel_mode"  # of another name from 16 on
        configure(adopted_url, "debug_parallel_query", value)
    before = oracle.content(adopted_url)
    with pytest.raises(GateRefused, match=r"public\.case_logs"):
        upgrade(adopted_url, tmp_path / "harm", HARM)
    assert oracle.content(adopted_url) == before
    assert upgrade(adopted_url, tmp_path / "none", TABLE) is Verdict.DONE


@pytest.mark.parametrize("path", ["audit, pg_catalog", "nowhere"])
def test_a_path_that_leads_elsewhere_is_refused_before_anything_begins(
    path: str, adopted_url: str, tmp_path: Path
) -> None:
    configure(adopted_url, "search_path", path)
    with pytest.raises(Refused):
        upgrade(adopted_url, tmp_path, TABLE)


def test_a_session_in_which_triggers_are_silent_is_refused_before_anything_begins(
    adopted_url: str, tmp_path: Path
) -> None:
    configure(adopted_url, "session_replication_role", "replica")
    with pytest.raises(Refused, match="session_replication_role = replica"):
        upgrade(adopted_url, tmp_path, "pass")


def test_a_revision_that_changes_settings_is_judged_under_the_pinned_ones(adopted_url: str, tmp_path: Path) -> None:
    body = (
        "op.execute(\"SET LOCAL row_security = on; SET LOCAL DateStyle = 'German'; SET LOCAL search_path = audit, public;"
        ' SET LOCAL synchronous_commit = off; SET LOCAL session_replication_role = replica")\n' + HARM
    )
    with pytest.raises((GateRefused, Refused)):
        upgrade(adopted_url, tmp_path, body)
