"""Rescue finds exactly the rows that the damaged database has beyond the restored one, and brings them back."""

from __future__ import annotations

import csv
import os
import random
import secrets
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import command_line
import oracle
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lawsker_db.demo.binaries import binaries_in
from lawsker_db.demo.server import ThrowawayServer, throwaway_server
from lawsker_db.errors import Refused
from lawsker_db.safety.replay import Replay, replay_rescue
from lawsker_db.safety.rescue import Rescue, RescueExport, export_rescue, find_rescue
from lawsker_db.target import Target, parse_target

HOSTILE = 'Wei"rd:%s; 中文\n--x'
QUOTED = '"' + HOSTILE.replace('"', '""') + '"'
SCHEMA = f"""
    CREATE EXTENSION citext;
    CREATE TYPE mood AS ENUM ('calm', 'loud');
    CREATE TABLE parent (id int PRIMARY KEY, name text NOT NULL UNIQUE, worth numeric, at timestamptz, raw jsonb);
    CREATE TABLE child (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, parent_id int NOT NULL REFERENCES parent,
        above bigint REFERENCES child, note text);
    CREATE TABLE composite (a int, b text, weight float8, twice float8 GENERATED ALWAYS AS (weight * 2) STORED,
        m mood, PRIMARY KEY (b, a));
    CREATE TABLE keyless (a int, b text, d double precision);
    CREATE TABLE by_name (name citext NOT NULL UNIQUE, price numeric(20, 6), bits bytea, tags text[]);
    CREATE TABLE parted (id int, day date, body text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
    CREATE TABLE parted_2 (body text, day date NOT NULL, id int NOT NULL);
    ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
    CREATE TABLE base (id int PRIMARY KEY, v text);
    CREATE TABLE derived (extra text, PRIMARY KEY (id)) INHERITS (base);
    CREATE TABLE quiet (id int PRIMARY KEY, v text);
    CREATE TABLE nothing ();
    CREATE TABLE {QUOTED} ({QUOTED} int PRIMARY KEY, "lawsker_change" text);
    CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
    CREATE MATERIALIZED VIEW seen AS SELECT count(*) FROM parent;
    INSERT INTO parent SELECT n, 'p' || n, n / 7.0, '2026-01-01'::timestamptz + n * interval '1 h',
        jsonb_build_object('n', n) FROM generate_series(1, 50) n;
    INSERT INTO child (parent_id, note) SELECT n, NULL FROM generate_series(1, 30) n;
    INSERT INTO composite (a, b, weight, m) SELECT n, 'b' || n % 3, n / 3.0, 'calm' FROM generate_series(1, 40) n;
    INSERT INTO keyless SELECT n % 5, 'x', 0.5 FROM generate_series(1, 20) n;
    INSERT INTO keyless VALUES (9, E'x\\r\\nDROP TABLE quiet; --', 0.1);
    INSERT INTO by_name SELECT 'Name' || n, n, '\\x00ff'::bytea, ARRAY['a', NULL, '"'] FROM generate_series(1, 20) n;
    INSERT INTO parted SELECT n, '2026-01-10', 'body' FROM generate_series(1, 20) n;
    INSERT INTO base VALUES (1, 'one'), (2, 'two');
    INSERT INTO derived VALUES (1, 'uno', 'e'), (3, 'tre', 'e');
    INSERT INTO quiet SELECT n, 'q' FROM generate_series(1, 10) n;
    INSERT INTO nothing DEFAULT VALUES;
    INSERT INTO nothing DEFAULT VALUES;
    INSERT INTO {QUOTED} VALUES (1, 'one');
    INSERT INTO alembic_version VALUES ('012');
"""
# What was written since, table by table: statements, and the rows that they leave (inserted, changed, deleted).
DAMAGE: dict[str, tuple[str, tuple[int, int, int]]] = {
    "public.parent": (
        "INSERT INTO parent VALUES (100, 'new', NULL, 'infinity', '{}'), (101, '', 1.00, NULL, NULL);"
        "UPDATE parent SET worth = 1 WHERE id = 1; UPDATE parent SET worth = 1.00 WHERE id = 1;"
        "UPDATE parent SET raw = raw || '{\"k\": 1}' WHERE id = 2;"
        "UPDATE parent SET name = name WHERE id < 20;"  # written, and the same
        "DELETE FROM child WHERE parent_id = 50; DELETE FROM parent WHERE id = 50;"
        "UPDATE parent SET id = 200 WHERE id = 49",  # a changed key: one deleted, one inserted
        (3, 2, 2),
    ),
    "public.child": (
        "INSERT INTO child (parent_id, note) VALUES (100, E'line\\r\\nDROP TABLE quiet; --\\n\\\\! x');"
        "INSERT INTO child (parent_id, above) SELECT 101, max(id) FROM child; DELETE FROM child WHERE id = 7;"
        "UPDATE child SET note = '' WHERE id = 8",  # empty is not NULL
        (2, 1, 1),
    ),
    "public.composite": (
        "INSERT INTO composite (a, b, weight, m) VALUES (1000, 'b0', 'NaN', 'loud');"
        "UPDATE composite SET m = 'loud' WHERE a = 3;"
        "UPDATE composite SET weight = '-0.0' WHERE a = 4; UPDATE composite SET a = 1001 WHERE a = 5",
        (2, 2, 1),
    ),
    "public.keyless": (
        "INSERT INTO keyless SELECT 1, 'x', 0.5 FROM generate_series(1, 3); INSERT INTO keyless VALUES (NULL, NULL, NULL);"
        "DELETE FROM keyless WHERE a = 9 OR ctid = (SELECT min(ctid) FROM keyless WHERE a = 2)",
        (4, 0, 2),
    ),
    "public.by_name": (
        "UPDATE by_name SET name = 'NAME3' WHERE name = 'name3'; UPDATE by_name SET tags = '{}' WHERE name = 'name4'",
        (1, 1, 1),  # to bytes, another case is another key
    ),
    "public.parted": (
        "UPDATE parted SET day = '2026-02-10' WHERE id = 3; UPDATE parted SET body = NULL WHERE id = 4;"
        "INSERT INTO parted VALUES (99, '2026-02-11', 'late')",
        (2, 1, 1),
    ),
    "public.base": ("UPDATE ONLY base SET v = 'ONE' WHERE id = 1", (0, 1, 0)),
    "public.derived": ("UPDATE derived SET v = 'TRE' WHERE id = 3", (0, 1, 0)),
    "public.nothing": ("INSERT INTO nothing DEFAULT VALUES", (1, 0, 0)),
    f"public.{QUOTED}": (f"INSERT INTO {QUOTED} VALUES (2, E'two\\n')", (1, 0, 0)),
    "public.later": (
        f"CREATE TABLE later (id int PRIMARY KEY, v text); INSERT INTO later VALUES (1, '{HOSTILE}'), (2, NULL)",
        (2, 0, 0),
    ),
}
BESIDE = "UPDATE alembic_version SET version_num = '013'; CREATE TABLE empty_one (a int)"


