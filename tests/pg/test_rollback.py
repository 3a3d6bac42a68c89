"""The way back: everything that goes is kept, equal and closed; old data stays; whoever hangs on it is asked first."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import oracle
import psycopg
import pytest
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from chains import small_chain
from command_line import LAWSKER_DB, environment, run
from copies import Server
from migrated import BUSINESS, migrate
from roads import by_alembic, rows
from roads import run as execute

from lawsker_db.demo.binaries import binaries_in
from lawsker_db.demo.sample import load_sample
from lawsker_db.demo.server import throwaway_server
from lawsker_db.errors import CommittedUnproven, GateRefused, LockNotObtained, Refused, RolledBack
from lawsker_db.evidence import Event, RunReport, Verdict
from lawsker_db.revisions import load_chain
from lawsker_db.safety.adoption import adopt
from lawsker_db.safety.returned import check_returned
from lawsker_db.safety.rollback import RollbackOptions, drop_command, look_back, roll_back
from lawsker_db.safety.upgrade import UpgradeOptions, safe_upgrade
from lawsker_db.safety.way_back import WayBack
from lawsker_db.target import parse_target

CHANGED = (
    "UPDATE lawyer_levels SET name = name || '!' WHERE level = 3",
    "UPDATE users SET email_verified = true, registration_source = 'app' WHERE id = (SELECT min(id::text)::uuid FROM users)",
    "CREATE INDEX of_a_dba ON cases (created_at)",
    "CREATE INDEX of_a_dba_too ON user_credits (credits_remaining)",
    "ALTER TABLE user_credits ADD CONSTRAINT of_a_dba_as_well CHECK (credits_remaining < 1000)",
    "COMMENT ON TABLE user_credits IS 'of a DBA'",
    "CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "CREATE TRIGGER theirs BEFORE INSERT ON user_credits FOR EACH ROW EXECUTE FUNCTION theirs()",
)


def options(folder: Path, **chosen: Any) -> RollbackOptions:
    return RollbackOptions(runs=folder / "runs", patience_s=5, **chosen)


def in_archive(content: dict[str, str], schema: str) -> dict[str, str]:
    """Content of an archive by table names; without our own two tables."""
    found = {name.removeprefix(f"{schema}."): d for name, d in content.items() if name.startswith(f"{schema}.")}
    return {name: digest for name, digest in found.items() if name not in ("archive", "contents")}


def without_archives(content: dict[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in content.items() if not name.startswith("lawsker_archive_")}


@dataclass(frozen=True)
class Story:
    """A database that was upgraded, used, and rolled back once; and what it was before each."""

    url: str
    old: tuple[str, dict[str, str]]
    used: dict[str, str]
    report: RunReport
    folder: Path
    words: tuple[str, ...]
    columns: list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def story(server: Server, adopted_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("story")
    server.run(f"CREATE DATABASE story TEMPLATE {adopted_template}")
    url = server.url("story")
    migrate(url)
    with psycopg.connect(url) as connection:
        for statement in (*BUSINESS, *CHANGED):
            connection.execute(statement.encode())
    old_columns = {name: names[:-4] if name == "public.users" else names for name, names in oracle.columns(url).items()}
    old = oracle.schema(url), oracle.content(url, only_columns=old_columns)
    used = oracle.content(url)
    columns = rows(url, COLUMNS.format("users"))
    seen = look_back(parse_target(url), None, options(folder))
    report = roll_back(parse_target(url), options=options(folder))
    words = tuple(since.words for since in seen.written if since.says)
    yield Story(url=url, old=old, used=used, report=report, folder=folder, words=words, columns=columns)
    server.run("DROP DATABASE story")


COLUMNS = "SELECT id, workspace_id, account_type, email_verified, registration_source FROM {} ORDER BY 1"


def test_a_rollback_is_done_and_leaves_old_tables_and_what_others_added_to_them(story: Story) -> None:
    assert story.report.verdict is Verdict.DONE
    assert story.report.to_revisions == ("012",)
    now = without_archives(oracle.content(story.url))
    assert now == {name: digest for name, digest in story.old[1].items() if name in now}
    assert len(story.old[1]) - len(now) == 18  # 17 tables and a sequence
    assert rows(story.url, "SELECT version_num FROM alembic_version") == [("012",)]
    assert rows(story.url, "SELECT to_regclass('of_a_dba') IS NOT NULL") == [(True,)]
    assert rows(story.url, "SELECT to_regprocedure('lawsker_touch_updated_at()')") == [(None,)]


def test_every_row_and_value_that_went_is_in_the_archive(story: Story) -> None:
    kept = in_archive(oracle.content(story.url), story.report.archive)
    gone = {name.removeprefix("public."): d for name, d in story.used.items() if name.removeprefix("public.") in kept}
    assert len(gone) == 18
    assert {name: digest for name, digest in kept.items() if name != "users_columns"} == gone
    assert rows(story.url, COLUMNS.format(f"{story.report.archive}.users_columns")) == story.columns


def test_what_others_added_to_a_new_table_went_along_and_their_trigger_is_named(story: Story) -> None:
    parts = rows(
        story.url,
        f"SELECT conname FROM pg_constraint WHERE conrelid = '{story.report.archive}.user_credits'::regclass"
        f" UNION ALL SELECT obj_description('{story.report.archive}.user_credits'::regclass)"
        f" UNION ALL SELECT to_regclass('{story.report.archive}.of_a_dba_too')::text",
    )
    assert {"of_a_dba_as_well", "of a DBA", f"{story.report.archive}.of_a_dba_too"} <= {row[0] for row in parts}
    assert any("CREATE TRIGGER theirs" in note for note in story.report.notes), story.report.notes


def test_what_was_written_since_is_told_per_table(story: Story) -> None:
    words = "; ".join(story.words)
    assert "lawyer_levels: changed since the upgrade (10 rows when made, 10 now)" in words
    assert "enterprise_clients: an enterprise client: 5 (0 rows when made, 5 now)" in words
    assert "users: a value in one of the four columns that neither the upgrade nor a default gave: 1" in words
    assert "(120 rows when made, 125 now)" in words
    assert "demo_accounts" not in words
    assert "enterprise_service_packages" not in words


def test_the_report_and_the_history_tell_of_the_archive(story: Story) -> None:
    document = json.loads(Path(story.report.folder, "report.json").read_text())
    assert (document["direction"], document["archive"]) == ("downgrade", story.report.archive)
    assert document["kept"][f'{story.report.archive}."lawyer_levels"'] == 10
    assert story.report.archive in Path(story.report.folder, "report.html").read_text()
    assert rows(
        story.url, "SELECT direction, via, jsonb_array_length(fingerprints) FROM lawsker_db.migration_run"
        " ORDER BY position DESC LIMIT 1",
    ) == [("downgrade", "rollback", 18)]  # fmt: skip


def test_a_rollback_is_proven_afterwards_and_a_touched_archive_is_found_out(story: Story) -> None:
    target, chain = parse_target(story.url), load_chain()
    assert [check for check in check_returned(target, chain) if check.fails] == []
    execute(story.url, f"UPDATE {story.report.archive}.lawyer_levels SET name = name || '?' WHERE level = 1")
    wrong = [check.name for check in check_returned(target, chain, story.report.run_id) if check.fails]
    execute(story.url, f"UPDATE {story.report.archive}.lawyer_levels SET name = rtrim(name, '?') WHERE level = 1")
    assert wrong == ["archive of lawyer_levels"]
    execute(story.url, "CREATE TABLE user_credits (id integer)")
    wrong = [check.name for check in check_returned(target, chain) if check.fails]
    execute(story.url, "DROP TABLE user_credits")
    assert wrong == ["left of 013"]
    with pytest.raises(Refused, match="No downgrade by a run nobody"):
        check_returned(target, chain, "nobody")


def test_the_old_application_deletes_users_and_the_archive_keeps_their_rows(story: Story) -> None:
    kept = in_archive(oracle.content(story.url), story.report.archive)
    victim = "(SELECT id FROM users WHERE username = 'new1')"
    execute(story.url, f"DELETE FROM user_roles WHERE user_id = {victim}; DELETE FROM users WHERE username = 'new1'")
    assert in_archive(oracle.content(story.url), story.report.archive) == kept


def test_nobody_but_the_owner_may_look_into_an_archive(story: Story) -> None:
    open_to = rows(story.url, f"SELECT nspacl::text FROM pg_namespace WHERE nspname = '{story.report.archive}'")
    assert open_to == [(None,)]


@pytest.mark.long
def test_an_upgrade_of_a_database_with_archives_leaves_them_alone_and_the_next_rollback_makes_its_own(
    story: Story,
) -> None:
    """Last of this story: it goes on from here."""
    kept = in_archive(oracle.content(story.url), story.report.archive)
    safe_upgrade(parse_target(story.url), options=UpgradeOptions(runs=story.folder / "runs", patience_s=5))
    checks = check_returned(parse_target(story.url), load_chain(), story.report.run_id)
    assert [check for check in checks if check.fails] == []
    assert "upgrade to 013 since" in checks[0].found
    second = roll_back(parse_target(story.url), options=options(story.folder))
    assert second.archive != story.report.archive
    assert in_archive(oracle.content(story.url), story.report.archive) == kept
    execute(story.url, drop_command(second.archive, second.kept))
    names = rows(story.url, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'lawsker_archive%'")
    assert names == [(story.report.archive,)]
    assert [check.name for check in check_returned(parse_target(story.url), load_chain()) if check.fails] == ["archive"]


HANGING = {
    "view public.seen": "CREATE VIEW seen AS SELECT workspace_id FROM users",
    "materialized view public.counted": "CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM lawyer_levels",
    "constraint public.theirs.theirs_level_fkey": "CREATE TABLE theirs (level integer REFERENCES lawyer_levels (id))",
    "table column public.whole.level": "CREATE TABLE whole (level lawyer_levels)",
    "publication public.lawyer_levels in publication out": "CREATE PUBLICATION out FOR TABLE lawyer_levels",
    "table public.child": "CREATE TABLE child () INHERITS (demo_accounts)",
    "parent table public.parent": "CREATE TABLE parent (lawyer_id uuid); ALTER TABLE lawyer_case_declines INHERIT parent",
    "parent table public.divided": "CREATE TABLE divided (LIKE user_memberships) PARTITION BY LIST (payment_status);"
    " ALTER TABLE divided ATTACH PARTITION user_memberships DEFAULT",
    "replica identity public.users": "ALTER TABLE users ALTER workspace_id SET NOT NULL;"
    " ALTER TABLE users REPLICA IDENTITY USING INDEX users_workspace_id_key",
    "inheriting table public.former": "CREATE TABLE former () INHERITS (users)",
    "index public.by_source": "CREATE INDEX by_source ON users (registration_source)",
    "statistics public.together": "CREATE STATISTICS together ON account_type, email_verified FROM users",
    "statistics public.moved": "CREATE STATISTICS moved ON id, name FROM lawyer_levels",
    "generated column public.users.made": "ALTER TABLE users ADD made text GENERATED ALWAYS AS (workspace_id || '') STORED",
    "policy public.users.verified": "CREATE POLICY verified ON users USING (email_verified)",
    "trigger public.users.touched": "CREATE TRIGGER touched BEFORE UPDATE OF account_type ON users FOR EACH ROW"
    " EXECUTE FUNCTION lawsker_touch_updated_at()",
    "constraint public.users.long_enough": "ALTER TABLE users ADD CONSTRAINT long_enough CHECK (length(workspace_id) > 2)",
    "rule public.users.ruled": "CREATE RULE ruled AS ON UPDATE TO users WHERE NEW.account_type = 'q' DO ALSO NOTHING",
    "function public.reads()": "CREATE FUNCTION reads() RETURNS bigint LANGUAGE sql"
    " BEGIN ATOMIC SELECT count(*) FROM lawyer_levels; END",
}


def hang_on(url: str) -> set[str]:
    """Make all of these; the names of what was made. Functions with SQL bodies are of 14."""
    version = int(rows(url, "SHOW server_version_num")[0][0])
    made = {name: statement for name, statement in HANGING.items() if version >= 140000 or "ATOMIC" not in statement}
    for statement in made.values():
        execute(url, statement)
    return set(made)


def refused_for(url: str, folder: Path) -> dict[str, str]:
    """What stops a rollback, and the statement that takes each off."""
    with pytest.raises(Refused) as refused:
        roll_back(parse_target(url), "012", options=options(folder))
    checks = refused.value.fields["checks"]
    assert isinstance(checks, tuple)
    return {
        check.name: check.detail.partition("then ")[2].partition("; and type")[0] for check in checks if check.fails
    }


def test_whatever_of_others_hangs_on_what_would_go_is_named_with_the_way_out_and_stops_it(
    adopted_url: str, tmp_path: Path
) -> None:
    migrate(adopted_url)
    made = hang_on(adopted_url)
    before = oracle.picture(adopted_url)
    ways_out = refused_for(adopted_url, tmp_path)
    assert ways_out.keys() == made
    assert oracle.picture(adopted_url) == before
    assert not (tmp_path / "runs").exists()
    for statement in ways_out.values():
        execute(adopted_url, statement)
    assert roll_back(parse_target(adopted_url), options=options(tmp_path)).verdict is Verdict.DONE


@pytest.fixture(scope="module", params=(12, 13, 14, 16, 17, 18))
def of_a_major(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an adopted sample on a server of one major version."""
    programs = binaries_in(Path(os.environ["LAWSKER_MAJORS"]).absolute() / str(request.param) / "bin", origin="tests")
    with throwaway_server(programs) as running:
        with psycopg.connect(running.url(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE of_a_major TEMPLATE template0 ENCODING 'UTF8'")
        load_sample(running.url("of_a_major"), users=60)
        adopt(parse_target(running.url("of_a_major")))
        yield running.url("of_a_major")


@pytest.mark.majors
def test_every_major_keeps_what_goes_and_names_what_hangs_on_it(of_a_major: str, tmp_path: Path) -> None:
    old = {name: digest for name, digest in oracle.content(of_a_major).items() if name != "public.users"}
    migrate(of_a_major)
    for statement in CHANGED:
        execute(of_a_major, statement)
    used, made = oracle.content(of_a_major), hang_on(of_a_major)
    ways_out = refused_for(of_a_major, tmp_path)
    assert ways_out.keys() == made
    for statement in ways_out.values():
        execute(of_a_major, statement)
    report = roll_back(parse_target(of_a_major), options=options(tmp_path))
    after = oracle.content(of_a_major)
    kept = {name: digest for name, digest in in_archive(after, report.archive).items() if name != "users_columns"}
    assert kept == {name: used[f"public.{name}"] for name in kept}
    assert len(kept) == 18
    assert {name: digest for name, digest in after.items() if name in old} == old
    assert [check for check in check_returned(parse_target(of_a_major), load_chain()) if check.fails] == []


def test_what_is_written_between_the_look_and_the_lock_is_kept(adopted_url: str, tmp_path: Path) -> None:
    migrate(adopted_url)
    late = (
        "INSERT INTO user_memberships (user_id, membership_type, start_date, end_date)"
        " SELECT id, 'late', now(), now() FROM users LIMIT 1; UPDATE users SET registration_source = 'late'"
    )

    def write(event: Event) -> None:
        if event.name == "written since":
            execute(adopted_url, late.replace("'late', now(), now()", "'free', now(), now() + interval '1 day'"))

    report = roll_back(parse_target(adopted_url), options=options(tmp_path), on_event=write)
    assert report.kept[f'{report.archive}."user_memberships"'] == 1
    sources = f"SELECT DISTINCT registration_source FROM {report.archive}.users_columns"
    assert rows(adopted_url, sources) == [("late",)]


def test_discarding_keeps_no_archive_and_its_reason_is_on_record(adopted_url: str, tmp_path: Path) -> None:
    before = oracle.picture(adopted_url)
    migrate(adopted_url)
    report = roll_back(parse_target(adopted_url), options=options(tmp_path, discard=True, reason="a drill"))
    assert (report.archive, dict(report.kept)) == ("", {})
    assert oracle.picture(adopted_url) == before
    assert "no archive was kept, as the operator said: a drill" in report.notes
    via = rows(adopted_url, "SELECT via FROM lawsker_db.migration_run ORDER BY position DESC LIMIT 1")
    assert via == [("rollback, discarding: a drill",)]
    assert "a drill" in Path(report.folder, "journal.jsonl").read_text()
    assert [check for check in check_returned(parse_target(adopted_url), load_chain()) if check.fails] == []
    with pytest.raises(Refused, match=f"was taken back already, by run {report.run_id}"):
        roll_back(parse_target(adopted_url), options=options(tmp_path))


@pytest.mark.long
def test_a_table_that_somebody_holds_is_given_up_untouched(adopted_url: str, tmp_path: Path) -> None:
    migrate(adopted_url)
    before = oracle.picture(adopted_url)
    with psycopg.connect(adopted_url) as other:
        other.execute("SELECT FROM user_credits")
        with pytest.raises(LockNotObtained) as refused:
            roll_back(parse_target(adopted_url), options=RollbackOptions(runs=tmp_path / "runs", patience_s=0.5))
        other.rollback()
    assert refused.value.exit_code == 11
    assert oracle.picture(adopted_url) == before
    (folder,) = (tmp_path / "runs").iterdir()
    assert json.loads((folder / "report.json").read_text())["verdict"] == "rolled back"


def test_without_an_upgrade_on_record_the_revision_must_be_named_and_the_baseline_stays(
    adopted_url: str, empty_url: str, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match="No upgrade of this database to 012 is on record"):
        roll_back(parse_target(adopted_url), options=options(tmp_path))
    with pytest.raises(Refused, match="The baseline of this database was adopted"):
        roll_back(parse_target(adopted_url), "base", options=options(tmp_path))
    assert roll_back(parse_target(adopted_url), "012", options=options(tmp_path)).verdict is Verdict.NOTHING_TO_DO
    migrate(empty_url)
    execute(empty_url, "INSERT INTO roles (id, name) VALUES (gen_random_uuid(), 'lawyer')")
    with pytest.raises(Refused, match=r"(?s)tables of the baseline that hold rows: roles.*lawsker-db rollback 012"):
        roll_back(parse_target(empty_url), options=options(tmp_path))
    execute(empty_url, "DELETE FROM roles")
    assert roll_back(parse_target(empty_url), options=options(tmp_path)).to_revisions == ()
    assert not (tmp_path / "runs").exists() or len(list((tmp_path / "runs").iterdir())) == 1


# ---- revisions that do not keep what they take away -----------------------------------------------------------------

GADGETS = (
    'op.execute("CREATE TABLE gadgets (id integer PRIMARY KEY, name text)")\n'
    "op.execute(\"INSERT INTO gadgets VALUES (1, 'a'), (2, 'b')\")\n"
    'ops.lock_tables({"roles": "ACCESS EXCLUSIVE"})\n'
    'op.execute("ALTER TABLE roles ADD COLUMN colour text")',
    'alters=("roles",), extensions=(Extension(table="roles", columns=(Column("colour", "text", nullable=True),)),),'
    ' tables=(Table(name="gadgets", group="g", columns=(Column("id", "integer"),'
    ' Column("name", "text", nullable=True)), primary_key=("id",), rows=2),)',
)
LOCK = 'ops.lock_tables({"roles": "ACCESS EXCLUSIVE", "gadgets": "ACCESS EXCLUSIVE"})\n'
KEEP = 'ops.drop_table("gadgets")\nops.drop_columns("roles", ("colour",))'
IN_ARCHIVE = (
    "op.execute(\"DO $$ BEGIN EXECUTE format('{}',"
    " (SELECT nspname FROM pg_namespace WHERE nspname LIKE 'lawsker_archive_%')); END $$\")"
)
EVIL = {
    "a bare drop_table": (
        'op.drop_table("gadgets")\nops.drop_columns("roles", ("colour",))',
        "must use ops.drop_table",
    ),
    "a bare drop_column": ('ops.drop_table("gadgets")\nop.drop_column("roles", "colour")', "must use ops.drop_columns"),
    "a row that is deleted first": (f'{LOCK}op.execute("DELETE FROM gadgets WHERE id = 1")\n{KEEP}', "other content"),
    "a value that is changed first": (f"{LOCK}op.execute(\"UPDATE roles SET colour = 'x'\")\n{KEEP}", "other content"),
    "a row that is taken out of the archive": (
        f"{KEEP}\n{IN_ARCHIVE.format('DELETE FROM %I.gadgets')}",
        "archive of gadgets",
    ),
    "rights on the archive": (
        f"{KEEP}\n{IN_ARCHIVE.format('GRANT USAGE ON SCHEMA %I TO PUBLIC')}",
        "others have rights",
    ),
    "something else in the archive": (
        f"{KEEP}\n{IN_ARCHIVE.format('CREATE TABLE %I.more (id integer)')}",
        "more is there",
    ),
    "an index of the archive that is dropped": (
        f"{KEEP}\n{IN_ARCHIVE.format('ALTER TABLE %I.gadgets DROP CONSTRAINT gadgets_pkey')}",
        "gadgets_pkey is missing",
    ),
    "a forged list of contents": (
        f"{KEEP}\n{IN_ARCHIVE.format('UPDATE %I.contents SET rows = 7')}",
        "does not say of itself",
    ),
}
FIRST = ("a bare drop_table", "a row that is taken out of the archive")


@pytest.mark.parametrize("what", [pytest.param(w, marks=() if w in FIRST else pytest.mark.long) for w in EVIL])
def test_a_revision_that_does_not_keep_what_it_takes_away_is_refused_by_the_gate(
    what: str, adopted_url: str, tmp_path: Path
) -> None:
    downgrade, says = EVIL[what]
    config = small_chain(tmp_path, (*GADGETS, downgrade))
    by_alembic(adopted_url, config)
    before = oracle.picture(adopted_url)
    with pytest.raises(GateRefused) as refused:
        roll_back(parse_target(adopted_url), options=options(tmp_path, config=config))
    assert says in refused.value.message
    assert oracle.picture(adopted_url) == before
    assert rows(adopted_url, "SELECT version_num FROM alembic_version") == [("100",)]


MORE = (
    'op.execute("CREATE TABLE wheels (id serial PRIMARY KEY, gadget integer)")\n'
    'ops.lock_tables({"roles": "ACCESS EXCLUSIVE"})\n'
    'op.execute("ALTER TABLE roles ADD COLUMN shape text")\n'
    'op.execute("ALTER TABLE gadgets ADD COLUMN size integer")',
    'alters=("roles", "gadgets"), extensions=(Extension(table="roles", columns=(Column("shape", "text", nullable=True),)),'
    ' Extension(table="gadgets", columns=(Column("size", "integer", nullable=True),)),),'
    ' tables=(Table(name="wheels", group="w", columns=(Column("id", "integer"), Column("gadget", "integer", nullable=True)),'
    ' primary_key=("id",), serial="id"),)',
    'ops.drop_table("wheels")\nops.drop_columns("roles", ("shape",))\nops.drop_columns("gadgets", ("size",))',
)


@pytest.mark.long
def test_two_steps_down_keep_both_in_one_archive(adopted_url: str, tmp_path: Path) -> None:
    config = small_chain(tmp_path, (*GADGETS, KEEP), MORE)
    by_alembic(adopted_url, config)
    execute(adopted_url, "INSERT INTO wheels (gadget) VALUES (1), (2), (2)")
    report = roll_back(parse_target(adopted_url), options=options(tmp_path, config=config))
    kept = {name.rpartition(".")[2].strip('"'): count for name, count in report.kept.items()}
    roles = len(rows(adopted_url, "SELECT FROM roles"))
    assert kept == {"wheels": 3, "roles_columns": roles, "gadgets_columns": 2, "gadgets": 2, "roles_2": roles}
    assert [check for check in check_returned(parse_target(adopted_url), load_chain(config)) if check.fails] == []


@pytest.mark.long
def test_steps_of_one_run_that_nobody_wrote_into_go_down_plainly_one_after_the_other(
    adopted_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = oracle.picture(adopted_url)
    config = small_chain(tmp_path, (*GADGETS, KEEP), MORE)
    by_alembic(adopted_url, config)
    monkeypatch.setenv("DATABASE_URL", adopted_url)
    execute(adopted_url, "INSERT INTO gadgets VALUES (3, 'c', 4)")
    with pytest.raises(CommandError, match="gadgets: changed since the upgrade"):
        command.downgrade(Config(str(config)), "012")
    execute(adopted_url, "DELETE FROM gadgets WHERE id = 3")
    command.downgrade(Config(str(config)), "012")
    assert oracle.picture(adopted_url) == before


# ---- typed -----------------------------------------------------------------------------------------------------------


def typed_at_a_terminal(folder: Path, url: str, answer: str, *arguments: str) -> tuple[int, str]:
    """The installed command with a terminal for its input, on which `answer` is typed."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [str(LAWSKER_DB), *arguments],
        cwd=folder,
        env=environment(folder, url),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    os.close(theirs)
    os.write(ours, f"{answer}\n".encode())
    said, _ = child.communicate(timeout=120)
    os.close(ours)
    return child.returncode, said.decode()


def test_the_command_asks_for_the_name_of_the_database_and_takes_no_other(adopted_url: str, tmp_path: Path) -> None:
    name = str(rows(adopted_url, "SELECT current_database()")[0][0])
    migrate(adopted_url)
    before = oracle.picture(adopted_url)
    code, said = typed_at_a_terminal(tmp_path, adopted_url, "yes", "rollback")
    assert (code, "Written since the upgrade:" in said, f"yes is not {name}" in said) == (2, True, True), said
    looked = run(tmp_path, "rollback", "--dry-run", "--json", url=adopted_url)
    assert (looked.code, looked.document["ready"], len(looked.document["written"])) == (0, True, 18)
    for missing in (("--discard",), ("--discard", "--reason", "drill"), ("--reason", "drill"), ("--confirm", "other")):
        assert run(tmp_path, "rollback", "--yes", *missing, url=adopted_url).code == 2
    assert oracle.picture(adopted_url) == before
    assert not (tmp_path / "lawsker-runs").exists()
    code, said = typed_at_a_terminal(tmp_path, adopted_url, name, "rollback")
    assert code == 0, said
    assert "you may drop it: DROP TABLE lawsker_archive_" in said
    proven = run(tmp_path, "rollback", "--verify", url=adopted_url)
    assert (proven.code, "PROVEN:" in proven.out) == (0, True), proven.said
    again = run(tmp_path, "recover", url=adopted_url)
    assert (again.code, "SETTLED" in again.out) == (0, True), again.said


# ---- by itself, after a check that failed behind COMMIT ---------------------------------------------------------------


def meddling(url: str) -> Callable[[Event], None]:
    """Commit a change of the schema as soon as the run has committed: the look afterwards then finds it."""

    def tell(event: Event) -> None:
        if event.name == "committed":
            execute(url, "CREATE TABLE IF NOT EXISTS of_somebody_else (id integer)")

    return tell


def rolling_back(failed: CommittedUnproven) -> WayBack:
    return WayBack.ROLLBACK


def restoring(failed: CommittedUnproven) -> WayBack:
    return WayBack.RESTORE


def test_a_migration_that_fails_a_check_after_commit_is_taken_back_when_the_operator_said_so(
    adopted_url: str, tmp_path: Path
) -> None:
    config, before = small_chain(tmp_path, (*GADGETS, KEEP)), oracle.content(adopted_url)
    chosen = UpgradeOptions(runs=tmp_path / "runs", config=config, patience_s=5, prove=False, way_back=rolling_back)
    with pytest.raises(RolledBack, match="the migration was taken back") as told:
        safe_upgrade(parse_target(adopted_url), options=chosen, on_event=meddling(adopted_url))
    assert "is kept in schema lawsker_archive_" in told.value.state
    assert rows(adopted_url, "SELECT version_num FROM alembic_version") == [("012",)]
    after = without_archives(oracle.content(adopted_url))
    assert {name: digest for name, digest in after.items() if name in before} == before
    assert [check for check in check_returned(parse_target(adopted_url), load_chain(config)) if check.fails] == []


def test_a_migration_that_fails_a_check_after_commit_gives_way_to_the_backup_when_the_operator_said_so(
    adopted_url: str, tmp_path: Path
) -> None:
    config, before = small_chain(tmp_path, (*GADGETS, KEEP)), oracle.content(adopted_url)
    chosen = UpgradeOptions(
        runs=tmp_path / "runs", config=config, patience_s=5, rehearsal=False, max_lock_s=60, way_back=restoring
    )
    with pytest.raises(RolledBack, match="the backup from before was restored") as told:
        safe_upgrade(parse_target(adopted_url), options=chosen, on_event=meddling(adopted_url))
    assert "_damaged_" in told.value.state
    assert rows(adopted_url, "SELECT version_num FROM alembic_version") == [("012",)]
    assert oracle.content(adopted_url) == before


@pytest.mark.long
def test_a_migration_that_fails_a_check_after_commit_is_kept_otherwise(adopted_url: str, tmp_path: Path) -> None:
    chosen = UpgradeOptions(runs=tmp_path / "runs", patience_s=5, prove=False)
    with pytest.raises(CommittedUnproven):
        safe_upgrade(parse_target(adopted_url), options=chosen, on_event=meddling(adopted_url))
    assert rows(adopted_url, "SELECT version_num FROM alembic_version") == [("013",)]
