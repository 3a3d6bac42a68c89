"""Every command as it is installed: documented, readable by people and machines, and true to what it says it does."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
import venv
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import command_line
import oracle
import psycopg
import pytest
import typer
from command_line import LAWSKER_DB, Ended, everything, files, run, run_installed

from lawsker_db.cli.app import app

ROOT = Path(__file__).parents[2]
TOP: dict[str, Any] = getattr(typer.main.get_command(app), "commands", {})
BACKUP: dict[str, Any] = TOP["backup"].commands
KNOWN: dict[str, Any] = {name: command for name, command in TOP.items() if name != "backup"}
KNOWN |= {f"backup {name}": command for name, command in BACKUP.items()}
COMMANDS = sorted(KNOWN)
WRITING = ("safe-upgrade", "rollback", "adopt", "restore")
ASKING_A_DATABASE = ("safe-upgrade", "rehearse", "doctor", "adopt", "verify", "status", "history", "backup create")


# ---- the words -------------------------------------------------------------------------------------------------------


def test_help_lists_every_command(tmp_path: Path) -> None:
    listed = run(tmp_path, "--help")
    assert listed.code == 0
    assert [name for name in TOP if not re.search(rf"^  {name} +\S", listed.out, re.MULTILINE)] == []
    group = run(tmp_path, "backup", "--help")
    assert [name for name in BACKUP if not re.search(rf"^  {name} +\S", group.out, re.MULTILINE)] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_and_each_of_its_options_is_documented(command: str, tmp_path: Path) -> None:
    described = KNOWN[command]
    assert described.callback is not None
    assert inspect.getdoc(described.callback)
    for parameter in described.params:
        assert getattr(parameter, "help", ""), f"{command} {parameter.name} has no help"
    said = run(tmp_path, *command.split(), "--help")
    assert (said.code, said.err) == (0, "")
    shown = " ".join(said.out.split())
    for parameter in described.params:
        assert all(name in shown for name in parameter.opts), parameter.opts
        first = str(getattr(parameter, "help", "")).split()[0]
        assert first in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_speaks_json(command: str) -> None:
    assert "--json" in [name for parameter in KNOWN[command].params for name in parameter.opts]


@pytest.mark.parametrize("command", WRITING)
def test_what_writes_can_be_tried_dry_and_asks_first(command: str) -> None:
    options = [name for parameter in KNOWN[command].params for name in parameter.opts]
    assert {"--dry-run", "--yes"} <= set(options)


def test_version_tells_all_versions(tmp_path: Path) -> None:
    lines = dict(line.split() for line in run(tmp_path, "version").out.splitlines())
    assert lines == run(tmp_path, "version", "--json").document
    assert set(lines) == {"lawsker-db", "python", "alembic", "SQLAlchemy", "psycopg"}
    assert lines["python"] == sys.version.split()[0]


# ---- the road --------------------------------------------------------------------------------------------------------


def test_the_whole_road_in_json_is_one_object_a_command(sample_url: str, tmp_path: Path) -> None:
    """adopt, status, dry run, safe-upgrade, verify, backup: stdout is one object, stderr is JSON lines or nothing."""

    def type_(*typed: str) -> dict[str, object]:
        ended = run_installed(tmp_path, *typed, "--json", url=sample_url)
        assert ended.code == 0, ended.said
        for line in ended.err.splitlines():
            assert isinstance(json.loads(line), dict)
        return ended.document

    assert type_("status")["word"] == "not stamped"
    assert type_("adopt", "--dry-run")["stamped_now"] == []
    assert type_("adopt", "--yes")["stamped_now"] == ["012"]
    standing = type_("status")
    assert (standing["word"], standing["pending"]) == ("pending", ["013"])
    assert type_("safe-upgrade", "--dry-run")["ready"] is True
    report = type_("safe-upgrade", "--yes")
    assert (report["verdict"], report["to_revisions"]) == ("done", ["013"])
    kept = json.loads((Path(str(report["folder"])) / "report.json").read_text())
    assert kept == report
    assert type_("verify")["ok"] is True
    assert (type_("status")["word"], type_("status", "--run", str(report["run_id"]))["run"]) == (
        "at head",
        {"run_id": report["run_id"], "committed": True},
    )
    assert report["not_proven"] == []
    assert (report["backup"]["proven"], report["rehearsal"]["go"]) == (True, True)  # type: ignore[index]
    assert type_("doctor")["ready"] is True
    assert [run["to_revisions"] for run in type_("history")["runs"]] == [["013"], ["012"]]  # type: ignore[attr-defined]
    assert type_("backup", "create")["proven"] is True
    backup = type_("backup", "create", "--no-proof")
    assert backup["proven"] is False
    assert type_("backup", "verify", str(backup["folder"]))["proven"] is True
    kept_backups = type_("backup", "list")["backups"]
    assert [kept["proven"] for kept in kept_backups] == [True, True, True]  # type: ignore[attr-defined]
    assert type_("backup", "show", str(report["run_id"]))["files_intact"] is True
    assert type_("backup", "sql", str(report["run_id"]), "readable.sql")["bytes"]
    assert type_("backup", "prune", "--dry-run")["would_remove"] == 0
    assert type_("rehearse")["verdict"] == "nothing to do"


def test_status_says_in_words_where_the_database_stands_and_what_to_type(sample_url: str, tmp_path: Path) -> None:
    def status(*more: str) -> list[str]:
        ended = run(tmp_path, "status", *more, url=sample_url)
        assert (ended.code, ended.err) == (0, "")
        return ended.out.splitlines()

    assert status()[0].startswith("NOT STAMPED: ")
    assert status()[-1] == "Next: lawsker-db adopt --dry-run"
    adopted = run(tmp_path, "adopt", "--yes", url=sample_url)
    assert adopted.out.splitlines()[-1] == "Adopted: stamped 012. Next: lawsker-db safe-upgrade"
    assert status()[0].startswith("PENDING: ")
    assert any(line.startswith("Pending: 013  ") for line in status())
    assert status()[-1] == "Next: lawsker-db safe-upgrade"
    done = run(tmp_path, "safe-upgrade", "--yes", url=sample_url)
    assert done.out.startswith("DONE: The database is at revision 013.\nThe migration is committed and proven.\n")
    lines = status("--run", "20200101T000000Z-013-000000")
    assert lines[0].startswith("AT HEAD: ")
    assert any(re.search(r"upgrade +to 013 by \w+ via safe-upgrade", line) for line in lines)
    assert "Run 20200101T000000Z-013-000000: no marker row, and nobody at work: it did not commit" in lines
    assert lines[-1] == "Next: lawsker-db verify"
    (run_id,) = (folder.name for folder in (tmp_path / "lawsker-runs").iterdir())
    for meant in (run_id, run_id[-6:], "last"):
        assert any(line.startswith(f"Run {run_id}: committed") for line in status("--run", meant)), meant
    mistyped = run(tmp_path, "status", "--run", run_id + "x", url=sample_url)
    assert (mistyped.code, mistyped.out) == (2, ""), "nobody may hear that it did not commit"
    assert f"There is no run {run_id}x" in mistyped.err
    assert run_id in mistyped.err.split("Next:")[1]


@pytest.mark.long
def test_verify_fails_with_exit_13_when_something_is_missing(adopted_url: str, tmp_path: Path) -> None:
    assert run(tmp_path, "safe-upgrade", "--yes", url=adopted_url).code == 0
    assert run(tmp_path, "verify", url=adopted_url).code == 0
    with psycopg.connect(adopted_url) as conn:
        conn.execute("DROP INDEX idx_users_account_type")
    before = everything(adopted_url)
    ended = run(tmp_path, "verify", url=adopted_url)
    assert ended.code == 13, ended.said
    lines = ended.out.splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith("FAIL     S19 extended tables: "))
    assert "idx_users_account_type" in lines[place]
    assert lines[place + 1].startswith("         Next: put it back")
    assert re.match(r"\d+ passed, 2 failed, \d+ warnings, \d+ not run: ", lines[-1])  # and no index serves its look-up
    in_json = run(tmp_path, "verify", "--json", url=adopted_url)
    assert (in_json.code, in_json.document["ok"]) == (13, False)
    assert everything(adopted_url) == before


@pytest.mark.long
def test_verify_tells_what_it_could_not_check_and_goes_on(adopted_url: str, tmp_path: Path) -> None:
    """A table of the contract is gone: its invariants cannot be asked, which is no warning; all else is still told."""
    assert run(tmp_path, "safe-upgrade", "--yes", url=adopted_url).code == 0
    with psycopg.connect(adopted_url) as conn:
        conn.execute("DROP TABLE demo_accounts CASCADE")
    ended = run(tmp_path, "verify", "--json", url=adopted_url)
    assert ended.code == 13, ended.said
    unknown = [check for check in ended.document["checks"] if check["found"].startswith("could not be checked: ")]
    assert unknown
    assert all(check["ok"] is None for check in unknown)
    assert any(not check["warning"] for check in unknown)
    assert any("demo_accounts" in check["found"] for check in unknown)
    found = {check["code"]: check for check in ended.document["checks"]}
    assert (found["S02"]["ok"], found["S02"]["severity"], found["S02"]["when"]) == (False, "error", "always")
    assert found["S02"]["keys"] == ["table public.demo_accounts: missing, expected present"]
    assert found["P05"]["name"] == "others' waits"


def test_verify_writes_junit_and_refuses_beforehand_what_cannot_be_written(adopted_url: str, tmp_path: Path) -> None:
    """A file that cannot be written is said before anything is asked; what fails at the end takes the result away from
    nobody."""
    hint = "name a file in a folder that you may write to"
    for place, words in (("none/x.xml", "There is no folder"), (".", "is a folder")):
        ended = run(tmp_path, "verify", "--junit", place, url=adopted_url)
        assert (ended.code, ended.out) == (2, ""), ended.said
        assert words in ended.line("Failed")
        assert ended.line("Next") == hint
    ended = run(tmp_path, "verify", "--junit", "x.xml", "--read-only", url=adopted_url)
    assert ended.code == 0, ended.said
    root = ElementTree.parse(tmp_path / "x.xml").getroot()  # noqa: S314 - written by us
    suites = {suite.get("name"): suite for suite in root}
    assert list(suites)[:4] == ["structure", "data", "business", "performance"]
    assert all(case.find("skipped") is not None for case in suites["business"])
    assert ended.out.splitlines()[0] == "Structure:"
    (tmp_path / "y.xml.partial").mkdir()  # in the way of the half-written file
    ended = run(tmp_path, "verify", "--junit", "y.xml", url=adopted_url)
    assert ended.code == 2
    assert " passed, 0 failed, " in ended.out.splitlines()[-1]
    assert "y.xml could not be written" in ended.err
    ended = run(tmp_path, "verify", "--queries", "none.sql", url=adopted_url)
    assert (ended.code, ended.out) == (2, "")


def test_a_schema_with_an_odd_name_is_read_like_any_other(adopted_url: str, tmp_path: Path) -> None:
    """The quoting of SQLAlchemy doubles a %, so that nothing promised was found under such a name."""
    plain = run(tmp_path, "verify", "--json", url=adopted_url).document
    with psycopg.connect(adopted_url) as conn:
        conn.execute('ALTER SCHEMA public RENAME TO "My App%x"')
        conn.execute(f'ALTER DATABASE {conn.info.dbname} SET search_path = "My App%x"')
    odd = run(tmp_path, "verify", "--json", url=adopted_url)
    assert odd.code == 0, odd.said
    assert [check["ok"] for check in odd.document["checks"]] == [check["ok"] for check in plain["checks"]]
    with psycopg.connect(adopted_url) as conn:
        conn.execute("DROP TABLE alembic_version")
    adoption = run(tmp_path, "adopt", "--dry-run", "--json", url=adopted_url)
    assert adoption.code == 0, adoption.said
    assert 'table "My App%x".users' not in adoption.document["extras"]
    assert adoption.document["extras"]


# ---- a dry run -------------------------------------------------------------------------------------------------------


def test_a_dry_run_shows_the_plan_and_changes_nothing(adopted_url: str, tmp_path: Path) -> None:
    """Also where the role's transactions are read-write by default, and nothing could be written at all."""
    before = everything(adopted_url)
    ended = run(tmp_path, "safe-upgrade", "--dry-run", url=adopted_url)
    assert (ended.code, ended.err) == (0, "")
    assert "Would run: 013" in ended.out
    assert ended.out.endswith("Ready. Nothing was changed.\nNext: lawsker-db safe-upgrade\n")
    assert everything(adopted_url) == before
    assert not files(tmp_path)


