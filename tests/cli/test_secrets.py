"""A password goes to the server and nowhere else: no argument, environment, log, journal, report or output shows it."""

from __future__ import annotations

import io
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import command_line
import psycopg
import pytest
from chains import small_chain
from command_line import eventually, files, run, script
from command_line import started_installed as started  # its command line is looked at
from psycopg import sql
from small_run import LEDGER, LEDGER_PROMISE

from lawsker_db.demo.sample import load_sample
from lawsker_db.demo.server import ThrowawayServer, throwaway_server
from lawsker_db.safety.adoption import adopt
from lawsker_db.safety.archive import said
from lawsker_db.target import parse_target

CANARY = "c4n4ry"
ROLE = "clerk"
HOSTILE = {
    "plain": CANARY,
    "url": f"a@{CANARY}:5432/other?host=evil#x",
    "percent": f"100%{CANARY}%25%2F%zz",
    "quotes": f"'{CANARY}\"`",
    "backslashes": f"\\{CANARY}\\\\:\\",
    "colons": f":{CANARY}::",
    "spaces": f" {CANARY}  x ",
    "shell": f"$HOME;{CANARY}`id`$(id)&|<>*?",
    "conninfo": f"x password={CANARY} host='evil'",
    "chinese": f"密码{CANARY}中文🐘",
    "tab": f"\t{CANARY}\t#",
    "ini": f"%({CANARY})s [alembic] = ;",
}


@pytest.fixture(scope="module")
def guarded_server() -> Iterator[ThrowawayServer]:
    """A server that asks the role for its password (SCRAM), and a template of the adopted sample that it owns."""
    with throwaway_server() as server:
        with psycopg.connect(server.url(), autocommit=True) as conn:
            conn.execute("CREATE ROLE clerk LOGIN SUPERUSER")
            conn.execute("CREATE DATABASE sample OWNER clerk")
        load_sample(server.url("sample"), users=20)
        adopt(parse_target(server.url("sample")))
        rules = server.data_folder / "pg_hba.conf"
        rules.write_text(f"local all {ROLE} scram-sha-256\n{rules.read_text()}")
        yield server


@contextmanager
def lawsker_behind(server: ThrowawayServer, password: str) -> Iterator[str]:
    """A fresh adopted database that the password opens; its URL, percent-encoded as the README says."""
    name = f"lawsker_{secrets.token_hex(4)}"
    with psycopg.connect(server.url(), autocommit=True) as conn:
        conn.execute(sql.SQL("ALTER ROLE clerk PASSWORD {}").format(sql.Literal(password)))
        conn.execute("SELECT pg_reload_conf()")
        conn.execute(f"CREATE DATABASE {name} TEMPLATE sample".encode())
    url = f"postgresql://{ROLE}:{quote(password, safe='')}@/{name}?host={quote(str(server.folder), safe='')}"
    with pytest.raises(psycopg.OperationalError):  # the password is really asked for
        psycopg.connect(url, password="wrong")
    yield url


class Watch:
    """Reads arguments and environment of every process below one, as fast as it can, for as long as it lives."""

    def __init__(self, pid: int) -> None:
        self.seen: dict[tuple[int, str], bytes] = {}
        self._family = {pid}
        own = Path(f"/proc/{pid}/cmdline")
        assert eventually(lambda: own.read_bytes() != b"")  # empty for a moment in the middle of exec
        self._typed = own.read_bytes()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.is_set():
            waiting = list(self._family)
            for pid in waiting:
                process = Path(f"/proc/{pid}")
                with suppress(OSError):
                    typed = (process / "cmdline").read_bytes()
                    self._keep(pid, "cmdline", typed)
                    # A fresh child is a copy of the tool, DATABASE_URL and all, until it runs its own program.
                    if typed != self._typed:
                        self._keep(pid, "environ", (process / "environ").read_bytes())
                    for thread in (process / "task").iterdir():
                        found = set(map(int, (thread / "children").read_text().split())) - self._family
                        self._family |= found
                        waiting += found  # and looked at in this round
            time.sleep(0.002)

    def _keep(self, pid: int, what: str, content: bytes) -> None:
        if content not in self.seen.get((pid, what), b""):
            self.seen[pid, what] = self.seen.get((pid, what), b"") + content

    def children(self, program: bytes) -> list[int]:
        """Those that ran this program with arguments that lead to a database."""
        return [
            pid
            for (pid, what), content in self.seen.items()
            if what == "cmdline" and program in content and b"--dbname" in content
        ]


