"""An address is read as it was meant, or refused; a password never shows."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lawsker_db.errors import UsageError
from lawsker_db.target import Target, find_target, parse_target

# Anything that PostgreSQL takes for a name or a password: no NUL, no lone surrogates.
WORD = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40)
SCHEMES = ("postgres", "postgresql", "postgresql+psycopg", "postgresql+asyncpg", "PostgreSQL")


def label_or_refusal(url: str) -> str:
    """What people see of an address: its label, or why it was refused."""
    try:
        return parse_target(url).label
    except UsageError as refused:
        return str(refused)


@given(user=WORD, password=WORD, name=WORD, scheme=st.sampled_from(SCHEMES))
def test_what_is_percent_encoded_comes_back_as_it_was(user: str, password: str, name: str, scheme: str) -> None:
    url = f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@db.example:5433/{quote(name, safe='')}"
    assert dict(parse_target(url).parameters) == {
        "user": user,
        "password": password,
        "host": "db.example",
        "port": "5433",
        "dbname": name,
    }


@given(password=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40))
def test_a_password_shows_neither_in_repr_nor_in_the_label(password: str) -> None:
    secret = f"c4n4ry{password}"
    target = parse_target(f"postgresql://ann:{quote(secret, safe='')}@db.example/lawsker")
    assert "c4n4ry" not in repr(target) + str(target) + target.label
    assert target.label == "ann@db.example/lawsker"


@given(password=WORD)
def test_a_password_that_nobody_encoded_never_becomes_a_part_of_the_label(password: str) -> None:
    """Read as it was meant, or refused without repeating it; never misread as host, port or database."""
    found = label_or_refusal(f"postgresql://ann:{password}c4n4ry@db.example/lawsker")
    assert found == "ann@db.example/lawsker" or found.startswith("DATABASE_URL cannot be read")
    assert "c4n4ry" not in found


@pytest.mark.parametrize(
    "rest",
    [
        "db?dbname=app&user=x&password=c4n4ry@x",
        "db:5432?dbname=app&password=x@c4n4ry",
        "a,b:1?dbname=app&password=x@c4n4ry",
        "[::1]?dbname=app&password=x@c4n4ry",
        "?host=db&dbname=app&password=x@c4n4ry",
        "db?dbname=app&password=x@c4n4ry/y",
        "db?dbname=app&password=x@c4n4ry#y",
        "ann:pw?x@c4n4ry",
    ],
)
def test_an_at_sign_in_a_querys_password_makes_no_host_of_it(rest: str) -> None:
    """libpq looks for the end of the user's part past the question mark, and would take the password's end for the host."""
    assert label_or_refusal(f"postgresql://{rest}").startswith("DATABASE_URL cannot be read")


@pytest.mark.parametrize(
    "rest",
    [
        "ann@db?dbname=app&password=x@c4n4ry",
        "ann:pw@db?dbname=app&password=x@c4n4ry",
        "db/app?password=x@c4n4ry&user=ann",
        "@db?dbname=app&password=x@c4n4ry&user=ann",
        "db?dbname=app&password=x%40c4n4ry&user=ann",
        "db?user=ann&dbname=app&sslrootcert=/x&password=x@c4n4ry",
    ],
)
def test_an_at_sign_in_a_querys_password_that_libpq_reads_as_meant_is_taken(rest: str) -> None:
    target = parse_target(f"postgresql://{rest}")
    assert target.label == "ann@db/app"
    assert target.parameters["password"] == "x@c4n4ry"


def test_a_password_with_a_scheme_in_it_is_no_scheme() -> None:
    target = parse_target("host=db user=ann dbname=app password=c4n4ry://x")
    assert (target.label, target.parameters["password"]) == ("ann@db/app", "c4n4ry://x")


@pytest.mark.parametrize("url", ["postgresql://db/\udcff", "postgresql://db/%ff", "host=db dbname=\udcff"])
def test_bytes_that_are_not_utf_8_are_no_address(url: str) -> None:
    assert label_or_refusal(url).startswith("DATABASE_URL cannot be read")


@given(text=st.text(max_size=60))
def test_any_text_is_read_or_refused_without_being_repeated(text: str) -> None:
    assert label_or_refusal(f"postgresql://{text}")
    assert "c4n4ry" not in label_or_refusal(f"ann:c4n4ry{text}".replace("://", ""))


@pytest.mark.parametrize(
    ("url", "label"),
    [
        ("postgresql://ann@/lawsker?host=/run/pg", "ann@/run/pg/lawsker"),
        ("postgresql:///lawsker", "local socket/lawsker"),
        ("postgresql://ann@[::1]:5433/lawsker", "ann@::1:5433/lawsker"),
        ("postgresql://ann@a:1,b:2/lawsker", "ann@a,b:1,2/lawsker"),
        ("host=db user=ann password=c4n4ry dbname='my db'", "ann@db/my db"),
        ("host=db user=ann", "ann@db/ann"),
        ("service=live", "local socket/service live"),
    ],
)
def test_a_label_tells_people_where_it_leads(url: str, label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    assert parse_target(url).label == label


def test_what_is_typed_wins_over_the_environment_and_that_over_pg_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "from-pghost")
    assert find_target(None) == Target(parameters={})
    monkeypatch.setenv("DATABASE_URL", "postgresql://from-environment/a")
    assert find_target(None).parameters["host"] == "from-environment"
    assert find_target("postgresql://typed/a").parameters["host"] == "typed"


@pytest.mark.parametrize("name", ["DATABASE_URL", None])
def test_an_empty_address_is_none(name: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE", "DATABASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    if name:
        monkeypatch.setenv(name, " ")
    with pytest.raises(UsageError, match="No database was named"):
        find_target(None)


@pytest.mark.parametrize("variable", ["--proof-server", "LAWSKER_DIRECT_URL"])
@pytest.mark.parametrize("url", ["mysql://a/b", "postgresql://ann@db", "postgresql://ann:c4n4ry@x/y?nonsense=1"])
def test_an_address_that_is_wrong_is_told_by_the_name_under_which_it_was_given(variable: str, url: str) -> None:
    with pytest.raises(UsageError) as wrong:
        parse_target(url, variable)
    assert variable in wrong.value.message
    assert variable in wrong.value.hint
    assert "DATABASE_URL=" not in str(wrong.value)
    assert "c4n4ry" not in str(wrong.value)