def test_a_dry_run_is_held_in_a_read_only_transaction(adopted_url: str, tmp_path: Path) -> None:
    """A required query of a chain of its own tries to write: the server refuses it, so a dry run cannot."""
    chain = tmp_path / "chain"
    (chain / "versions").mkdir(parents=True)
    (chain / "env.py").write_text("")
    (chain / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s\npath_separator = os\n")
    (chain / "versions" / "012.py").write_text('revision = "012"\ndown_revision = None\n')
    (chain / "versions" / "013.py").write_text(
        "from lawsker_db.contract import Contract, Required\n"
        'revision = "013"\ndown_revision = "012"\n'
        "query = \"SELECT setval('invoice_number', 424242)::text\"\n"
        'contract = Contract(revision="013", follows="012", required=(Required("a write", query),))\n'
        "def upgrade() -> None:\n    pass\n"
    )
    before = everything(adopted_url)
    typed = ("safe-upgrade", "--dry-run", "--config", str(chain / "alembic.ini"))
    ended = run(tmp_path, *typed, url=adopted_url)
    assert ended.code == 10, ended.said
    assert "25006" in ended.line("Failed")
    assert "read-only transaction" in ended.line("Failed")
    assert everything(adopted_url) == before


def test_a_dry_adoption_changes_nothing(sample_url: str, tmp_path: Path) -> None:
    before = everything(sample_url)
    ended = run(tmp_path, "adopt", "--dry-run", url=sample_url)
    assert ended.code == 0, ended.said
    assert ended.out.splitlines()[-1] == "Can be adopted. Nothing was changed. Next: lawsker-db adopt"
    assert "table public.clients: row security is yes, expected no" in ended.out
    assert "['" not in ended.out, "a list of Python"
    assert everything(sample_url) == before


# ---- a backup --------------------------------------------------------------------------------------------------------


def test_a_backup_is_private_whole_and_restores_to_the_same_content(
    adopted_url: str, empty_url: str, tmp_path: Path
) -> None:
    before = everything(adopted_url)
    ended = run(tmp_path, "backup", "create", "--json", url=adopted_url)
    assert ended.code == 0, ended.said
    folder = Path(ended.document["folder"])
    assert everything(adopted_url) == before

    names = ["SHA256SUMS", "catalog.json", "database", "globals.sql", "manifest.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    for place in (tmp_path / "lawsker-runs", folder.parent, folder, folder / "database"):
        assert place.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()} == {0o600}
    subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=folder, check=True, capture_output=True)

    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["backup_id"], manifest["bytes"]) == (ended.document["backup_id"], ended.document["bytes"])
    assert manifest["proof"]["rows"] == sum(table["rows"] for table in manifest["tables"])
    with psycopg.connect(adopted_url) as conn:
        assert manifest["server"]["database"] == conn.info.dbname
        assert manifest["server"]["version"] == conn.info.server_version
        programs = oracle.pg_dump(conn.info.server_version // 10000).parent

    restore = str(programs / "pg_restore")
    listed = subprocess.run([restore, "-l", "database"], cwd=folder, check=True, capture_output=True, text=True)
    assert "TABLE DATA public users" in listed.stdout
    command = [restore, "--exit-on-error", f"--dbname={empty_url}", "database"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env=command_line.environment(tmp_path, None))
    assert oracle.picture(empty_url) == oracle.picture(adopted_url)


# ---- pipes and terminals ---------------------------------------------------------------------------------------------


def shell(folder: Path, url: str, line: str) -> Ended:
    """Run a line of shell with the command on its PATH."""
    env = command_line.environment(folder, url)
    env["PATH"] = f"{LAWSKER_DB.parent}:{env['PATH']}"
    command = ["bash", "-c", line]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)
    return Ended(done.returncode, done.stdout, done.stderr)


