"""The main road on the sample with all its extras: adopt, safe-upgrade, verify, back, and again under a writing client."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import oracle
import psycopg
import pytest

from lawsker_db.evidence import Event, Phase, RunReport, Verdict
from lawsker_db.safety.upgrade import UpgradeOptions, safe_upgrade
from lawsker_db.safety.verification import VerifyOptions, verify
from lawsker_db.target import parse_target

ROOT = Path(__file__).parents[2]
NEW_TABLES = [
    "lawyer_levels",
    "lawyer_certification_requests",
    "workspace_mappings",
    "demo_accounts",
    "lawyer_level_details",
    "lawyer_point_transactions",
    "lawyer_online_sessions",
    "user_memberships",
    "lawyer_memberships",
    "user_credits",
    "credit_purchase_records",
    "lawyer_case_declines",
    "lawyer_assignment_suspensions",
    "enterprise_clients",
    "enterprise_service_packages",
    "enterprise_subscriptions",
    "collection_success_stats",
]
NEW_ON_USERS = (
    "users_workspace_id_key",
    "idx_users_account_type",
    "idx_users_email_verified",
)
BASELINE_TABLES = [
    "tenants",
    "roles",
    "system_configs",
    "users",
    "clients",
    "profiles",
    "user_roles",
    "wallets",
    "cases",
    "case_logs",
    "insurances",
    "transactions",
    "commission_splits",
]
LOCKED = {
    "users": "AccessExclusiveLock",
    "cases": "ShareRowExclusiveLock",
    "user_roles": "ShareLock",
    "roles": "ShareLock",
}

# What every user is to have, judged by SQL that shares nothing with the revision. %(left_out)s: users to leave out.
WANTED = """
    SELECT u.id, m.user_id IS NOT NULL AS mapped, u.workspace_id, m.workspace_id, m.workspace_type, m.is_demo,
           u.account_type, u.email_verified, u.registration_source, u.status::text,
           EXISTS (SELECT FROM user_roles x, roles r WHERE x.user_id = u.id AND r.id = x.role_id
                   AND r.name ~* '^lawyer$'),
           EXISTS (SELECT FROM user_roles x, roles r WHERE x.user_id = u.id AND r.id = x.role_id
                   AND r.name ~* '^(super_)?admin$'),
           EXISTS (SELECT FROM user_roles x, roles r WHERE x.user_id = u.id AND r.id = x.role_id
                   AND r.name ~* '^(user|institution)$'),
           (SELECT count(*) FROM cases c WHERE c.assigned_to_user_id = u.id),
           (SELECT count(*) FROM cases c WHERE c.assigned_to_user_id = u.id AND c.status = 'COMPLETED'),
           (SELECT array_agg(ARRAY[d.current_level, d.level_points, d.cases_completed, d.cases_won, d.success_rate])
            FROM lawyer_level_details d WHERE d.lawyer_id = u.id),
           (SELECT array_agg(ARRAY[k.credits_weekly, k.credits_remaining]) FROM user_credits k WHERE k.user_id = u.id)
    FROM users u LEFT JOIN workspace_mappings m ON m.user_id = u.id
    WHERE u.id <> ALL (%(left_out)s ::uuid[])
"""


def alembic(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run plain Alembic in the checkout, as an operator does."""
    command = [sys.executable, "-m", "alembic", *arguments]
    environment = {**os.environ, "DATABASE_URL": url}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)


def rows(url: str, query: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode(), parameters).fetchall()


def statements(url: str) -> set[str]:
    return set(oracle.schema(url).split("\n"))