def mentions(content: bytes, password: str) -> bool:
    """Whether the canary is in it, plain or in the form that a URL gives it."""
    return CANARY.encode() in content or quote(password, safe="").encode() in content


@pytest.mark.parametrize("password", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_password_works_and_shows_nowhere(
    password: str, guarded_server: ThrowawayServer, tmp_path: Path
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    rehearsed = () if password == HOSTILE["url"] else ("--no-rehearsal",)  # which connects as the proof before it does
    ledger = (LEDGER, LEDGER_PROMISE, 'op.drop_table("ledger")')
    config = small_chain(tmp_path / "chain", ledger)  # what it migrates to says nothing of passwords
    typed = ("safe-upgrade", "--yes", "--json", "--config", str(config), *rehearsed)
    with (
        lawsker_behind(guarded_server, password) as url,
        started(tmp_path, *typed, url=url, TMPDIR=str(temporary)) as tool,
        Watch(tool.pid) as watch,
    ):
        ended = tool.end()
    assert ended.code == 0, ended.said.replace(CANARY, "***")
    assert watch.children(b"pg_dump")
    shown = {place for place, content in watch.seen.items() if mentions(content, password)}
    assert shown == set()
    assert not mentions(ended.said.encode(), password)
    for name, content in files(tmp_path).items():
        assert not mentions(content, password), name
    assert list(temporary.iterdir()) == []  # the pass file is gone


def test_the_environment_of_pg_dump_holds_a_pass_file_for_us_alone_and_no_password(
    guarded_server: ThrowawayServer, tmp_path: Path
) -> None:
    """pg_dump is caught at work, and the file that it reads the password from is looked at."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    password = HOSTILE["backslashes"]
    with lawsker_behind(guarded_server, password) as url, psycopg.connect(url) as holder:
        holder.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        more = {"TMPDIR": str(temporary), "PGPASSWORD": CANARY, "PGOPTIONS": f"-c lawsker.x={CANARY}"}
        with started(tmp_path, "backup", "create", url=url, **more) as tool, Watch(tool.pid) as watch:
            assert eventually(lambda: bool(watch.children(b"pg_dump")) or tool.child.poll() is not None)
            (passfile,) = temporary.glob("*.pgpass")
            assert passfile.stat().st_mode & 0o777 == 0o600
            holder.rollback()
            ended = tool.end()
    assert ended.code == 0, ended.said.replace(CANARY, "***")
    pid = watch.children(b"pg_dump")[0]
    variables = dict(part.split(b"=", 1) for part in watch.seen[pid, "environ"].split(b"\0") if b"=" in part)
    assert variables[b"PGPASSFILE"] == str(passfile).encode()
    assert {name for name, value in variables.items() if CANARY.encode() in value} == set()
    assert not {b"DATABASE_URL", b"PGPASSWORD", b"PGOPTIONS"} & set(variables)
    assert not passfile.exists()


def test_the_pass_file_of_a_killed_run_goes_when_the_same_command_is_typed_again(
    guarded_server: ThrowawayServer, tmp_path: Path
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with lawsker_behind(guarded_server, CANARY) as url, psycopg.connect(url) as holder:
        holder.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        with started(tmp_path, "backup", "create", "--no-proof", url=url, TMPDIR=str(temporary)) as tool:
            assert eventually(lambda: any(path.read_text() for path in temporary.glob("*.pgpass")))
            tool.child.kill()
            tool.end()
        (left,) = temporary.glob("*.pgpass")
        assert CANARY in left.read_text()
        # a container gives each of its runs the same process number: this one has ours, which is alive
        left.rename(temporary / f"lawsker-{os.getpid()}-x.pgpass")
        holder.rollback()
        ended = run(tmp_path, "backup", "create", "--no-proof", url=url, TMPDIR=str(temporary))
    assert ended.code == 0, ended.said.replace(CANARY, "***")
    assert list(temporary.iterdir()) == []


def test_the_question_for_a_tools_version_carries_no_password_either(
    guarded_server: ThrowawayServer, tmp_path: Path
) -> None:
    """A program that is asked for its version writes down what it was given."""
    body = 'env >>"$0.seen"; echo "$@" >>"$0.seen"; echo "pg_dump (PostgreSQL) 9.6"'
    spy = script(tmp_path / "bin" / "pg_dump", body)
    with lawsker_behind(guarded_server, CANARY) as url:
        ended = run(tmp_path, "safe-upgrade", "--yes", url=url, PGPASSWORD=CANARY, LAWSKER_PG_BIN=str(spy.parent))
    assert ended.code == 10
    seen = spy.with_name("pg_dump.seen").read_text()
    assert "--version" in seen
    assert CANARY not in seen


def test_a_password_with_a_line_break_is_refused_with_the_reason(
    guarded_server: ThrowawayServer, tmp_path: Path
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    password = f"first\n{CANARY}"
    with lawsker_behind(guarded_server, password) as url:
        before = command_line.everything(url)
        ended = run(tmp_path, "safe-upgrade", "--yes", url=url, TMPDIR=str(temporary))
        assert command_line.everything(url) == before
    assert ended.code == 10, ended.said
    assert "The password holds a line break" in ended.line("Failed")
    assert "without line breaks" in ended.line("Next")
    assert not mentions(ended.said.encode(), password)
    assert not [name for name, content in files(tmp_path).items() if mentions(content, password)]
    assert list(temporary.iterdir()) == []


OFTEN = ("url", "backslashes", "chinese")  # the others in the long suite: all of them go through one URL above
EACH = [pytest.param(text, id=name, marks=() if name in OFTEN else pytest.mark.long) for name, text in HOSTILE.items()]


@pytest.mark.parametrize("how", ["PGPASSWORD", "PGPASSFILE"])
@pytest.mark.parametrize("password", EACH)
def test_a_hostile_password_that_the_user_gives_otherwise_works_and_shows_nowhere(
    password: str, how: str, guarded_server: ThrowawayServer, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    kept.write_text(f"*:*:*:*:{escaped}\n")
    kept.chmod(0o600)
    work = tmp_path / "work"
    work.mkdir()
    given = {how: password if how == "PGPASSWORD" else str(kept)}
    with lawsker_behind(guarded_server, password) as url:
        bare = url.replace(f":{quote(password, safe='')}@", "@")
        with started(work, "backup", "create", "--no-proof", url=bare, **given) as tool, Watch(tool.pid) as watch:
            ended = tool.end()
    assert ended.code == 0, ended.said.replace(CANARY, "***")
    assert watch.children(b"pg_dump")
    assert {place for place, content in watch.seen.items() if mentions(content, password)} == set()
    assert not mentions(ended.said.encode(), password)
    assert not [name for name, content in files(work).items() if mentions(content, password)]


def test_the_direct_address_goes_to_no_child_and_into_no_file(guarded_server: ThrowawayServer, tmp_path: Path) -> None:
    password = HOSTILE["url"]
    with lawsker_behind(guarded_server, password) as url:
        more = {"LAWSKER_DIRECT_URL": url}
        with started(tmp_path, "backup", "create", "--no-proof", url=url, **more) as tool, Watch(tool.pid) as watch:
            ended = tool.end()
        assert ended.code == 0, ended.said.replace(CANARY, "***")
        assert watch.children(b"pg_dump")
        assert {place for place, content in watch.seen.items() if mentions(content, password)} == set()
        elsewhere = guarded_server.url("postgres")
        ended = run(tmp_path, "doctor", url=elsewhere, LAWSKER_DIRECT_URL=url)
        assert ended.code == 10
        assert "FAIL     database: The direct address clerk@" in ended.out
    assert not mentions(ended.said.encode(), password)
    assert not [name for name, content in files(tmp_path).items() if mentions(content, password)]


WRONG: dict[str, Callable[[str], str]] = {
    "another database": lambda url: url.replace("/lawsker_", "/no_lawsker_"),
    "another role": lambda url: url.replace("clerk:", "nobody_here:"),
    "no server there": lambda url: url.replace("host=", "host=%2Fnowhere%2F"),
    "no such setting": lambda url: f"{url}&nonsense=1",
    "no such mode": lambda url: f"{url}&sslmode=perhaps",
    "a raw at sign": lambda url: url.replace("@/", "@@/"),
    "a raw at sign behind the question mark": lambda _: f"postgresql://db?user={ROLE}&dbname=app&password=x@{CANARY}",
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("command", [pytest.param("status", marks=pytest.mark.long), "safe-upgrade --yes --json"])
def test_an_address_that_fails_is_not_repeated_with_its_password(
    wrong: str, command: str, guarded_server: ThrowawayServer, tmp_path: Path
) -> None:
    password = HOSTILE["quotes"]
    with lawsker_behind(guarded_server, password) as url:
        bad = WRONG[wrong](url)
        for ended in (
            run(tmp_path, *command.split(), url=bad),
            run(tmp_path, *command.split(), "--database-url", bad),
            run(tmp_path, *command.split(), url=url, LAWSKER_DIRECT_URL=bad),
        ):
            assert ended.code in (2, 10), ended.said.replace(CANARY, "***")
            assert not mentions(ended.said.encode(), password)
    assert not [name for name, content in files(tmp_path).items() if mentions(content, password)]


# --- personal data --------------------------------------------------------------------------------------------

VICTIM = "victim.0815@example.org"
HARMS = {
    "a key that is there twice, in DETAIL": (
        "op.execute(\"UPDATE users SET email = (SELECT email FROM users WHERE username = 'victim')\")",
        "23505",
    ),
    "a row that a CHECK refuses, in DETAIL": (
        "op.execute('ALTER TABLE users ADD CONSTRAINT nobody CHECK (email IS NULL) NOT VALID')\n"
        "op.execute(\"UPDATE users SET email = email WHERE username = 'victim'\")",
        "23514",
    ),
    "a value that is no number, in the sentence itself": (
        "op.execute(\"SELECT sum(email::integer) FROM users WHERE username = 'victim'\")",
        "22P02",
    ),
    "what the revision itself raises": (
        "import psycopg\nfrom sqlalchemy.exc import DBAPIError\ntry:\n"
        "    op.execute(\"SELECT sum(email::integer) FROM users WHERE username = 'victim'\")\n"
        "except DBAPIError as failed:\n    raise failed.orig",
        "refused",
    ),
}
ROADS = ("safe-upgrade --yes --no-rehearsal", "safe-upgrade --yes --json", "rehearse", "alembic upgrade head")


PAIRS = [
    pytest.param(road, harm, marks=() if place % len(ROADS) == number else pytest.mark.long)
    for place, road in enumerate(ROADS)
    for number, harm in enumerate(HARMS)
]


@pytest.mark.parametrize(("road", "harm"), PAIRS)
def test_personal_data_of_an_error_reaches_no_log_report_or_terminal(
    harm: str, road: str, adopted_url: str, tmp_path: Path
) -> None:
    body, told = HARMS[harm]
    with psycopg.connect(adopted_url) as conn:
        conn.execute("CREATE UNIQUE INDEX one_address ON users (email)")
        conn.execute(
            "INSERT INTO users (id, username, email, password_hash, status, tenant_id)"
            " SELECT gen_random_uuid(), 'victim', %s, 'x', 'ACTIVE', id FROM tenants LIMIT 1",
            (VICTIM,),
        )
    config = small_chain(tmp_path / "chain", (body, 'alters=("users",)'))
    before = command_line.everything(adopted_url)
    program, *rest = road.split()
    if program == "alembic":
        done = subprocess.run(
            [str(Path(sys.executable).with_name("alembic")), "-c", str(config), *rest],
            cwd=tmp_path,
            env=command_line.environment(tmp_path, adopted_url),
            capture_output=True,
            check=False,
        )
        code, shown = done.returncode, done.stdout + done.stderr
    else:
        ended = run(tmp_path, program, *rest, "--config", str(config), url=adopted_url)
        code, shown = ended.code, ended.said.encode()
    assert code != 0
    assert told.encode() in shown
    assert VICTIM.encode() not in shown
    for name, content in files(tmp_path).items():
        if "/backup/" not in name:  # the backup is the data itself
            assert VICTIM.encode() not in content, name
    assert command_line.everything(adopted_url) == before


# Restored before the table that it looks into, the function has another opinion: pg_restore fails in its COPY.
OUT_OF_ORDER = f"""
CREATE TABLE public.zzz (id integer);
CREATE FUNCTION public.careful(value text) RETURNS boolean LANGUAGE plpgsql AS
  $$BEGIN IF EXISTS (SELECT FROM public.zzz) THEN RETURN true; END IF; RETURN value::integer > 0; END$$;
INSERT INTO public.zzz VALUES (1);
CREATE TABLE public.bbb (value text CHECK (public.careful(value)), filler text);
INSERT INTO public.bbb SELECT '{VICTIM}', repeat('x', 1000) FROM generate_series(1, 2000);
"""


@pytest.mark.parametrize(
    "road", ["backup create", pytest.param("safe-upgrade --yes --json", marks=pytest.mark.long), "restore"]
)
def test_personal_data_that_pg_restore_complains_of_reaches_no_log_report_or_terminal(
    road: str, adopted_url: str, tmp_path: Path
) -> None:
    with psycopg.connect(adopted_url) as conn:
        conn.execute(OUT_OF_ORDER.encode())
    typed = road.split()
    if road == "restore":
        made = run(tmp_path, "backup", "create", "--no-proof", "--json", url=adopted_url)
        assert made.code == 0, made.said
        (taken,) = (tmp_path / "lawsker-runs").iterdir()
        typed = ["restore", taken.name, "--to", "beside", "--accept-unproven-backup", "a test"]
    ended = run(tmp_path, *typed, url=adopted_url)
    assert ended.code in (10, 14), ended.said
    told = " ".join(ended.said.replace('\\"', '"').split())  # as JSON has it
    assert 'COPY failed for table "bbb": ERROR: invalid input syntax for type integer: …' in told
    for name, content in files(tmp_path).items():
        if "/backup/" not in name:
            assert VICTIM.encode() not in content, name
    assert VICTIM not in ended.said


COMPLAINTS = {
    'pg_restore: error: COPY failed for table "t": ERROR:  value "VICTIM" is out of range for type integer': (
        'pg_restore: error: COPY failed for table "t": ERROR:  value … is out of range for type integer'
    ),
    'pg_restore: error: COPY failed for table "t": FEHLER:  ungültige Eingabesyntax für Typ integer: »VICTIM«': (
        'pg_restore: error: COPY failed for table "t": FEHLER:  ungültige Eingabesyntax für Typ integer: …'
    ),
    'pg_restore: error: COPY failed for table "t": ERROR:  malformed array literal: "a "table "VICTIM" b\nVICTIM"': (
        'pg_restore: error: COPY failed for table "t": ERROR:  malformed array literal: … b'
    ),
    'pg_restore: error: COPY failed for table "t": ERROR:  invalid input value for enum mood: "VICTIM\nVICTIM"': (
        'pg_restore: error: COPY failed for table "t": ERROR:  invalid input value for enum mood: …'
    ),
    "pg_restore: while PROCESSING TOC:\npg_restore: error: could not execute query: ERROR:  could not create unique index"
    ' "one"\nDETAIL:  Key (email)=(VICTIM) is duplicated.\nCommand was: CREATE UNIQUE INDEX': (
        'pg_restore: error: could not execute query: ERROR:  could not create unique index "one"'
    ),
    "pg_dump: it broke\nDETAIL:  Failing row contains (VICTIM\npg_dump: VICTIM).": "pg_dump: it broke",
    "CONTEXT:  COPY t, line 1: VICTIM": "it said nothing",
    'pg_dump: error: could not create directory "/runs/x": No space left': (
        'pg_dump: error: could not create directory "/runs/x": No space left'
    ),
    'pg_dump: error: connection to server at "db", port 5432 failed: FATAL:  password authentication failed for user "x"': (
        'pg_dump: error: connection to server at "db", port 5432 failed: FATAL:  password authentication failed for user "x"'
    ),
    "": "it said nothing",
}


@pytest.mark.parametrize("text", COMPLAINTS)
def test_what_a_program_complains_of_is_told_without_values(text: str) -> None:
    assert said(io.BytesIO(text.replace("VICTIM", VICTIM).encode())) == COMPLAINTS[text]


@pytest.mark.parametrize("command", ["status", "history", "verify", "doctor", "backup create"])
def test_a_password_given_as_pgpassword_or_on_the_command_line_is_not_repeated(
    command: str, guarded_server: ThrowawayServer, tmp_path: Path
) -> None:
    with lawsker_behind(guarded_server, CANARY) as url:
        bare = url.replace(f":{CANARY}@", "@")
        for ended in (
            run(tmp_path, *command.split(), "--json", url=bare, PGPASSWORD=CANARY),
            run(tmp_path, *command.split(), "--database-url", url),
        ):
            assert ended.code == 0, ended.said.replace(CANARY, "***")
            assert not mentions(ended.said.encode(), CANARY)
    assert not [name for name, content in files(tmp_path).items() if mentions(content, CANARY)]