def test_a_reader_that_goes_away_neither_breaks_a_command_nor_changes_what_it_tells(
    adopted_url: str, tmp_path: Path
) -> None:
    """`| head -1` and `| true`: no traceback, and with pipefail the exit code is still that of the work."""
    for reader in ("head -1", "true"):
        ended = shell(tmp_path, adopted_url, f"set -o pipefail; lawsker-db verify | {reader}")
        assert (ended.code, ended.err) == (0, "")
    with psycopg.connect(adopted_url) as conn:
        conn.execute("DROP TABLE lawsker_db.migration_run; DROP TABLE alembic_version CASCADE")
    ended = shell(tmp_path, adopted_url, "set -o pipefail; lawsker-db adopt --dry-run --json | true")
    assert (ended.code, ended.err) == (0, "")


def test_a_dry_run_that_is_not_ready_is_exit_10_whoever_listens(adopted_url: str, tmp_path: Path) -> None:
    with psycopg.connect(adopted_url) as conn:
        conn.execute("ALTER TABLE users ADD COLUMN account_type text")
    for redirected in ("| true", ">/dev/full", ">&-", "2>&-", "</dev/null"):
        ended = shell(tmp_path, adopted_url, f"set -o pipefail; lawsker-db safe-upgrade --dry-run {redirected}")
        assert ended.code == 10, (redirected, ended.said)
        assert "Traceback" not in ended.err
        assert "a bug in" not in ended.err