@dataclass(frozen=True)
class Two:
    """A damaged database and the restored one beside it."""

    damaged_url: str
    restored_url: str

    @property
    def targets(self) -> tuple[Target, Target]:
        return parse_target(self.damaged_url), parse_target(self.restored_url)


def create(server: Any, template: str = "template0") -> str:
    name = f"rescue_{secrets.token_hex(4)}"
    server.run(f"CREATE DATABASE {name} TEMPLATE {template} ENCODING 'UTF8'")
    return name


def run(url: str, statements: str) -> None:
    with psycopg.connect(url) as conn:
        conn.execute(statements.encode())


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as conn:
        return conn.execute(query.encode()).fetchall()


@pytest.fixture(scope="module")
def origin(server: Any) -> Iterator[str]:
    """The database as it was backed up."""
    name = create(server)
    run(server.url(name), SCHEMA)
    yield name
    server.run(f"DROP DATABASE {name}")


@pytest.fixture(scope="module")
def two(server: Any, origin: str) -> Iterator[Two]:
    """Both databases, the damaged one read-only: no test changes either."""
    restored, damaged = create(server, origin), create(server, origin)
    run(server.url(damaged), "; ".join((*(statement for statement, _ in DAMAGE.values()), BESIDE)))
    server.run(f"ALTER DATABASE {damaged} SET default_transaction_read_only = on")
    yield Two(server.url(damaged), server.url(restored))
    for name in (restored, damaged):
        server.run(f"DROP DATABASE {name}")


@pytest.fixture(scope="module")
def found(two: Two) -> Rescue:
    return find_rescue(*two.targets)


def counts(found: Rescue) -> dict[str, tuple[int, int, int]]:
    return {table.table: (table.inserted, table.changed, table.deleted) for table in found.tables}


def test_exactly_the_rows_that_were_written_are_found(found: Rescue) -> None:
    expected = {table: numbers for table, (_, numbers) in DAMAGE.items()}
    assert counts(found) == expected
    assert found.equal == ("public.quiet",)


@pytest.fixture(scope="module")
def exported(two: Two, found: Rescue, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RescueExport]:
    folder = tmp_path_factory.mktemp("run")
    return folder, export_rescue(*two.targets, found, folder)


