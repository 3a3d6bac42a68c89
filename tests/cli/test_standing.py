"""`status`, `history`, `doctor`: each word is provoked on a real server, each lie in the record found, each lack mended.

What doctor says mends a lack is typed as it stands, and mends it.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from command_line import eventually, everything, run, script
from killed import killed_at_commit
from proxy import At
from servers import breakable, standby_of
from tls_door import HOST, tls_door

from lawsker_db.demo.server import throwaway_server
from lawsker_db.evidence import Event, Phase
from lawsker_db.postgres import locks
from lawsker_db.postgres.kept import begin_archive
from lawsker_db.postgres.session import identify
from lawsker_db.record.history import CARRIED, RESTORE, Run, replacing, write_marker
from lawsker_db.record.journal import Journal, as_json, new_run_id
from lawsker_db.safety.errands import ERRAND
from lawsker_db.target import parse_target

UPGRADE = ("safe-upgrade", "--yes", "--no-rehearsal")


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement.encode())


def value(url: str, query: str) -> Any:
    with psycopg.connect(url) as conn:
        row = conn.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def status(folder: Path, url: str, *more: str) -> tuple[str, int, str]:
    """The word, the exit code with --exit-code, and what is to be typed next; without --exit-code it always ends with 0."""
    ended = run(folder, "status", *more, url=url)
    assert (ended.code, ended.err) == (0, ""), ended.said
    in_json = run(folder, "status", "--exit-code", "--json", *more, url=url)
    document = in_json.document
    assert document["exit_code"] == in_json.code
    lines = ended.out.splitlines()
    assert lines[0].startswith(f"{document['word'].upper()}: ")
    assert lines[-1] == f"Next: {document['hint']}"
    return document["word"], in_json.code, document["hint"]


# ---- status: every word ----------------------------------------------------------------------------------------------


def test_a_database_that_nobody_stamped_is_not_stamped(sample_url: str, tmp_path: Path) -> None:
    assert status(tmp_path, sample_url) == ("not stamped", 10, "lawsker-db adopt --dry-run")
    assert "Last run: none on record" in run(tmp_path, "status", url=sample_url).out


def test_what_is_pending_is_told_with_its_title(adopted_url: str, tmp_path: Path) -> None:
    before = everything(adopted_url)
    assert status(tmp_path, adopted_url) == ("pending", 10, "lawsker-db safe-upgrade")
    out = run(tmp_path, "status", url=adopted_url).out
    assert "Pending: 013  Business optimization" in out
    assert "Backup: no proven one of this database in lawsker-runs" in out
    assert everything(adopted_url) == before
    assert not list(tmp_path.iterdir())


def test_a_revision_that_the_chain_does_not_have_is_unknown(adopted_url: str, tmp_path: Path) -> None:
    execute(adopted_url, "UPDATE alembic_version SET version_num = '999'")
    word, code, hint = status(tmp_path, adopted_url)
    assert (word, code, "--config FILE" in hint) == ("unknown revision", 10, True)


def test_a_chain_of_others_is_named_again_in_what_to_type(adopted_url: str, tmp_path: Path) -> None:
    versions = tmp_path / "chain" / "versions"
    versions.mkdir(parents=True)
    (versions.parent / "env.py").write_text("")
    (versions.parent / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s\npath_separator = os\n")
    (versions / "012.py").write_text('revision = "012"\ndown_revision = None\n')
    (versions / "x1.py").write_text('"""Their own."""\nrevision = "x1"\ndown_revision = "012"\n')
    ini = str(versions.parent / "alembic.ini")
    word, code, hint = status(tmp_path, adopted_url, "--config", ini)
    assert (word, code, hint) == ("pending", 10, f"lawsker-db safe-upgrade --config {ini}")
    assert "Pending: x1  Their own." in run(tmp_path, "status", "--config", ini, url=adopted_url).out


def test_a_run_that_holds_the_lock_is_at_work(adopted_url: str, tmp_path: Path) -> None:
    with locks.run_lock(parse_target(adopted_url)):
        word, code, hint = status(tmp_path, adopted_url)
        assert (word, code, hint) == ("run at work", 15, "when it has ended: lawsker-db status")
        out = run(tmp_path, "status", url=adopted_url).out
        assert "At work: " in out
        assert "Pending: 013" in out
    assert status(tmp_path, adopted_url)[0] == "pending"


def test_a_run_killed_at_its_commit_leaves_an_unknown_outcome_until_recover(adopted_url: str, tmp_path: Path) -> None:
    folder = killed_at_commit(tmp_path, adopted_url, At.LOST, UPGRADE)
    before = everything(adopted_url)
    assert status(tmp_path, adopted_url) == ("outcome unknown", 12, "lawsker-db recover")
    out = run(tmp_path, "status", url=adopted_url).out
    assert f"To settle: run, outcome unknown {folder.name}: " in out
    assert f"Last run: {folder.name}, " in out
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    runs = str(tmp_path / "lawsker-runs")
    assert status(elsewhere, adopted_url, "--runs", runs)[2] == f"lawsker-db recover --runs {runs}"
    assert status(elsewhere, adopted_url)[0] == "pending"
    assert everything(adopted_url) == before
    assert run(tmp_path, "recover", url=adopted_url).code == 0
    assert status(tmp_path, adopted_url)[:2] == ("pending", 10)
    assert ": no row in the history; report: rolled back" in run(tmp_path, "status", url=adopted_url).out


def test_a_run_killed_after_its_commit_is_told_as_committed_and_still_to_be_settled(
    adopted_url: str, tmp_path: Path
) -> None:
    folder = killed_at_commit(tmp_path, adopted_url, At.ANSWERED, UPGRADE)
    assert status(tmp_path, adopted_url) == ("left-overs to settle", 10, "lawsker-db recover")
    out = run(tmp_path, "status", url=adopted_url).out
    assert f"To settle: run, not told {folder.name}: " in out
    assert "it committed, and its folder does not say so" in out
    assert run(tmp_path, "recover", url=adopted_url).code == 0
    assert status(tmp_path, adopted_url)[0] == "at head"


def test_a_row_that_the_journal_of_its_run_does_not_explain_is_in_doubt_for_status_and_recover_alike(
    adopted_url: str, tmp_path: Path
) -> None:
    (run_id,) = mark(adopted_url, made())
    with parse_target(adopted_url).connect() as conn:
        here = as_json(asdict(identify(conn)))
    (tmp_path / "lawsker-runs" / run_id).mkdir(parents=True)
    with Journal(tmp_path / "lawsker-runs" / run_id) as journal:
        journal.write(Event(phase=Phase.PLAN, name="opened", text="", facts=here))
    assert status(tmp_path, adopted_url) == ("outcome unknown", 12, "lawsker-db recover")
    why = "its marker row is there, and its journal knows of no COMMIT"
    told = [run(tmp_path, typed, url=adopted_url) for typed in ("status", "doctor", "recover")]
    assert [why in ended.out for ended in told] == [True, True, True]
    assert told[-1].code == 12


@pytest.mark.long
def test_a_scratch_database_that_an_ended_run_names_is_to_be_settled_and_a_strangers_is_not(
    adopted_url: str, tmp_path: Path
) -> None:
    ours, strangers = (f"lawsker_scratch_{secrets.token_hex(6)}" for _ in range(2))
    execute(adopted_url, f"CREATE DATABASE {ours}", f"CREATE DATABASE {strangers}")
    try:
        folder = tmp_path / "lawsker-runs" / new_run_id("verify")
        assert status(tmp_path, adopted_url)[:2] == ("pending", 10)
        assert f"Kept: scratch database of nobody here {ours}: " in run(tmp_path, "status", url=adopted_url).out
        folder.mkdir(parents=True, mode=0o700)
        with Journal(folder, ERRAND) as journal:
            journal.write(Event(phase=Phase.PROOF, name="scratch", text="", facts={"database": ours}))
        assert status(tmp_path, adopted_url) == ("left-overs to settle", 10, "lawsker-db recover")
        left = {one["name"]: one for one in run(tmp_path, "status", "--json", url=adopted_url).document["leftovers"]}
        assert (left[ours]["kind"], left[strangers]["kind"]) == ("scratch database", "scratch database of nobody here")
        assert left[ours]["bytes"] > 1_000_000
        assert left[ours]["since"] is not None
        last = next(line for line in run(tmp_path, "status", url=adopted_url).out.splitlines() if "Last run" in line)
        assert "unknown" not in last, "it never came to a COMMIT"
        assert run(tmp_path, "recover", url=adopted_url).code == 0
        assert status(tmp_path, adopted_url)[:2] == ("pending", 10)
    finally:
        execute(adopted_url, f"DROP DATABASE IF EXISTS {ours}", f"DROP DATABASE IF EXISTS {strangers}")


@pytest.mark.long
def test_a_standby_says_so_and_sends_to_the_primary(tmp_path: Path) -> None:
    with breakable(settings={"wal_level": "replica", "max_wal_senders": "4"}) as primary:
        execute(primary.url(), "CREATE DATABASE shop")
        with standby_of(primary) as standby:
            word, code, hint = status(tmp_path, standby.url("shop"))
            assert (word, code) == ("standby", 10)
            assert hint.startswith("ask the primary")


@pytest.mark.long
def test_archives_and_damaged_databases_are_listed_as_kept_and_stop_nothing(adopted_url: str, tmp_path: Path) -> None:
    damaged = f"damaged_{secrets.token_hex(4)}"
    execute(adopted_url, f"CREATE DATABASE {damaged}")
    try:
        oid = value(adopted_url, f"SELECT oid::int FROM pg_database WHERE datname = '{damaged}'")
        mark(adopted_url, made(RESTORE, steps=replacing(oid, "as it was called"), rows_made={CARRIED: 0}))
        with parse_target(adopted_url).connect() as conn:
            archive = begin_archive(conn, new_run_id("012"), "public")
            conn.commit()
        execute(adopted_url, "CREATE SCHEMA lawsker_archive_of_somebody")
        assert status(tmp_path, adopted_url)[:2] == ("pending", 10)
        out = run(tmp_path, "status", url=adopted_url).out
        assert f"Kept: damaged database {damaged}: " in out
        assert f"Kept: archive {archive}: 0.0 MB, " in out
        assert "Kept: archive lawsker_archive_of_somebody: no archive that this role may read" in out
        with psycopg.connect(adopted_url) as dropping:
            dropping.execute(f"LOCK TABLE {archive}.archive IN ACCESS EXCLUSIVE MODE".encode())
            locked = run(tmp_path, "status", url=adopted_url)
        assert "archives could not be looked at" in locked.out
        assert f"Kept: damaged database {damaged}: " in locked.out
    finally:
        execute(adopted_url, f"DROP DATABASE {damaged}")


@pytest.mark.long
def test_a_database_whose_gate_a_killed_restore_closed_sends_to_recover(adopted_url: str, tmp_path: Path) -> None:
    with parse_target(adopted_url).connect() as conn:
        server = identify(conn)
    folder = tmp_path / "lawsker-runs" / new_run_id("restore")
    folder.mkdir(parents=True, mode=0o700)
    facts = {"system_identifier": server.system_identifier, "database_oid": server.database_oid}
    with Journal(folder) as journal:
        journal.write(Event(phase=Phase.PLAN, name="opened", text="", facts=facts))
        journal.write(Event(phase=Phase.SWAP, name="gate closed", text="", facts=facts))
    admin = adopted_url.replace(server.database, "postgres")
    execute(admin, f"ALTER DATABASE {server.database} ALLOW_CONNECTIONS false")
    try:
        shut = run(tmp_path, "status", url=adopted_url)
        assert (shut.code, shut.line("Next")) == (10, "lawsker-db recover")
        doctor = run(tmp_path, "doctor", url=adopted_url)
        assert "FAIL     connection: database lets nobody in: " in doctor.out
        assert doctor.out.splitlines()[-1] == "Next: lawsker-db recover"
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        mend = f'ALTER DATABASE "{server.database}" ALLOW_CONNECTIONS true'
        assert run(elsewhere, "doctor", url=adopted_url).out.splitlines()[-1] == f"Next: {mend}"
    finally:
        execute(admin, f"ALTER DATABASE {server.database} ALLOW_CONNECTIONS true")


def test_after_an_upgrade_last_run_and_backup_are_told_and_the_record_is_whole_until_its_last_row_is_cut_off(
    adopted_url: str, tmp_path: Path
) -> None:
    ended = run(tmp_path, *UPGRADE, "--json", url=adopted_url)
    assert ended.code == 0, ended.said
    run_id = ended.document["run_id"]
    assert status(tmp_path, adopted_url) == ("at head", 0, "lawsker-db verify")
    document = run(tmp_path, "status", "--json", url=adopted_url).document
    assert (document["last"]["run_id"], document["last"]["verdict"], document["last"]["committed"]) == (
        run_id,
        "done",
        True,
    )
    assert (document["backup"]["backup_id"], document["backup"]["revision"]) == (run_id, ["012"])
    whole = run(tmp_path, "history", url=adopted_url)
    assert (whole.code, whole.err) == (0, "")
    assert whole.out.splitlines()[1] == f"  run {run_id}"
    assert "WHOLE: 2 runs" in whole.out
    assert "1 of 2 runs have one" in whole.out

    execute(adopted_url, f"DELETE FROM lawsker_db.migration_run WHERE run_id = '{run_id}'")
    cut = run(tmp_path, "history", url=adopted_url)
    assert cut.code == 13
    assert f"MISSING: run {run_id}: " in cut.out
    assert "BROKEN: " in cut.out
    in_json = run(tmp_path, "history", "--json", url=adopted_url).document
    assert [(flaw["kind"], flaw["run_id"]) for flaw in in_json["flaws"]] == [("missing", run_id)]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    nothing_proven = run(elsewhere, "history", url=adopted_url)
    assert nothing_proven.code == 0
    assert "Rows cut off at the end leave no trace in a chain" in nothing_proven.out


# ---- history: a record that was tampered with ------------------------------------------------------------------------


def made(direction: str = "upgrade", **more: Any) -> Run:
    return Run(
        **{
            "run_id": new_run_id("013"),
            "direction": direction,
            "via": "by hand",
            "from_revisions": ("012",),
            "to_revisions": ("013",),
            "rows_made": {"public.one": 3},
            **more,
        }
    )


def mark(url: str, *runs: Run) -> list[str]:
    """Write the rows of these runs as a run writes its own."""
    for one in runs:
        with parse_target(url).connect() as conn:
            write_marker(conn, one, identify(conn))
            conn.commit()
    return [one.run_id for one in runs]


@pytest.fixture
def recorded(adopted_url: str) -> tuple[str, list[str]]:
    """A database with four rows in its history: the adoption, and three more."""
    return adopted_url, mark(adopted_url, made(), made("downgrade"), made(backup_id="20260101T000000Z-013-aaaaaa"))


def flaws(folder: Path, url: str) -> tuple[int, list[tuple[str, str]]]:
    ended = run(folder, "history", "--json", url=url)
    return ended.code, [(flaw["kind"], flaw["run_id"]) for flaw in ended.document["flaws"]]


def test_the_history_is_listed_newest_first_and_as_many_as_asked_for(
    recorded: tuple[str, list[str]], tmp_path: Path
) -> None:
    url, ids = recorded
    document = run(tmp_path, "history", "--json", url=url).document
    assert [past["run_id"] for past in document["runs"]][:3] == ids[::-1]
    newest = document["runs"][0]
    assert (newest["from_revisions"], newest["to_revisions"], newest["rows_made"]) == (
        ["012"],
        ["013"],
        {"public.one": 3},
    )
    assert (newest["from_address"], newest["backup_id"]) == ("local socket", "20260101T000000Z-013-aaaaaa")
    assert {"made_at", "by_user", "via", "tool_version", "here", "undone", "intact"} <= set(newest)
    short = run(tmp_path, "history", "--limit", "1", url=url).out
    assert f"  run {ids[2]}" in short
    assert ids[1] not in short
    assert "... and 3 older ones" in short
    assert "WHOLE: 4 runs" in short


def test_a_row_that_was_altered_is_named(recorded: tuple[str, list[str]], tmp_path: Path) -> None:
    url, ids = recorded
    execute(url, f"UPDATE lawsker_db.migration_run SET by_user = 'nobody' WHERE run_id = '{ids[1]}'")
    assert flaws(tmp_path, url) == (13, [("altered", ids[1])])
    out = run(tmp_path, "history", url=url).out
    assert f"ALTERED: run {ids[1]}: its row is not what was written" in out
    assert "lawsker-db history" in run(tmp_path, "status", url=url).out


def test_a_row_in_the_middle_that_is_gone_leaves_a_gap_behind_which_the_next_is_named(
    recorded: tuple[str, list[str]], tmp_path: Path
) -> None:
    url, ids = recorded
    execute(url, f"DELETE FROM lawsker_db.migration_run WHERE run_id = '{ids[1]}'")
    assert flaws(tmp_path, url) == (13, [("gap", ids[2])])
    out = run(tmp_path, "history", url=url).out
    assert f"GAP: run {ids[2]}: between it and run {ids[0]} a row is missing, or was replaced" in out


def test_the_first_row_that_is_gone_is_a_gap_too(recorded: tuple[str, list[str]], tmp_path: Path) -> None:
    url, ids = recorded
    execute(url, "DELETE FROM lawsker_db.migration_run WHERE direction = 'adopt'")
    assert flaws(tmp_path, url) == (13, [("gap", ids[0])])


@pytest.mark.parametrize(
    "nonsense",
    [
        "rows_made = '[1]', fingerprints = '[{}]'",
        "rows_made = '\"x\"', fingerprints = '3'",
        "made_at = 'infinity'",
        "made_at = '-infinity'",
        "made_at = '20000-01-01'",
        "from_revisions = ARRAY[NULL], to_revisions = ARRAY[ARRAY['a']]",
        "direction = 'restore', steps = ARRAY['x', 'y']",
        "direction = 'restore', steps = ARRAY['1', 'y'], rows_made = '{\"lawsker_db.migration_run\": \"x\"}'",
        "run_id = E'\\x1b[2J'",
        "row_hash = ''",
    ],
)
def test_whatever_somebody_writes_into_a_row_it_is_read_and_named(
    nonsense: str, recorded: tuple[str, list[str]], tmp_path: Path
) -> None:
    url, ids = recorded
    execute(
        url,
        "ALTER TABLE lawsker_db.migration_run DROP CONSTRAINT migration_run_direction_check",
        f"UPDATE lawsker_db.migration_run SET {nonsense} WHERE run_id = '{ids[1]}'",
    )
    ended = run(tmp_path, "history", url=url)
    assert (ended.code, ended.err) == (13, ""), ended.said
    assert "ALTERED: run " in ended.out
    assert "\x1b" not in ended.out
    assert run(tmp_path, "status", url=url).code == 0


def test_a_role_that_may_not_read_the_history_is_told_the_grant_and_status_goes_on(
    adopted_url: str, tmp_path: Path
) -> None:
    with ordinary_role(adopted_url, "GRANT SELECT ON alembic_version TO {role}") as url:
        ended = run(tmp_path, "history", url=url)
        assert ended.code == 10
        grants = ended.line("Next").split("; ")
        found = run(tmp_path, "status", url=url)
        assert (found.code, "this role may not read the history" in found.out) == (0, True), found.said
        execute(adopted_url, *grants)
        assert run(tmp_path, "history", url=url).code == 0
        assert "may not read the history" not in run(tmp_path, "status", url=url).out


# ---- doctor: no connection -------------------------------------------------------------------------------------------


def connection(folder: Path, url: str, **variables: str) -> tuple[str, str]:
    """Why there is no connection, and what mends that, as doctor says it; it tells settings and programs all the same."""
    ended = run(folder, "doctor", url=url, **variables)
    assert (ended.code, ended.err) == (10, ""), ended.said
    lines = ended.out.splitlines()
    assert lines[0].endswith(", which could not be asked")
    assert "Settings:" in lines
    assert "Programs:" in lines
    assert lines[-2].startswith("NOT READY: ")
    assert "PASS     server" not in ended.out
    document = run(folder, "doctor", "--json", url=url, **variables).document
    assert (document["ready"], document["server"]) == (False, None)
    (failed,) = (check for check in document["checks"] if check["status"] == "FAIL")
    assert lines[-1] == f"Next: {failed['detail']}"
    assert failed["name"] == "connection"
    return failed["found"].partition(":")[0], failed["detail"]


def test_where_nobody_listens_doctor_says_so(tmp_path: Path) -> None:
    cause, mend = connection(tmp_path, "postgresql://somebody:geheim@127.0.0.1:1/x")
    assert (cause, mend.endswith("pg_isready -h 127.0.0.1 -p 1")) == ("nobody listens there", True)
    assert "geheim" not in run(tmp_path, "doctor", url="postgresql://somebody:geheim@127.0.0.1:1/x").said


@pytest.mark.long
def test_a_host_that_does_not_exist_is_told_from_one_that_does_not_answer(tmp_path: Path) -> None:
    assert connection(tmp_path, "postgresql://somebody@no-such-host.invalid/x")[0] == "unknown host"
    assert connection(tmp_path, "postgresql:///x?host=/nowhere&user=somebody")[0] == "no socket there"


@pytest.mark.long
def test_what_takes_connections_and_never_answers_is_silent(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as silent:
        url = f"postgresql://somebody@127.0.0.1:{silent.getsockname()[1]}/x?connect_timeout=2"
        assert connection(tmp_path, url)[0] == "no answer"


def test_a_database_that_does_not_exist_is_told_in_any_language_of_the_server(server: Any, tmp_path: Path) -> None:
    cause, mend = connection(tmp_path, server.url("no_such_database"))
    assert (cause, " -l " in mend) == ("no such database", True)


@pytest.mark.long
def test_wrong_passwords_missing_rules_and_missing_tls_are_told_apart(tmp_path: Path) -> None:
    with throwaway_server(settings={"listen_addresses": "127.0.0.1"}) as server:
        execute(
            server.url(), "CREATE ROLE clerk LOGIN PASSWORD 'right'", "CREATE DATABASE shop", "CREATE ROLE shut LOGIN"
        )
        execute(server.url(), "REVOKE CONNECT ON DATABASE shop FROM PUBLIC")
        rules = server.data_folder / "pg_hba.conf"
        kept = rules.read_text()
        rules.write_text(
            f"local all clerk scram-sha-256\nlocal all shut reject\nhost all all 127.0.0.1/32 trust\n{kept}"
        )
        execute(server.url(), "SELECT pg_reload_conf()")
        port = value(server.url(), "SELECT current_setting('port')")

        def way(user: str) -> str:
            return f"postgresql://{user}@/shop?host={quote(str(server.folder), safe='')}&port={port}"

        cause, mend = connection(tmp_path, way("clerk:wrong"))
        assert (cause, ":PASSWORD in ~/.pgpass" in mend, "wrong" in mend) == ("wrong password", True, False)
        assert connection(tmp_path, way("shut"))[0] == "not admitted"
        grant = connection(tmp_path, way("clerk:right"))
        assert grant == ("no right to connect", 'GRANT CONNECT ON DATABASE "shop" TO "clerk"')
        tls = connection(tmp_path, f"postgresql://postgres@127.0.0.1:{port}/shop?sslmode=require")
        assert (tls[0], "ALTER SYSTEM SET ssl = on" in tls[1]) == ("the server has no TLS", True)
        execute(server.url(), grant[1], "ALTER ROLE clerk CONNECTION LIMIT 0")
        assert connection(tmp_path, way("clerk:right"))[0] == "too many connections"


@pytest.fixture(scope="module")
def behind_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """An address of a database that lets the role clerk in through TLS alone, and the certificate of its server."""
    certificate = tmp_path_factory.mktemp("tls") / "server.pem"
    with throwaway_server(settings={"listen_addresses": "127.0.0.1"}) as server:
        execute(server.url(), "CREATE ROLE clerk LOGIN PASSWORD 'right'")
        (server.data_folder / "pg_hba.conf").write_text("local all clerk scram-sha-256\nlocal all all trust\n")
        execute(server.url(), "SELECT pg_reload_conf()")
        behind = int(value(server.url(), "SHOW port"))
        assert eventually(lambda: not admits(f"postgresql://clerk@127.0.0.1:{behind}/postgres"))
        with tls_door(server.folder, behind, certificate) as port:
            yield f"{HOST}:{port}/postgres", certificate


def admits(url: str) -> bool:
    with suppress(psycopg.OperationalError), psycopg.connect(url):
        return True
    return False


TRIES = {
    ("wrong", "prefer"): "wrong password",
    ("wrong", "require"): "wrong password",
    ("right", "disable"): "the server wants TLS",
    ("right", "verify-full&sslrootcert=/nowhere"): "certificate not accepted",
}


@pytest.mark.parametrize(("password", "mode"), TRIES)
def test_what_a_server_that_takes_tls_alone_refuses_has_its_own_cause(
    password: str, mode: str, behind_tls: tuple[str, Path], tmp_path: Path
) -> None:
    """With sslmode=prefer libpq tries once more without TLS, and is refused for that."""
    found = connection(tmp_path, f"postgresql://clerk:{password}@{behind_tls[0]}?sslmode={mode}")[0]
    assert found == TRIES[password, mode]


@pytest.mark.parametrize(
    ("mode", "status", "says"),
    [
        ("require", "WARN", "encrypted (sslmode=require), but the server has not proven who it is"),
        ("verify-full&sslrootcert={certificate}", "PASS", "encrypted, and the server has proven who it is"),
    ],
)
def test_the_way_to_the_server_is_judged_by_its_encryption_and_by_the_proof_of_who_it_is(
    mode: str, status: str, says: str, behind_tls: tuple[str, Path], tmp_path: Path
) -> None:
    place, certificate = behind_tls
    sslmode = mode.format(certificate=quote(str(certificate), safe=""))
    ended = run(tmp_path, "doctor", "--json", url=f"postgresql://clerk:right@{place}?sslmode={sslmode}")
    (way,) = (check for check in ended.document["checks"] if check["name"] == "way to the server")
    assert (way["status"], way["found"].partition(":")[0]) == (status, says)


# ---- doctor: a connection --------------------------------------------------------------------------------------------


@contextmanager
def ordinary_role(url: str, *grants: str) -> Iterator[str]:
    """The URL of a role that may do nothing but what it is granted, which is gone after the block."""
    role = f'clerk "{secrets.token_hex(3)}"'
    name = role.replace('"', '""')
    execute(url, f'CREATE ROLE "{name}" LOGIN', *(grant.format(role=f'"{name}"') for grant in grants))
    joint = "&" if "?" in url else "?"
    try:
        yield f"{url}{joint}user={quote(role)}" if "user=" not in url else _as(url, role)
    finally:
        execute(url, f'DROP OWNED BY "{name}"', f'DROP ROLE "{name}"')


def _as(url: str, role: str) -> str:
    before, _, after = url.partition("user=")
    return f"{before}user={quote(role)}{after[len(after.partition('&')[0]) :]}"


@pytest.mark.long
def test_every_lack_of_an_ordinary_role_is_mended_by_the_very_statement_that_doctor_prints(
    adopted_url: str, tmp_path: Path
) -> None:
    with ordinary_role(adopted_url) as url:
        typed: list[str] = []
        for _ in range(8):
            ended = run(tmp_path, "doctor", "--json", url=url)
            if ended.code == 0:
                break
            failed = [check for check in ended.document["checks"] if check["status"] == "FAIL"]
            mends = [check["hint"] or check["detail"] for check in failed]
            for mend in dict.fromkeys(mends):
                assert mend not in typed, f"{mend} mends nothing"
                typed.append(mend)
                execute(adopted_url, *mend.split("; "))
        assert (ended.code, ended.document["ready"]) == (0, True), ended.said
        kinds = {" ".join(mend.split()[:2]) for mend in typed}
        assert {"GRANT CREATE", "GRANT SELECT", "ALTER ROLE"} <= kinds, typed
        warned = [check for check in ended.document["checks"] if check["name"] == "right: to see other sessions"]
        execute(adopted_url, *(check["detail"] for check in warned))
        out = run(tmp_path, "doctor", url=url).out
        assert "right: to see other sessions" in next(line for line in out.splitlines() if " granted: " in line)


def test_without_client_programs_doctor_says_which_package_to_install(adopted_url: str, tmp_path: Path) -> None:
    ended = run(tmp_path, "doctor", url=adopted_url, LAWSKER_PG_BIN=str(tmp_path))
    major = value(adopted_url, "SELECT current_setting('server_version_num')::int / 10000")
    assert ended.code == 10
    assert f"Next: apt-get install postgresql-client-{major}" in ended.out.splitlines()
    assert f"LAWSKER_PG_BIN: {tmp_path}, from LAWSKER_PG_BIN, looked for nowhere else" in ended.out


def test_a_program_whose_tls_cannot_be_told_is_not_run_and_never_passed(adopted_url: str, tmp_path: Path) -> None:
    """A pg_restore without the pg_dump that is asked for it, and a pg_dump that says nothing to the point."""
    for name in ("pg_restore", "pg_dump"):
        odd = script(tmp_path / name, f'echo "{name} (PostgreSQL) 15.2"')
        ended = run(tmp_path, "doctor", url=adopted_url, LAWSKER_PG_BIN=str(tmp_path))
        assert f"NOT RUN  tool: {name} 15.2 at {odd}, NOT CHECKED whether with TLS" in ended.out


def test_doctor_tells_which_setting_came_from_where_and_what_overrides_it(adopted_url: str, tmp_path: Path) -> None:
    (tmp_path / ".pg_service.conf").write_text("[night]\nconnect_timeout=7\npassword=geheim1\n[other]\nport=1\n")
    (tmp_path / ".pgpass").write_text("*:*:*:*:geheim2\n")
    (tmp_path / ".pgpass").chmod(0o644)
    variables = {
        "PGHOST": "elsewhere",
        "PGSERVICE": "night",
        "PGCONNECT_TIMEOUT": "3",
        "PGPASSWORD": "geheim3",
        "LAWSKER_DIRECT_URL": "postgresql://x:geheim4@nowhere/x",
        "LAWSKER_LANG": "en",
        "DATABASE_URL": "postgresql://x:geheim5@nowhere/x",
    }
    typed = ("doctor", "--database-url", adopted_url, "--runs", "r", "--json")
    ended = run(tmp_path, *typed, **variables)
    assert ended.code == 0, ended.said
    assert "geheim" not in ended.said
    found = {(one["name"], one["source"]): one for one in ended.document["settings"]}
    assert found["database", "--database-url"]["overridden_by"] == ""
    assert found["DATABASE_URL", "DATABASE_URL"]["overridden_by"] == "--database-url"
    assert found["LAWSKER_DIRECT_URL", "LAWSKER_DIRECT_URL"]["overridden_by"] == "--database-url"
    assert found["host", "PGHOST"]["overridden_by"] == "--database-url"
    assert found["connect_timeout", "service night"]["value"] == "7"
    assert found["connect_timeout", "PGCONNECT_TIMEOUT"]["overridden_by"] == "service night"
    assert (found["password", "service night"]["value"], found["password", "PGPASSWORD"]["overridden_by"]) == (
        "***",
        "service night",
    )
    assert "IGNORED" in found["pass file", "default"]["note"]
    assert found["language", "LAWSKER_LANG"]["value"] == "en"
    assert found["runs folder", "--runs"]["value"] == str(tmp_path / "r")
    people = run(tmp_path, *typed[:-1], **variables)
    assert "geheim" not in people.said
    assert "host: elsewhere, from PGHOST, OVERRIDDEN by --database-url" in people.out
    chinese = run(tmp_path, *typed[:-1], "--lang", "zh", **variables)
    assert "zh，" in chinese.out
    assert "--lang" in chinese.out


def test_json_is_the_same_whatever_the_language(adopted_url: str, tmp_path: Path) -> None:
    for command in ("status", "history"):
        english, chinese = (
            run(tmp_path, command, "--json", "--lang", one, url=adopted_url).out for one in ("en", "zh")
        )
        assert english == chinese
    here, there = (run(tmp_path, "doctor", "--json", "--lang", one, url=adopted_url).document for one in ("en", "zh"))
    assert [(c["name"], c["expected"], c["detail"], c["status"]) for c in here["checks"]] == [
        (c["name"], c["expected"], c["detail"], c["status"]) for c in there["checks"]
    ]
    assert here["server"] == there["server"]
    for command in ("status", "history", "doctor"):
        said = run(tmp_path, command, "--lang", "zh", url=adopted_url).out
        assert any("一" <= char <= "鿿" for char in said)