def test_a_run_without_stdout_and_stderr_does_its_work(adopted_url: str, tmp_path: Path) -> None:
    """Closed streams: the next file that is opened must not take their place."""
    assert shell(tmp_path, adopted_url, "lawsker-db safe-upgrade --yes <&- >&- 2>&-").code == 0
    assert run(tmp_path, "status", url=adopted_url).out.startswith("AT HEAD")
    (folder,) = (tmp_path / "lawsker-runs").iterdir()
    assert all(line[16:18] == " {" for line in (folder / "journal.jsonl").read_text().splitlines())


def test_a_closed_stdin_is_no_terminal_and_a_full_disk_is_told_once(adopted_url: str, tmp_path: Path) -> None:
    ended = shell(tmp_path, adopted_url, "lawsker-db safe-upgrade <&-")
    assert ended.code == 2, ended.said
    assert "There is no terminal to ask on." in ended.err
    full = shell(tmp_path, adopted_url, "lawsker-db status >/dev/full")
    assert (full.code, full.err.count("cannot be written")) == (0, 1), full.said


def test_a_narrow_encoding_is_no_bug(adopted_url: str, tmp_path: Path) -> None:
    """Names in Chinese on a terminal that cannot show them come out escaped."""
    with psycopg.connect(adopted_url) as conn:
        conn.execute('CREATE TABLE 律师 ("编号" int); DROP TABLE lawsker_db.migration_run, alembic_version')
    ended = run(tmp_path, "adopt", "--dry-run", url=adopted_url, PYTHONIOENCODING="ascii")
    assert (ended.code, "Traceback" in ended.said) == (0, False), ended.said


