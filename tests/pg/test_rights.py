"""What `lawsker-db grants` prints is enough for the whole road without a superuser, and no line of it is too much."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import command_line
import psycopg
import pytest
from command_line import Ended, everything
from migrated import ROLES_FOR_ALL

from lawsker_db.demo.sample import load_sample
from lawsker_db.demo.server import ThrowawayServer, throwaway_server
from lawsker_db.errors import LawskerError
from lawsker_db.evidence import Check
from lawsker_db.postgres.snapshot import mark_restore_point
from lawsker_db.safety.adoption import adopt
from lawsker_db.safety.upgrade import UpgradeOptions, look_ahead
from lawsker_db.safety.verification import verify
from lawsker_db.target import Target, parse_target

ROOT = Path(__file__).parents[2]
ROAD = (
    "adopt --yes",
    "doctor",
    "rehearse",
    "safe-upgrade --yes --no-rehearsal",
    "verify",
    "status",
    "backup create",
    "alembic downgrade 012",
    "recover",
)
ARRANGEMENTS = ("a plain role", "a superuser")  # who owns the application's tables


@pytest.fixture(scope="module")
def own_server() -> Iterator[ThrowawayServer]:
    """A server of this file's own: roles belong to a whole server."""
    with throwaway_server() as server:
        make(server, "of_superuser", server.superuser)
        yield server


def as_superuser(server: ThrowawayServer, database: str, *statements: str) -> None:
    with psycopg.connect(server.url(database), autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement.encode())


def as_role(server: ThrowawayServer, database: str, role: str) -> Target:
    target = parse_target(server.url(database))
    return replace(target, parameters={**target.parameters, "user": role})


def url_of(server: ThrowawayServer, database: str, role: str) -> str:
    return server.url(database).replace(f"user={server.superuser}", f"user={role}")