@dataclass
class Upgraded:
    """One database through safe-upgrade: how it was before, and everything seen on the way."""

    url: str
    columns: dict[str, tuple[str, ...]]
    before: dict[str, str]
    statements: set[str]
    stamps: list[tuple[Any, ...]]
    report: RunReport
    events: list[Event] = field(default_factory=list)
    held: dict[str, set[str]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def upgraded(server: Any, adopted_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    """The adopted sample after safe-upgrade. Tests that use it only look."""
    name = f"main_road_{uuid.uuid4().hex[:8]}"
    server.run(f"CREATE DATABASE {name} TEMPLATE {adopted_template}")
    url = server.url(name)
    events: list[Event] = []
    held: dict[str, set[str]] = {}

    def watch(event: Event) -> None:
        events.append(event)
        if event.phase is Phase.COMMIT and event.name == "about to commit":
            found = rows(
                url,
                "SELECT c.relname, l.mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
                " WHERE l.pid = %s AND l.granted AND c.relname = ANY (%s)",
                (event.facts["backend_pid"], BASELINE_TABLES),
            )
            for table, mode in found:
                held.setdefault(table, set()).add(mode)

    found = Upgraded(
        url=url,
        columns=oracle.columns(url),
        before=oracle.content(url),
        statements=statements(url),
        stamps=rows(url, "SELECT id, updated_at FROM users ORDER BY id"),
        report=safe_upgrade(
            parse_target(url), options=UpgradeOptions(runs=tmp_path_factory.mktemp("runs")), on_event=watch
        ),
        events=events,
        held=held,
    )
    yield found
    server.run(f"DROP DATABASE {name}")


def test_the_verdict_is_done_and_all_checks_passed(upgraded: Upgraded) -> None:
    report = upgraded.report
    assert report.verdict is Verdict.DONE
    assert (report.from_revisions, report.to_revisions, report.steps) == (("012",), ("013",), ("013",))
    # the sample has an unlogged table, which a crash of the server would empty
    told = [check.name for check in report.checks if check.ok is not True and not check.code]
    assert [name for name in told if not name.startswith("holes of")] == ["dump: unlogged tables"]
    # what the sample is odd in: a role for reports that may read users and not the new tables, users without a role, and
    # that it is a clone of the database in which it was adopted
    assert [check.code for check in report.checks if check.ok is False and check.code] == ["S21", "D18", "D23"]
    gate = [check for check in report.checks if not check.name.startswith(("needed", "right", "contract"))]
    assert len(gate) >= 33
    assert rows(upgraded.url, "SELECT version_num FROM alembic_version") == [("013",)]


def test_every_old_table_has_its_content_on_its_old_columns(upgraded: Upgraded) -> None:
    after = oracle.content(upgraded.url, only_columns=upgraded.columns)
    assert {name: digest for name, digest in after.items() if name in upgraded.before} == upgraded.before
    assert {name.removeprefix("public.") for name in after.keys() - upgraded.before.keys()} == {
        *NEW_TABLES,
        "lawyer_levels_id_seq",
    }


def test_the_updated_at_trigger_of_users_moved_no_stamp(upgraded: Upgraded) -> None:
    trigger = rows(upgraded.url, "SELECT tgenabled FROM pg_trigger WHERE tgname = 'update_users_updated_at'")
    assert trigger == [("O",)]
    assert rows(upgraded.url, "SELECT id, updated_at FROM users ORDER BY id") == upgraded.stamps


def test_the_schema_text_grew_by_the_promised_objects_and_nothing_else(upgraded: Upgraded) -> None:
    after = statements(upgraded.url)
    gone = upgraded.statements - after
    assert len(gone) == 1
    assert gone.pop().startswith("CREATE TABLE public.users (")
    for statement in after - upgraded.statements:
        words = statement.replace("(", " ").replace(";", " ").replace("'", " ").split()
        names = {word.removeprefix("public.") for word in words}
        ours = {*NEW_TABLES, *NEW_ON_USERS, "lawyer_levels_id_seq", "lawsker_touch_updated_at"}
        assert names & ours or statement.startswith("CREATE TABLE public.users ("), statement


def test_old_columns_of_users_stand_first_and_the_four_new_ones_last(upgraded: Upgraded) -> None:
    added = ("workspace_id", "account_type", "email_verified", "registration_source")
    assert oracle.columns(upgraded.url)["public.users"] == (*upgraded.columns["public.users"], *added)


def test_report_json_tells_the_true_row_counts(upgraded: Upgraded) -> None:
    told = json.loads((Path(upgraded.report.folder) / "report.json").read_text())
    assert told["verdict"] == "done"
    counted = {table: rows(upgraded.url, f"SELECT count(*) FROM {table}")[0][0] for table in NEW_TABLES}
    assert told["rows_made"] == counted
    assert counted["lawyer_levels"] == 10
    roleless = rows(
        upgraded.url,
        "SELECT count(*) FROM users u WHERE NOT EXISTS (SELECT FROM user_roles x JOIN roles r ON r.id = x.role_id"
        " WHERE x.user_id = u.id AND r.name ~* '^(lawyer|admin|super_admin|user|institution)$')",
    )
    assert list(told["figures"].values()) == [roleless[0][0]]


def test_report_json_tells_the_locks_that_were_really_held(upgraded: Upgraded) -> None:
    told = json.loads((Path(upgraded.report.folder) / "report.json").read_text())
    words = {lock["table"].removeprefix("public."): lock["mode"] for lock in told["locks"]}
    assert {table: "".join(mode.title().split()) + "Lock" for table, mode in words.items()} == LOCKED
    weak = {"AccessShareLock", "RowShareLock"}
    strong = {table: modes - weak for table, modes in upgraded.held.items() if modes - weak}
    assert strong.keys() == LOCKED.keys()
    assert all(LOCKED[table] in modes for table, modes in strong.items())
    assert all(lock["held_s"] > 0 and lock["attempts"] >= 1 for lock in told["locks"])


def test_report_json_tells_how_each_old_relation_was_proven(upgraded: Upgraded) -> None:
    told = json.loads((Path(upgraded.report.folder) / "report.json").read_text())
    proofs = {content["table"]: content["proof"] for content in told["contents"]}
    standing = {name for name in upgraded.before if name != "large objects"}
    quoted = {'public.Quoted "Name"\n': 'public."Quoted ""Name""\n"'}
    assert proofs.keys() == {quoted.get(name, name) for name in standing} | {
        "pg_catalog.pg_largeobject",
        "pg_catalog.pg_largeobject_metadata",
    }
    assert {table for table, proof in proofs.items() if proof != "untouched"} == {"public.users"}
    users = next(content for content in told["contents"] if content["table"] == "public.users")
    assert (users["proof"], users["rows"]) == ("fingerprint", len(upgraded.stamps))


def test_report_html_shows_the_verdict_and_every_check(upgraded: Upgraded) -> None:
    page = (Path(upgraded.report.folder) / "report.html").read_text()
    checks = upgraded.report.checks
    left_out = sum(check.ok is None and bool(check.code) for check in checks)
    warnings = sum(check.warning and check.ok is not True for check in checks) - left_out
    assert page.count("passed") >= len(checks) - warnings - left_out
    assert page.count(">not run<") == left_out
    assert page.count(">warning<") == warnings
    assert "FAILED" not in page
    assert upgraded.report.run_id in page
    assert "http://" not in page
    assert "https://" not in page


def test_the_journal_is_whole_and_in_order_with_the_intent_before_the_commit(upgraded: Upgraded) -> None:
    lines = (Path(upgraded.report.folder) / "journal.jsonl").read_text().splitlines()
    entries = []
    for line in lines:
        total, _, body = line.partition(" ")
        assert hashlib.sha256(body.encode()).hexdigest()[:16] == total
        entries.append(json.loads(body))
    assert [entry["at"] for entry in entries] == sorted(entry["at"] for entry in entries)
    names = [entry["name"] for entry in entries]
    assert names == [event.name for event in upgraded.events if event.lasting]
    order = ["snapshot", "taken", "proven", "forecast", "locked", "observed", "judged", "about to commit", "committed"]
    places = [names.index(name) for name in order]
    assert places == sorted(places)
    intent = entries[names.index("about to commit")]
    assert intent["facts"]["run_id"] == upgraded.report.run_id
    assert intent["facts"]["server"]["system_identifier"]


def test_the_marker_row_tells_who_did_what_with_which_backup(upgraded: Upgraded) -> None:
    found = rows(
        upgraded.url,
        "SELECT run_id, direction, via, from_revisions, to_revisions, steps, backup_id, rows_made"
        " FROM lawsker_db.migration_run ORDER BY position",
    )
    assert [row[1] for row in found] == ["adopt", "upgrade"]
    run = found[-1]
    assert run[:6] == (upgraded.report.run_id, "upgrade", "safe-upgrade", ["012"], ["013"], ["013"])
    assert run[6] == upgraded.report.backup.backup_id if upgraded.report.backup else False
    assert run[7] == upgraded.report.rows_made


def test_the_backup_is_the_files_that_its_manifest_describes(upgraded: Upgraded) -> None:
    folder = Path(upgraded.report.folder) / "backup"
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert (folder / "database" / "toc.dat").read_bytes()[:5] == b"PGDMP"
    assert manifest["proof"] is not None
    assert [path.name for path in folder.rglob("*") if path.name.endswith(".partial")] == []
    for path in (folder, *folder.rglob("*"), *folder.parent.iterdir()):
        assert path.stat().st_mode & 0o077 == 0, path


def test_verify_finds_nothing_that_must_stop_anyone(upgraded: Upgraded) -> None:
    picture = oracle.picture(upgraded.url)
    checks = verify(parse_target(upgraded.url), options=VerifyOptions(runs=Path(upgraded.report.folder).parent))
    assert [check for check in checks if check.fails] == []
    # The sample's report role holds no grants by default privileges, autovacuum has not come, and 012 was adopted elsewhere.
    assert {check.code for check in checks if check.ok is False} <= {"S21", "P02", "D18", "D19", "D23"}
    assert next(check.found for check in checks if check.code == "D01") == "26 tables hold what they held"
    assert oracle.picture(upgraded.url) == picture


def test_a_second_safe_upgrade_has_nothing_to_do_and_does_nothing(upgraded: Upgraded, tmp_path: Path) -> None:
    picture = oracle.picture(upgraded.url)
    runs = rows(upgraded.url, "SELECT count(*) FROM lawsker_db.migration_run")
    report = safe_upgrade(parse_target(upgraded.url), options=UpgradeOptions(runs=tmp_path / "runs"))
    assert report.verdict is Verdict.NOTHING_TO_DO
    assert oracle.picture(upgraded.url) == picture
    assert rows(upgraded.url, "SELECT count(*) FROM lawsker_db.migration_run") == runs
    assert not (tmp_path / "runs").exists()


def test_every_user_has_the_right_rows_by_an_independent_query(upgraded: Upgraded) -> None:
    judged = judge_users(upgraded.url, left_out=())
    assert judged == {True: len(upgraded.stamps), False: 0}


def judge_users(url: str, left_out: tuple[str, ...]) -> dict[bool, int]:
    """Assert that every user is right as one who was there at COMMIT, or as one who came after; count both."""
    counts = {True: 0, False: 0}
    shared = rows(url, "SELECT count(*) - count(DISTINCT workspace_id) FROM users")
    assert shared == [(0,)]
    for row in rows(url, WANTED, {"left_out": list(left_out)}):
        (user, mapped, own, mapping, kind, demo, account, verified, source, status, lawyer, admin, credit) = row[:13]
        assigned, completed, details, credits_ = row[13:]
        counts[mapped] += 1
        assert (verified, source) == (False, "web"), user
        assert len(own) == 15, own
        if not mapped:
            assert (account, details, credits_) == ("pending", None, None), user
            continue
        wanted = "lawyer" if lawyer else "admin" if admin else "user"
        assert (mapping, kind, demo) == (own, wanted, False), user
        assert account == (wanted if status == "ACTIVE" else "pending"), user
        rate = round(100 * completed / assigned + 1e-9, 2) if assigned else 0
        expected = [[1, 0, completed, completed, pytest.approx(rate, abs=0.0051)]] if lawyer else None
        assert (details and [[float(x) for x in d] for d in details]) == expected, user
        assert credits_ == ([[1, 1]] if credit else None), user
    return counts


def test_up_down_up_gives_an_identical_catalog_and_unchanged_old_content(adopted_url: str, tmp_path: Path) -> None:
    columns, before = oracle.columns(adopted_url), oracle.picture(adopted_url)
    first = safe_upgrade(parse_target(adopted_url), options=UpgradeOptions(runs=tmp_path))
    upgraded = oracle.schema(adopted_url)
    down = alembic(adopted_url, "downgrade", "012")
    assert down.returncode == 0, down.stderr
    assert oracle.picture(adopted_url) == before
    second = safe_upgrade(parse_target(adopted_url), options=UpgradeOptions(runs=tmp_path))
    assert oracle.schema(adopted_url) == upgraded
    old = oracle.content(adopted_url, only_columns=columns)
    assert {name: digest for name, digest in old.items() if name in before[1]} == before[1]
    assert first.rows_made == second.rows_made
    assert judge_users(adopted_url, left_out=())[False] == 0
    assert [check for check in verify(parse_target(adopted_url)) if check.fails] == []
    history = rows(adopted_url, "SELECT direction FROM lawsker_db.migration_run ORDER BY position")
    assert [row[0] for row in history] == ["adopt", "upgrade", "downgrade", "upgrade"]


class OldApplication:
    """A client that writes users, roles and cases as the old application does: it knows nothing of the new columns.

    Each operation is one transaction. What COMMIT acknowledged goes into the ledger.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._chance = random.Random(20130113)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self.errors: list[BaseException] = []
        self.users: dict[str, tuple[str, str]] = {}
        self.deleted: set[str] = set()
        self.roles: dict[str, str] = {}
        self.held: set[tuple[str, str]] = set()
        self.cases: dict[str, tuple[str, str | None]] = {}
        self.log: list[tuple[float, float, frozenset[str], bool]] = []  # began, acknowledged, users concerned, insert

    @contextmanager
    def writing(self) -> Iterator[OldApplication]:
        self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join(60)
        assert not self._thread.is_alive()

    def wait_for(self, writes: int) -> None:
        """Wait until so many more writes were acknowledged."""
        goal, deadline = len(self.log) + writes, time.monotonic() + 60
        while len(self.log) < goal and not self.errors and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(self.log) >= goal or self.errors, "the client does not get on"

    def _write(self) -> None:
        try:
            with psycopg.connect(self._url, application_name="old application") as connection:
                found = connection.execute(
                    "SELECT c.tenant_id::text, c.id::text, c.sales_owner_id::text FROM clients c LIMIT 1"
                ).fetchone()
                assert found is not None
                self._tenant, self._client, self._seller = found
                for name in ("Lawyer", "institution", "ADMIN", "nobody"):
                    self._one(connection, self._new_role, name)
                while not self._stop.is_set():
                    operations = [self._new_user] * 4 + [self._change_user] * 3 + [self._new_case] * 2
                    operations += [self._change_case] * 2 + [self._give_role] * 2 + [self._take_role, self._drop_user]
                    self._one(connection, self._chance.choice([*operations, self._rename_role]))
                    time.sleep(0.002)
        except BaseException as failed:  # noqa: BLE001 - handed to the test
            self.errors.append(failed)

    def _one(self, connection: psycopg.Connection[Any], operation: Any, *arguments: str) -> None:
        began = time.monotonic()
        note, users, insert = operation(connection, *arguments)
        connection.commit()
        note()
        self.log.append((began, time.monotonic(), frozenset(users), insert))

    def _new_role(self, c: psycopg.Connection[Any], name: str) -> Any:
        role = str(uuid.uuid4())
        c.execute("INSERT INTO roles (id, name) VALUES (%s, %s)", (role, name))
        return lambda: self.roles.update({role: name}), (), False

    def _rename_role(self, c: psycopg.Connection[Any]) -> Any:
        role = self._chance.choice(sorted(self.roles))
        name = self._chance.choice(["lawyer", "LAWYER", "paralegal", "user", "super_admin"])
        holders = {user for user, held in self.held if held == role}
        c.execute("UPDATE roles SET name = %s WHERE id = %s", (name, role))
        return lambda: self.roles.update({role: name}), holders, False

    def _new_user(self, c: psycopg.Connection[Any]) -> Any:
        user, status = str(uuid.uuid4()), self._chance.choice(["ACTIVE", "PENDING"])
        c.execute(
            "INSERT INTO users (id, tenant_id, username, password_hash, status) VALUES (%s, %s, %s, 'x', %s)",
            (user, self._tenant, f"client-{user}", status),
        )
        held = {(user, role) for role in self._chance.sample(sorted(self.roles), self._chance.randint(0, 2))}
        for pair in sorted(held):
            c.execute("INSERT INTO user_roles (user_id, role_id) VALUES (%s, %s)", pair)

        def note() -> None:
            self.users[user] = (status, "")
            self.held |= held

        return note, {user}, True

    def _some_user(self) -> str | None:
        return self._chance.choice(sorted(self.users)) if self.users else None

    def _change_user(self, c: psycopg.Connection[Any]) -> Any:
        user = self._some_user()
        if user is None:
            return self._new_user(c)
        status, phone = self._chance.choice(["ACTIVE", "BANNED"]), str(self._chance.randrange(10**15))
        c.execute("UPDATE users SET status = %s, phone_number = %s WHERE id = %s", (status, phone, user))
        return lambda: self.users.update({user: (status, phone)}), {user}, False

    def _drop_user(self, c: psycopg.Connection[Any]) -> Any:
        user = self._some_user()
        if user is None or any(assigned == user for _, assigned in self.cases.values()):
            return self._new_user(c)
        c.execute("DELETE FROM user_roles WHERE user_id = %s", (user,))
        c.execute("DELETE FROM users WHERE id = %s", (user,))

        def note() -> None:
            del self.users[user]
            self.deleted.add(user)
            self.held -= {pair for pair in self.held if pair[0] == user}

        return note, {user}, False

    def _give_role(self, c: psycopg.Connection[Any]) -> Any:
        user, role = self._some_user(), self._chance.choice(sorted(self.roles))
        if user is None or (user, role) in self.held:
            return self._new_user(c)
        c.execute("INSERT INTO user_roles (user_id, role_id) VALUES (%s, %s)", (user, role))
        return lambda: self.held.add((user, role)), {user}, False

    def _take_role(self, c: psycopg.Connection[Any]) -> Any:
        if not self.held:
            return self._new_user(c)
        pair = self._chance.choice(sorted(self.held))
        c.execute("DELETE FROM user_roles WHERE user_id = %s AND role_id = %s", pair)
        return lambda: self.held.discard(pair), {pair[0]}, False

    def _new_case(self, c: psycopg.Connection[Any]) -> Any:
        case, user = str(uuid.uuid4()), self._some_user()
        status = self._chance.choice(["COMPLETED", "ASSIGNED"])
        c.execute(
            "INSERT INTO cases (id, tenant_id, client_id, case_number, debtor_info, case_amount, status,"
            " assigned_to_user_id, sales_user_id, debt_creation_date, legal_status)"
            " VALUES (%s, %s, %s, %s, '{}', 1, %s, %s, %s, '2023-01-01', 'VALID')",
            (case, self._tenant, self._client, case, status, user, self._seller),
        )
        return lambda: self.cases.update({case: (status, user)}), {user} - {None}, False

    def _change_case(self, c: psycopg.Connection[Any]) -> Any:
        if not self.cases:
            return self._new_user(c)
        case, user = self._chance.choice(sorted(self.cases)), self._some_user()
        c.execute(
            "UPDATE cases SET status = 'COMPLETED', assigned_to_user_id = %s WHERE id = %s",
            (user, case),
        )
        concerned = {user, self.cases[case][1]} - {None}
        return lambda: self.cases.update({case: ("COMPLETED", user)}), concerned, False

    def lost(self) -> list[str]:
        """Acknowledged writes that the database does not show."""
        users = {row[0]: row[1:] for row in rows(self._url, "SELECT id::text, status::text, phone_number FROM users")}
        roles = dict(rows(self._url, "SELECT id::text, name FROM roles"))
        held = set(rows(self._url, "SELECT user_id::text, role_id::text FROM user_roles"))
        cases = {
            row[0]: row[1:]
            for row in rows(self._url, "SELECT id::text, status::text, assigned_to_user_id::text FROM cases")
        }
        lost = [f"user {u}" for u, (s, phone) in self.users.items() if users.get(u) != (s, phone or None)]
        lost += [f"deleted user {user} is back" for user in self.deleted if user in users]
        lost += [f"role {role}" for role, name in self.roles.items() if roles.get(role) != name]
        lost += [f"held {pair}" for pair in self.held - held]
        ours = {pair for pair in held if pair[1] in self.roles}
        lost += [f"taken role {pair} is back" for pair in ours - self.held]
        return lost + [f"case {case}" for case, facts in self.cases.items() if cases.get(case) != facts]


def test_up_down_up_while_the_old_application_writes_loses_nothing(adopted_url: str, tmp_path: Path) -> None:
    times: dict[str, float] = {}
    options = UpgradeOptions(runs=tmp_path, patience_s=60, prove=False)
    with OldApplication(adopted_url).writing() as client:
        client.wait_for(30)
        safe_upgrade(parse_target(adopted_url), options=options)
        client.wait_for(30)
        assert alembic(adopted_url, "downgrade", "012").returncode != 0  # users have come: what they have would go
        down = alembic(adopted_url, "-x", "discard=yes", "downgrade", "012")
        assert down.returncode == 0, down.stderr
        client.wait_for(30)
        report = safe_upgrade(
            parse_target(adopted_url),
            options=options,
            on_event=lambda event: times.__setitem__(event.name, time.monotonic()),
        )
        client.wait_for(60)
    assert client.errors == []
    assert report.verdict is Verdict.DONE
    assert client.lost() == []
    moved = frozenset().union(*(users for _, acknowledged, users, _ in client.log if acknowledged > times["locked"]))
    counts = judge_users(adopted_url, left_out=tuple(moved & client.users.keys()))
    assert counts[True] > 120
    mapped = {row[0] for row in rows(adopted_url, "SELECT user_id::text FROM workspace_mappings")}
    there = {user for _, end, users, new in client.log if new and end < times["locked"] for user in users}
    late = {user for begin, _, users, new in client.log if new and begin > times["committed"] for user in users}
    assert there & client.users.keys() <= mapped
    assert late
    assert not late & mapped
    defaults = "SELECT DISTINCT account_type, email_verified, registration_source, workspace_id ~ '^ws-[0-9a-f]{12}$'"
    assert rows(
        adopted_url, f"{defaults} FROM users WHERE id = ANY (%s ::uuid[])", (list(late & client.users.keys()),)
    ) == [("pending", False, "web", True)]


def test_downgrade_base_refuses_where_the_baseline_was_adopted(adopted_url: str) -> None:
    before = oracle.picture(adopted_url)
    said = alembic(adopted_url, "downgrade", "base")
    assert said.returncode != 0
    assert "adopted" in said.stderr + said.stdout
    assert "Traceback" not in said.stderr
    assert oracle.picture(adopted_url) == before
    assert rows(adopted_url, "SELECT version_num FROM alembic_version") == [("012",)]
    assert rows(adopted_url, "SELECT direction FROM lawsker_db.migration_run") == [("adopt",)]


@pytest.mark.long
def test_an_adopted_database_at_head_keeps_everything_on_downgrade_base(adopted_url: str, tmp_path: Path) -> None:
    safe_upgrade(parse_target(adopted_url), options=UpgradeOptions(runs=tmp_path))
    before = oracle.picture(adopted_url)
    said = alembic(adopted_url, "downgrade", "base")
    assert said.returncode != 0
    assert "adopted" in said.stderr + said.stdout
    assert oracle.picture(adopted_url) == before
    assert rows(adopted_url, "SELECT version_num FROM alembic_version") == [("013",)]


def test_an_empty_database_goes_up_to_head_down_to_base_and_up_again(empty_url: str) -> None:
    empty = oracle.picture(empty_url)
    pictures = []
    for arguments in (("upgrade", "head"), ("downgrade", "base"), ("upgrade", "head")):
        said = alembic(empty_url, *arguments)
        assert said.returncode == 0, said.stderr
        pictures.append(oracle.picture(empty_url))
    assert pictures[0][0] == pictures[2][0]
    assert pictures[1] == empty
    tables = {row[0] for row in rows(empty_url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    assert tables == {*NEW_TABLES, *BASELINE_TABLES, "alembic_version"}


def test_downgrade_base_refuses_when_a_table_of_the_baseline_holds_a_row(empty_url: str) -> None:
    assert alembic(empty_url, "upgrade", "head").returncode == 0
    with psycopg.connect(empty_url) as connection:
        connection.execute("INSERT INTO roles (id, name) VALUES (%s, 'lawyer')", (uuid.uuid4(),))
    before = oracle.picture(empty_url)
    said = alembic(empty_url, "downgrade", "base")
    assert said.returncode != 0
    assert "roles" in said.stderr + said.stdout
    assert "Traceback" not in said.stderr
    assert oracle.picture(empty_url) == before
    assert rows(empty_url, "SELECT version_num FROM alembic_version") == [("013",)]