# ---- the demo --------------------------------------------------------------------------------------------------------


def servers() -> set[str]:
    """Data folders of the throwaway servers that run, and what they leave in the temporary folder."""
    found = {str(path) for path in Path("/tmp").glob("lkdb-*")}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            place = str((process / "cwd").readlink())
        except OSError:
            continue
        if "/lkdb-" in place:
            found.add(place)
    return found


def test_the_demo_runs_the_whole_road_and_leaves_nothing_but_its_report(tmp_path: Path) -> None:
    temporary = tmp_path / "t"
    temporary.mkdir()
    elsewhere = {
        "PGHOST": "/nowhere",
        "PGHOSTADDR": "192.0.2.1",
        "PGPORT": "1",
        "PGUSER": "nobody",
        "PGPASSWORD": "wrong",
        "PGOPTIONS": "-c no.such=1 -c work_mem=nonsense",
        "PGSERVICE": "no such service",
    }
    ended = run(tmp_path, "demo", "--users", "30", "--json", TMPDIR=str(temporary), **elsewhere)
    assert ended.code == 0, ended.said
    assert ended.document["verdict"] == "done"
    assert "Verified: " in ended.err
    assert ", 0 failed, " in ended.err
    assert (Path(ended.document["folder"]) / "report.html").is_file()
    where = re.findall(r"postgres@(\S+?):5432/lawsker", json.dumps(ended.document))
    assert where
    assert not [place for place in servers() if where[0] in place]
    assert not Path(where[0]).exists()
    assert not list(temporary.iterdir())
    assert "stopped and removed" in ended.err


# ---- installed from a wheel ------------------------------------------------------------------------------------------


def test_an_installed_wheel_carries_the_chain_for_plain_alembic(empty_url: str, tmp_path: Path) -> None:
    """A fresh environment, a folder far from the checkout: version, config, and alembic upgrade head with that file."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    place = tmp_path / "venv"
    venv.create(place, with_pip=True)
    python, programs = place / "bin" / "python", place / "bin"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    away = tmp_path / "away"
    away.mkdir()
    env = command_line.environment(tmp_path, empty_url)

    def type_(*typed: str) -> str:
        done = subprocess.run(typed, cwd=away, env=env, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert type_(str(programs / "lawsker-db"), "version").startswith("lawsker-db ")
    config = type_(str(programs / "lawsker-db"), "config").strip()
    assert Path(config).is_relative_to(place)
    alembic = (str(programs / "alembic"), "-c", config)
    type_(*alembic, "upgrade", "head")
    assert type_(*alembic, "current").strip() == "013 (head)"
    type_(*alembic, "check")
    type_(str(programs / "lawsker-db"), "verify")
    type_(*alembic, "downgrade", "base")
    assert not [name for name in oracle.content(empty_url) if name != "large objects"]
    assert list(away.iterdir()) == []