def test_the_files_hold_the_rows_that_were_counted(found: Rescue, exported: tuple[Path, RescueExport]) -> None:
    folder, export = exported
    assert {t.table: (t.inserted, t.changed, t.deleted) for t in export.tables} == counts(found)
    for table in export.tables:
        marks = Counter(line["lawsker_change"] for line in read_all(folder / "rescue" / table.csv))
        assert (marks["inserted"], marks["changed"], marks["deleted"]) == (table.inserted, table.changed, table.deleted)
        script = (folder / "rescue" / table.sql).read_text()
        assert script.count("\nINSERT INTO ") == table.inserted
        assert script.count("\nUPDATE ") == table.changed
        assert script.count("\n-- DELETE FROM ") + script.count("\n-- deleted: ") == table.deleted


def read_all(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file. The second column of the same name, in the table with hostile names, does not count."""
    with path.open(newline="") as file:
        reader = csv.reader(file)
        header = next(reader)
        return [dict(zip(reversed(header), reversed(line), strict=True)) for line in reader]


def test_the_files_are_private(exported: tuple[Path, RescueExport]) -> None:
    folder, _ = exported
    assert (folder / "rescue").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (folder / "rescue").iterdir()} == {0o600}


# ---- replay ----------------------------------------------------------------------------------------------------------


WAKEFUL = """
    CREATE TABLE fired (what text);
    CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
        INSERT INTO public.fired VALUES (TG_TABLE_NAME); NEW.name := 'touched'; RETURN NEW; END$$;
    CREATE TRIGGER one BEFORE INSERT OR UPDATE ON parent FOR EACH ROW EXECUTE FUNCTION fire();
    CREATE TRIGGER two BEFORE INSERT OR UPDATE ON parent FOR EACH ROW EXECUTE FUNCTION fire();
    ALTER TABLE parent ENABLE ALWAYS TRIGGER two;
    CREATE TRIGGER three BEFORE INSERT ON parent FOR EACH ROW EXECUTE FUNCTION fire();
    ALTER TABLE parent DISABLE TRIGGER three;
    UPDATE parted SET body = 'mine' WHERE id = 4;
"""
TRIGGERS = "SELECT tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"


@dataclass(frozen=True)
class Replayed:
    """A restored database in which people went on, the replay into it, and its triggers before."""

    url: str
    result: Replay
    triggers: list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def replayed(server: Any, origin: str, exported: tuple[Path, RescueExport]) -> Iterator[Replayed]:
    name, (folder, export) = create(server, origin), exported
    url = server.url(name)
    run(url, WAKEFUL)
    triggers = rows(url, TRIGGERS)
    tables = tuple(table.table for table in export.tables if not table.made_since)
    yield Replayed(url, replay_rescue(parse_target(url), folder, tables), triggers)
    server.run(f"DROP DATABASE {name}")


def test_what_is_put_back_stands_there_as_it_was_lost(replayed: Replayed, two: Two, found: Rescue) -> None:
    left = counts(find_rescue(parse_target(two.damaged_url), parse_target(replayed.url)))
    numbers = {t.table: (t.inserted, t.updated, t.already, t.refused, t.deleted) for t in replayed.result.tables}
    assert numbers == {
        "public.parent": (2, 2, 0, 1, 2),  # the changed key's name is taken by the row that stands under the old key
        "public.child": (2, 1, 0, 0, 1),
        "public.composite": (2, 2, 0, 0, 1),
        "public.keyless": (4, 0, 0, 0, 2),
        "public.by_name": (0, 1, 0, 1, 1),  # to its unique index the two names are one
        "public.parted": (2, 0, 0, 1, 1),  # somebody has changed that row since
        "public.base": (0, 1, 0, 0, 0),
        "public.derived": (0, 1, 0, 0, 0),
        "public.nothing": (1, 0, 0, 0, 0),
        f"public.{QUOTED}": (1, 0, 0, 0, 0),
    }
    assert left == {
        "public.parent": (1, 0, 2),
        "public.child": (0, 0, 1),
        "public.composite": (0, 0, 1),
        "public.keyless": (0, 0, 2),
        "public.by_name": (1, 0, 1),
        "public.parted": (0, 1, 1),
        "public.later": (2, 0, 0),
    }
    assert not replayed.result.complete


def test_every_row_that_could_not_go_is_listed_with_its_reason(replayed: Replayed) -> None:
    listed = read_all(Path(replayed.result.refused))
    assert [(line["table"], line["key"], line["sqlstate"], line["reason"]) for line in listed] == [
        ("public.by_name", '{"name" : "NAME3"}', "23505", "another row has this key"),
        ("public.parent", '{"id" : "200"}', "23505", "parent_name_key"),
        ("public.parted", '{"id" : "4", "day" : "2026-01-10"}', "", "the row is no longer what the backup had"),
    ]
    assert Path(replayed.result.refused).stat().st_mode & 0o777 == 0o600


def test_triggers_sleep_through_a_replay_and_wake_up_as_they_were(replayed: Replayed) -> None:
    assert rows(replayed.url, "SELECT * FROM fired") == []
    assert rows(replayed.url, TRIGGERS) == replayed.triggers


def test_a_replay_stands_in_the_history(replayed: Replayed) -> None:
    assert rows(replayed.url, "SELECT run_id, direction, steps FROM lawsker_db.migration_run") == [
        (replayed.result.run_id, "replay", [])
    ]


def test_a_second_replay_finds_the_rows_there_and_doubles_none(
    replayed: Replayed, exported: tuple[Path, RescueExport]
) -> None:
    target, folder = parse_target(replayed.url), exported[0]
    again = replay_rescue(target, folder, ("public.parent", "public.composite"), dry_run=True)
    assert [(t.inserted, t.updated, t.already, t.refused) for t in again.tables] == [(0, 0, 4, 1), (0, 0, 4, 0)]
    with pytest.raises(Refused, match="has no key"):
        replay_rescue(target, folder, ("public.keyless",))
    assert rows(replayed.url, "SELECT count(*) FROM keyless WHERE a = 1") == [(7,)]


def test_the_scripts_are_plain_sql_that_puts_the_rows_back(
    server: Any, origin: str, two: Two, exported: tuple[Path, RescueExport]
) -> None:
    name, (folder, _) = create(server, origin), exported
    url = server.url(name)
    run(url, "CREATE TABLE later (id int PRIMARY KEY, v text)")
    psql = oracle.pg_dump(rows(url, "SELECT current_setting('server_version_num')::int / 10000")[0][0]).with_name(
        "psql"
    )
    for script in (folder / "rescue" / "replay.txt").read_text().splitlines():
        command = [str(psql), "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--quiet", "--file", script, url]
        done = subprocess.run(command, cwd=folder / "rescue", capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), script
    left = counts(find_rescue(parse_target(two.damaged_url), parse_target(url)))
    assert {table: numbers[:2] for table, numbers in left.items() if any(numbers[:2])} == {
        "public.parent": (1, 0),
        "public.by_name": (1, 0),
    }
    server.run(f"DROP DATABASE {name}")


# ---- by the command --------------------------------------------------------------------------------------------------


def test_the_command_finds_writes_and_puts_back_and_tells_no_value(
    server: Any, origin: str, two: Two, tmp_path: Path
) -> None:
    restored = create(server, origin)
    damaged, url = two.damaged_url.split("///")[1].split("?")[0], server.url(restored)
    dry = command_line.run(tmp_path, "rescue", damaged, restored, "--dry-run", url=url)
    assert (dry.code, list(tmp_path.rglob("rescue"))) == (0, [])
    assert "public.parent: 3 inserted, 2 changed, 2 deleted" in dry.out
    written = command_line.run(tmp_path, "rescue", damaged, restored, "--json", url=url)
    folder = Path(written.document["folder"])
    assert (written.code, folder.is_dir()) == (0, True)
    asked = command_line.run(tmp_path, "rescue", "--replay", folder.parent.name, "child", url=url)
    assert (asked.code, rows(url, "SELECT count(*) FROM child")) == (2, [(30,)])
    words = ("rescue", "--replay", folder.parent.name, "public.child", "parent", "--yes")
    done = command_line.run(tmp_path, *words, url=url)
    assert done.code == 13, done.said  # committed, and one row could not go
    assert rows(url, "SELECT count(*) FROM child") == [(32,)]
    said = dry.said + written.said + asked.said + done.said
    assert [value for value in ("DROP TABLE quiet", "p49", "infinity") if value in said] == []
    server.run(f"DROP DATABASE {restored}")


def test_a_full_disk_leaves_no_half_rescue(two: Two, tmp_path: Path) -> None:
    names = [url.split("///")[1].split("?")[0] for url in (two.damaged_url, two.restored_url)]
    line = f"ulimit -f 1; exec {command_line.LAWSKER_DB} rescue {' '.join(names)}"
    env = command_line.environment(tmp_path, two.restored_url)
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 10, done.stdout + done.stderr
    assert "cannot be written" in done.stderr
    assert list(tmp_path.rglob("*.csv")) + list(tmp_path.rglob("rescue*")) == []


# ---- shapes ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def blank(server: Any) -> Iterator[Two]:
    """Two empty databases, for tests that fill and empty them."""
    names = create(server), create(server)
    yield Two(*map(server.url, names))
    for name in names:
        server.run(f"DROP DATABASE {name}")


def wipe(two: Two) -> None:
    for url in (two.damaged_url, two.restored_url):
        run(
            url,
            "DROP SCHEMA public CASCADE; CREATE SCHEMA public; DROP SCHEMA IF EXISTS lawsker_db CASCADE;"
            "DROP EXTENSION IF EXISTS postgres_fdw CASCADE; SELECT lo_unlink(oid) FROM pg_largeobject_metadata",
        )


def test_two_empty_databases_are_equal(blank: Two) -> None:
    wipe(blank)
    assert find_rescue(*blank.targets) == Rescue(tables=(), equal=(), only_restored=(), left_out=())


def test_tables_are_compared_on_the_columns_that_both_have_whatever_their_order_and_type(
    blank: Two, tmp_path: Path
) -> None:
    wipe(blank)
    table = "CREATE TABLE t ({}); INSERT INTO t (id, b, c) SELECT n, 'b' || n, n FROM generate_series(1, 9) n"
    run(blank.restored_url, table.format("id int PRIMARY KEY, a int DEFAULT 7, b text, c numeric(20, 2), d text"))
    run(blank.restored_url, "CREATE TABLE old (id int)")
    run(blank.damaged_url, table.format("c numeric(20, 4), gone int, id bigint PRIMARY KEY, b varchar(50)"))
    run(
        blank.damaged_url,
        "ALTER TABLE t DROP COLUMN gone; UPDATE t SET c = c::numeric(20, 2); ALTER TABLE t ALTER c TYPE numeric;"
        "UPDATE t SET c = round(c, 2); ALTER TABLE t ADD extra text; UPDATE t SET extra = 'e', b = 'B' WHERE id = 3;"
        "INSERT INTO t VALUES (0.123, 100, 'lossy', 'e'), (0.12, 101, 'fits', 'e')",
    )
    found = find_rescue(*blank.targets)
    (one,) = found.tables
    assert (one.inserted, one.changed, one.deleted) == (2, 1, 0)
    assert (one.only_damaged, one.only_restored, found.only_restored) == (("extra",), ("a", "d"), ("public.old",))
    export_rescue(*blank.targets, found, tmp_path)
    lines = read_all(tmp_path / "rescue" / "public.t.csv")
    assert [(line["id"], line["extra"]) for line in lines] == [("100", "e"), ("101", "e"), ("3", "e")]
    done = replay_rescue(blank.targets[1], tmp_path, ("public.t",))
    (refused,) = read_all(Path(done.refused))
    assert (refused["key"], refused["reason"].split(":")[0]) == ('{"id" : "100"}', "a column here is narrower")
    assert rows(blank.restored_url, "SELECT id, a, b FROM t WHERE id IN (3, 100, 101) ORDER BY 1") == [
        (3, 7, "B"),
        (101, 7, "fits"),
    ]


FLOATS = st.sampled_from([None, "0", "-0", "NaN", "1.5", "Infinity"])
WORDS = st.sampled_from([None, "", "a", "A", "\u00e9", "e\u0301", "\n", "NULL", '"', "\\N"])
CONTENT = st.tuples(FLOATS, WORDS)
KEYED = st.dictionaries(st.integers(0, 12), CONTENT, max_size=12)
LOOSE = st.lists(CONTENT, max_size=12)


def fill(url: str, keyed: dict[int, tuple[str | None, str | None]], loose: list[tuple[str | None, str | None]]) -> None:
    with psycopg.connect(url) as conn, conn.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE keyed (k int PRIMARY KEY, f float8, w text); CREATE TABLE loose (f float8, w text)"
        )
        cursor.executemany("INSERT INTO keyed VALUES (%s, %s, %s)", [(key, *row) for key, row in keyed.items()])
        cursor.executemany("INSERT INTO loose VALUES (%s, %s)", loose)


def require_found(blank: Two, mine: Any, other: Any) -> None:
    (theirs, loose), (ours, kept) = mine, other
    wipe(blank)
    fill(blank.damaged_url, *mine)
    fill(blank.restored_url, *other)
    more, fewer = Counter(loose) - Counter(kept), Counter(kept) - Counter(loose)
    both = theirs.keys() & ours.keys()
    changed = sum(theirs[key] != ours[key] for key in both)
    expected = {
        "public.keyed": (len(theirs.keys() - both), changed, len(ours.keys() - both)),
        "public.loose": (more.total(), 0, fewer.total()),
    }
    found = counts(find_rescue(*blank.targets))
    assert found == {table: numbers for table, numbers in expected.items() if any(numbers)}


SIDE = st.tuples(KEYED, LOOSE)
QUICKLY = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@settings(QUICKLY, max_examples=8)
@given(SIDE, SIDE)
def test_any_two_small_tables_differ_in_exactly_the_rows_that_differ(blank: Two, mine: Any, other: Any) -> None:
    require_found(blank, mine, other)


@pytest.mark.long
@settings(QUICKLY, max_examples=300)
@given(SIDE, SIDE)
def test_many_small_tables_differ_in_exactly_the_rows_that_differ(blank: Two, mine: Any, other: Any) -> None:
    require_found(blank, mine, other)


# ---- the ledger ------------------------------------------------------------------------------------------------------

LEDGER = """
    CREATE EXTENSION citext;
    CREATE TABLE composite (a int, b citext, weight float8, twice float8 GENERATED ALWAYS AS (weight * 2) STORED,
        PRIMARY KEY (a, b));
    CREATE TABLE parted (id int, day date, raw jsonb, worth numeric, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
    CREATE TABLE parted_2 PARTITION OF parted DEFAULT;
    CREATE TABLE keyless (a int, b float8);
    INSERT INTO composite (a, b, weight) SELECT n, 'b', n FROM generate_series(0, 399) n;
    INSERT INTO parted SELECT n, '2026-01-05', '{"n": 1}', 1.0 FROM generate_series(0, 399) n;
    INSERT INTO keyless SELECT n % 7, 0.5 FROM generate_series(0, 399) n;
"""
CLIENTS, WRITES = 4, 60
Rows = dict[tuple[str, ...], tuple[str | None, ...]]


class Client(threading.Thread):
    """One client that writes rows of its own, and notes what the server has acknowledged."""

    def __init__(self, url: str, number: int) -> None:
        super().__init__()
        self.url, self.number, self.chance = url, number, random.Random(number)
        self.composite: Rows = {(str(n), "b"): (str(n),) for n in range(400) if n % CLIENTS == number}
        self.parted: Rows = {(str(n), "2026-01-05"): ('{"n": 1}', "1.0") for n in range(400) if n % CLIENTS == number}
        self.loose: Counter[tuple[str, str]] = Counter()
        self.next, self.failed = 1000 + number, ""

    def run(self) -> None:
        try:
            with psycopg.connect(self.url) as conn:
                for _ in range(WRITES):
                    self.write(conn)
        except psycopg.Error as failed:
            self.failed = str(failed)

    def write(self, conn: psycopg.Connection[Any]) -> None:
        """One transaction: a write in each table, acknowledged or rolled back."""
        composite, parted, loose = dict(self.composite), dict(self.parted), Counter(self.loose)
        self.composite_write(conn, composite)
        self.parted_write(conn, parted)
        row = (str(self.chance.randrange(7)), self.chance.choice(("0", "-0", "0.5")))
        if self.chance.random() < 0.6:
            conn.execute("INSERT INTO keyless VALUES (%s, %s)", row)
            loose[row] += 1
        else:
            gone = conn.execute(
                "DELETE FROM keyless WHERE ctid = (SELECT ctid FROM keyless WHERE a = %s AND b::text = %s LIMIT 1"
                " FOR UPDATE SKIP LOCKED)",
                row,
            )
            loose[row] -= gone.rowcount
        if self.chance.random() < 0.15:
            conn.rollback()
            return
        conn.commit()
        self.composite, self.parted, self.loose = composite, parted, loose

    def fresh(self) -> str:
        self.next += CLIENTS
        return str(self.next)

    def composite_write(self, conn: psycopg.Connection[Any], known: Rows) -> None:
        key, weight = self.chance.choice(sorted(known)), self.chance.choice(("0", "-0", "NaN", "0.1", key_of(known)))
        match self.chance.choice("iudk"):
            case "i":
                new = (self.fresh(), self.chance.choice(("b", "B", "\u4e2d")))
                conn.execute("INSERT INTO composite (a, b, weight) VALUES (%s, %s, %s)", (*new, weight))
                known[new] = (weight,)
            case "u":
                conn.execute("UPDATE composite SET weight = %s WHERE a = %s AND b = %s", (weight, *key))
                known[key] = (weight,)
            case "d":
                conn.execute("DELETE FROM composite WHERE a = %s AND b = %s", key)
                del known[key]
            case _:
                new = (key[0], key[1].swapcase())  # the same key to its index, another one to bytes
                conn.execute("UPDATE composite SET b = %s WHERE a = %s AND b = %s", (new[1], *key))
                known[new] = known.pop(key)

    def parted_write(self, conn: psycopg.Connection[Any], known: Rows) -> None:
        key, raw = self.chance.choice(sorted(known)), self.chance.choice(('{"n": 1}', '{"n": 2}', None))
        worth = self.chance.choice(("1.0", "1.00", "1"))
        match self.chance.choice("iudk"):
            case "i":
                new = (self.fresh(), "2026-03-01")
                conn.execute("INSERT INTO parted VALUES (%s, %s, %s, %s)", (*new, raw, worth))
                known[new] = (raw, worth)
            case "u":
                conn.execute("UPDATE parted SET raw = %s, worth = %s WHERE id = %s AND day = %s", (raw, worth, *key))
                known[key] = (raw, worth)
            case "d":
                conn.execute("DELETE FROM parted WHERE id = %s AND day = %s", key)
                del known[key]
            case _:
                new = (key[0], "2026-02-10" if key[1] != "2026-02-10" else "2026-01-06")  # to the other partition
                conn.execute("UPDATE parted SET day = %s WHERE id = %s AND day = %s", (new[1], *key))
                known[new] = known.pop(key)


def key_of(known: Rows) -> str:
    return min(known)[0]


def changes(before: Rows, after: Rows, mark: dict[str, set[tuple[str, ...]]]) -> None:
    mark["inserted"] |= after.keys() - before.keys()
    mark["deleted"] |= before.keys() - after.keys()
    mark["changed"] |= {key for key in before.keys() & after.keys() if before[key] != after[key]}


def marked(path: Path, *key: str) -> dict[str, set[tuple[str, ...]]]:
    found: dict[str, set[tuple[str, ...]]] = {"inserted": set(), "changed": set(), "deleted": set()}
    for line in read_all(path):
        found[line["lawsker_change"]].add(tuple(line[name] for name in key))
    return found


def test_rescue_finds_exactly_what_several_clients_were_told_is_written(server: Any, tmp_path: Path) -> None:
    restored = create(server)
    run(server.url(restored), LEDGER)
    damaged = create(server, restored)
    two = Two(server.url(damaged), server.url(restored))
    clients = [Client(two.damaged_url, number) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    find_rescue(*two.targets)  # the first pass: they go on meanwhile
    for client in clients:
        client.join()
    assert [client.failed for client in clients] == [""] * CLIENTS
    found = find_rescue(*two.targets)
    export_rescue(*two.targets, found, tmp_path)
    composite: dict[str, set[tuple[str, ...]]] = {"inserted": set(), "changed": set(), "deleted": set()}
    parted: dict[str, set[tuple[str, ...]]] = {"inserted": set(), "changed": set(), "deleted": set()}
    for client in clients:
        first = Client(two.damaged_url, client.number)
        changes(first.composite, client.composite, composite)
        changes(first.parted, client.parted, parted)
    folder = tmp_path / "rescue"
    assert marked(folder / "public.composite.csv", "a", "b") == composite
    assert marked(folder / "public.parted.csv", "id", "day") == parted
    net: Counter[tuple[str, str]] = Counter()
    for client in clients:
        net.update(client.loose)
    told = [(line["lawsker_change"], (line["a"], line["b"])) for line in read_all(folder / "public.keyless.csv")]
    assert Counter(row for change, row in told if change == "inserted") == +net
    assert Counter(row for change, row in told if change == "deleted") == -net
    for name in (damaged, restored):
        server.run(f"DROP DATABASE {name}")


# ---- what stands in the way ------------------------------------------------------------------------------------------


def test_rows_that_need_each_other_go_in_whatever_their_order(blank: Two, tmp_path: Path) -> None:
    wipe(blank)
    tables = """
        CREATE TABLE a (id int PRIMARY KEY, b int); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);
        ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b DEFERRABLE INITIALLY DEFERRED;
        CREATE TABLE tree (id int PRIMARY KEY, above int REFERENCES tree, name text UNIQUE);
        INSERT INTO tree VALUES (1, NULL, 'one'), (2, NULL, 'two');
        CREATE DOMAIN even AS int CHECK (VALUE % 2 = 0); CREATE TABLE checked (id even PRIMARY KEY, n varchar(9));
    """
    for url in (blank.damaged_url, blank.restored_url):
        run(url, tables)
    run(
        blank.damaged_url,
        "INSERT INTO a VALUES (1, NULL), (2, NULL); INSERT INTO b VALUES (1, 1); UPDATE a SET b = 1 WHERE id = 2;"
        "INSERT INTO tree SELECT n, nullif(n - 1, 4999), 'n' || n FROM generate_series(7000, 5000, -1) n;"
        "UPDATE tree SET name = 'free' WHERE id = 1;"
        "UPDATE tree SET name = 'one' WHERE id = 2; ALTER DOMAIN even DROP CONSTRAINT even_check;"
        "INSERT INTO checked VALUES (3, 'odd'), (4, 'even')",
    )
    found = find_rescue(*blank.targets)
    export_rescue(*blank.targets, found, tmp_path)
    done = replay_rescue(blank.targets[1], tmp_path, tuple(table.table for table in found.tables))
    assert {t.table: (t.inserted, t.updated, t.refused) for t in done.tables} == {
        "public.a": (2, 0, 0),
        "public.b": (1, 0, 0),
        "public.tree": (2001, 2, 0),
        "public.checked": (1, 0, 1),
    }
    (refused,) = read_all(Path(done.refused))
    assert (refused["key"], refused["sqlstate"], refused["reason"]) == ('{"id" : "3"}', "23514", "even_check")


def test_what_is_no_table_is_named_and_what_is_foreign_is_not_asked(blank: Two) -> None:
    wipe(blank)
    tables = """
        CREATE EXTENSION postgres_fdw; CREATE SERVER nowhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (port '1');
        CREATE USER MAPPING FOR PUBLIC SERVER nowhere; CREATE FOREIGN TABLE far (id int) SERVER nowhere;
        CREATE TABLE torn (id int, v text) PARTITION BY RANGE (id);
        CREATE TABLE torn_near PARTITION OF torn FOR VALUES FROM (0) TO (10);
        CREATE FOREIGN TABLE torn_far PARTITION OF torn FOR VALUES FROM (10) TO (20) SERVER nowhere;
        CREATE SEQUENCE counting; CREATE MATERIALIZED VIEW seen AS SELECT 1; SELECT lo_from_bytea(0, 'x');
    """
    for url in (blank.damaged_url, blank.restored_url):
        run(url, tables)
    run(blank.damaged_url, "SELECT nextval('counting'), nextval('counting'); INSERT INTO torn VALUES (1, 'near')")
    found = find_rescue(*blank.targets)
    assert counts(found) == {"public.torn_near": (1, 0, 0)}
    assert [name for name, _ in found.left_out] == [
        "large objects",
        *("public.counting", "public.far", "public.seen", "public.torn", "public.torn_far"),
    ]


def test_a_rescue_that_others_may_write_or_that_was_altered_is_not_replayed(
    two: Two, exported: tuple[Path, RescueExport], tmp_path: Path
) -> None:
    folder = shutil.copytree(exported[0] / "rescue", tmp_path / "rescue")
    target, before = two.targets[1], {path.name for path in folder.glob("replayed*")}
    with (folder / "public.base.csv").open("a") as file:
        file.write("inserted,,99,more\n")
    with pytest.raises(Refused, match="does not hold the rows that were written"):
        replay_rescue(target, tmp_path, ("public.base",))
    (folder / "public.derived.csv").unlink()
    (folder / "public.derived.csv").symlink_to(exported[0] / "rescue" / "public.derived.csv")
    with pytest.raises(Refused, match="no ordinary file"):
        replay_rescue(target, tmp_path, ("public.derived",))
    folder.chmod(0o777)
    with pytest.raises(Refused, match="others may write"):
        replay_rescue(target, tmp_path, ("public.parent",))
    assert {path.name for path in folder.glob("replayed*")} == before


# ---- other servers ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Running:
    """A server of one major version, used as the session's own is."""

    local: ThrowawayServer

    def url(self, database: str) -> str:
        return self.local.url(database)

    def run(self, statement: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as conn:
            conn.execute(statement.encode())


@pytest.mark.majors
@pytest.mark.parametrize("major", range(12, 19))
def test_every_major_version_finds_and_puts_back_the_same_rows(major: int, tmp_path: Path) -> None:
    programs = binaries_in(Path(os.environ["LAWSKER_MAJORS"]).absolute() / str(major) / "bin", origin="LAWSKER_MAJORS")
    with throwaway_server(programs) as local:
        server = Running(local)
        origin = create(server)
        run(server.url(origin), SCHEMA)
        damaged, restored = create(server, origin), create(server, origin)
        two = Two(server.url(damaged), server.url(restored))
        run(two.damaged_url, "; ".join((*(statement for statement, _ in DAMAGE.values()), BESIDE)))
        run(two.restored_url, WAKEFUL)
        expected = {table: numbers for table, (_, numbers) in DAMAGE.items()}
        run(two.restored_url, "UPDATE parted SET body = 'body' WHERE id = 4; TRUNCATE fired")
        found = find_rescue(*two.targets)
        assert counts(found) == expected
        export = export_rescue(*two.targets, found, tmp_path)
        run(two.restored_url, "UPDATE parted SET body = 'mine' WHERE id = 4")
        tables = tuple(table.table for table in export.tables if not table.made_since)
        done = replay_rescue(two.targets[1], tmp_path, tables)
        assert sum(table.refused for table in done.tables) == 3
        left = counts(find_rescue(*two.targets))
        assert {table: numbers[:2] for table, numbers in left.items() if any(numbers[:2])} == LEFT
        assert rows(two.restored_url, "SELECT * FROM fired") == []


LEFT = {"public.parent": (1, 0), "public.by_name": (1, 0), "public.parted": (0, 1), "public.later": (2, 0)}