def make(server: ThrowawayServer, name: str, owner: str) -> None:
    """A live Lawsker database of this owner, where PUBLIC may do nothing."""
    if owner == server.superuser and name != "of_superuser":
        as_superuser(server, "postgres", f"CREATE DATABASE {name} TEMPLATE of_superuser")
        as_superuser(server, "postgres", f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
        return
    as_superuser(
        server,
        "postgres",
        f"CREATE DATABASE {name} OWNER {owner} TEMPLATE template0 ENCODING 'UTF8'",
        f"REVOKE ALL ON DATABASE {name} FROM PUBLIC",
    )
    with as_role(server, name, owner).raw_connection() as conn:
        load_sample(conn, users=20)
        conn.execute(ROLES_FOR_ALL.encode())
    as_superuser(server, name, "ANALYZE")


def printed(server: ThrowawayServer, database: str, role: str, folder: Path) -> str:
    ended = command_line.run(folder, "grants", "--role", role, url=server.url(database))
    assert ended.code == 0, ended.said
    return ended.out


def statements(script: str) -> list[str]:
    return [line.removesuffix(";") for line in script.splitlines() if line and not line.startswith("--")]


def typed(command: str, url: str, folder: Path) -> Ended:
    """A command of the road, as an operator types it."""
    program, *rest = command.split()
    if program != "alembic":
        return command_line.run(folder, program, *rest, url=url)
    return command_line.run_alembic(folder, "-c", str(ROOT / "alembic.ini"), *rest, url=url)


@pytest.fixture(scope="module", params=[ARRANGEMENTS[0], pytest.param(ARRANGEMENTS[1], marks=pytest.mark.long)])
def travelled(
    request: pytest.FixtureRequest, own_server: ThrowawayServer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Ended]:
    """The whole road as a role that has what was printed, and nothing else."""
    number, folder = ARRANGEMENTS.index(request.param), tmp_path_factory.mktemp("road")
    database, role, owner = f"road_{number}", f"migrator_{number}", "postgres"
    if number == 0:
        owner = f"app_{number}"
        as_superuser(own_server, "postgres", f"CREATE ROLE {owner} LOGIN")
    make(own_server, database, owner)
    as_superuser(own_server, database, printed(own_server, database, role, folder))
    url = url_of(own_server, database, role)
    with psycopg.connect(url) as conn:
        row = conn.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
        assert row == (False,)
    found = {command: typed(command, url, folder) for command in ROAD}
    assert statements(printed(own_server, database, role, folder)) == []  # still complete, after all that
    return found


@pytest.mark.parametrize("command", ROAD)
def test_the_role_that_has_what_is_printed_travels_the_whole_road(command: str, travelled: dict[str, Ended]) -> None:
    ended = travelled[command]
    assert ended.code == 0, ended.said
    if command == "doctor":
        assert "READY" in ended.out
        granted = next(line for line in ended.out.splitlines() if line.startswith("PASS     granted: "))
        assert "right: to see other sessions" in granted


def test_the_application_may_use_what_the_role_has_made(own_server: ThrowawayServer, tmp_path: Path) -> None:
    """Its tables are owned by a plain role, to which the new ones would otherwise be closed."""
    as_superuser(own_server, "postgres", "CREATE ROLE shop LOGIN")
    make(own_server, "shop", "shop")
    listed = printed(own_server, "shop", "shop_migrator", tmp_path)
    as_superuser(own_server, "shop", listed)
    url = url_of(own_server, "shop", "shop_migrator")
    for command in ("adopt --yes", "alembic upgrade head"):
        ended = typed(command, url, tmp_path)
        assert ended.code == 0, ended.said
    with psycopg.connect(url_of(own_server, "shop", "shop")) as conn:
        conn.execute("SELECT FROM lawyer_levels")
        conn.execute("UPDATE user_credits SET credits_remaining = credits_remaining")


# --- nothing is too much --------------------------------------------------------------------------------------


def undone(statement: str) -> str:
    """The statement that takes a right away again."""
    if " OWNER TO " in statement:
        return re.sub(r"OWNER TO .*", "OWNER TO postgres", statement)
    if "ROLE" in statement and statement.split()[0] in ("ALTER", "CREATE") and "DEFAULT" not in statement:
        name, attribute = statement.split()[2:4]
        return f"ALTER ROLE {name} NO{attribute}"
    return re.sub(r" TO (\S+)$", r" FROM \1", statement.replace("GRANT", "REVOKE"))


def again(statement: str) -> str:
    return statement.replace("CREATE ROLE", "ALTER ROLE")


def told(checks: tuple[Check, ...]) -> set[tuple[str, bool | None]]:
    """What is not as it should be."""
    return {(check.name, check.ok) for check in checks if check.ok is not True}


def doctor_of(target: Target) -> object:
    return told(look_ahead(target, "head", UpgradeOptions(), always=True).checks)


def verification_of(target: Target) -> object:
    return told(verify(target))


def restore_point_of(target: Target) -> object:
    with target.connect() as conn:
        return bool(mark_restore_point(conn, "a_point").name)


def said(look: Callable[[Target], object], target: Target) -> object:
    try:
        return look(target)
    except LawskerError as failed:
        return type(failed).__name__


@pytest.mark.long
def test_each_line_that_is_printed_is_missed_when_it_is_left_out(own_server: ThrowawayServer, tmp_path: Path) -> None:
    """By doctor before the upgrade, by verify after it, or by what the report would say; one after another."""
    lists = []
    for database in ("before", "after"):
        make(own_server, database, "postgres")
        adopt(parse_target(own_server.url(database)))
        lists.append(statements(printed(own_server, database, "lean", tmp_path)))
        as_superuser(own_server, database, *[again(one) if database == "after" else one for one in lists[-1]])
    before, after = (as_role(own_server, database, "lean") for database in ("before", "after"))
    ended = typed("alembic upgrade head", url_of(own_server, "after", "lean"), tmp_path)
    assert ended.code == 0, ended.said
    looks = ((doctor_of, "before", before), (verification_of, "after", after), (restore_point_of, "before", before))
    whole = [said(look, target) for look, _, target in looks]
    assert len(lists[0]) > 15
    too_much = []
    for statement in lists[0]:
        for (look, database, target), usual in zip(looks, whole, strict=True):
            as_superuser(own_server, database, undone(statement))
            found = said(look, target)
            as_superuser(own_server, database, again(statement))
            if found != usual:
                break
        else:
            too_much.append(statement)
    assert too_much == []


# --- what is said ---------------------------------------------------------------------------------------------


def test_grants_only_looks_and_says_what_is_there_and_what_is_missing(
    own_server: ThrowawayServer, tmp_path: Path
) -> None:
    make(own_server, "looked_at", "postgres")
    before = everything(own_server.url("looked_at"))
    url = own_server.url("looked_at")
    ended = command_line.run(tmp_path, "grants", "--role", "newcomer", "--json", url=url)
    assert everything(url) == before
    assert command_line.files(tmp_path) == {}
    found = ended.document
    assert found["complete"] is False
    assert 'CREATE ROLE "newcomer" LOGIN' in found["missing"]
    as_superuser(own_server, "looked_at", *statements(printed(own_server, "looked_at", "newcomer", tmp_path)))
    found = command_line.run(tmp_path, "grants", "--role", "newcomer", "--json", url=url).document
    assert found["complete"] is True
    assert found["missing"] == []
    assert [one["statement"] for one in found["grants"] if not one["there"]] == [
        'GRANT pg_signal_backend TO "newcomer"'
    ]
    script = printed(own_server, "looked_at", "newcomer", tmp_path)
    assert statements(script) == []
    assert '-- It is there: ALTER ROLE "newcomer" CREATEDB;' in script
    assert "is a superuser" in printed(own_server, "looked_at", "postgres", tmp_path)


def test_nobody_becomes_the_member_of_a_superuser(own_server: ThrowawayServer, tmp_path: Path) -> None:
    script = printed(own_server, "of_superuser", "modest", tmp_path)
    assert 'ALTER TABLE "public"."users" OWNER TO "modest"' in script
    assert 'GRANT "postgres"' not in script


@pytest.mark.parametrize("role", ['x"; DROP TABLE users; --', "new\nline", "back\\slash\n", "角色", "a'b:c%d\te"])
def test_a_roles_name_is_a_name_whatever_is_in_it(role: str, own_server: ThrowawayServer, tmp_path: Path) -> None:
    """The script is run by a superuser: a name must break out neither of a statement nor of a comment."""
    number = len(command_line.files(tmp_path))
    database = f"named_{number}_{abs(hash(role)) % 10**6}"
    make(own_server, database, "postgres")
    script = printed(own_server, database, role, tmp_path)
    assert {line.split()[0] for line in script.splitlines() if line} <= {"--", "CREATE", "ALTER", "GRANT"}
    as_superuser(own_server, database, script)
    with psycopg.connect(own_server.url(database)) as conn:
        row = conn.execute(
            "SELECT rolcreatedb, pg_has_role(rolname, 'pg_read_all_stats', 'USAGE') FROM pg_roles WHERE rolname = %s",
            (role,),
        ).fetchone()
        assert row == (True, True)
        conn.execute("SELECT FROM users")
