"""What comes back from which archive, decided without a server."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from lawsker_db.contract import Column, Contract, Extension, ForeignKey, Table
from lawsker_db.evidence import Fingerprint, Reinstated, TableBack
from lawsker_db.postgres.kept import Archive, Kept, archive_schema
from lawsker_db.postgres.reinstating import (
    Found,
    Owners,
    comes_back,
    exchange_statement,
    loses_parent,
    replaced,
    speaks_of,
)
from lawsker_db.record.history import PastRun, first_made, recorded_via
from lawsker_db.safety.choice import ASK, NEVER, Choice, choice_checks, choose, circles, differences
from lawsker_db.safety.reinstatement import back_notes, compare_part, parents_first, plan_parts

THEN = datetime(2026, 1, 1, tzinfo=UTC)


def table(name: str, *keys: ForeignKey, rows: int | str | None = 0) -> Table:
    columns = (Column("id", "integer"), *(Column(k.columns[0], "integer", nullable=True) for k in keys))
    return Table(name=name, group="g", columns=columns, primary_key=("id",), foreign_keys=keys, rows=rows)


def leads(to: str, on_delete: str = "CASCADE") -> ForeignKey:
    return ForeignKey(f"{to}_fkey", (f"{to}_id",), to, on_delete=on_delete)


def kept(name: str, kind: str = "table", columns: tuple[str, ...] = ("id",), digest: str = "x") -> Kept:
    place = f"archived.{name}"
    print_ = Fingerprint(table=place, columns=columns, rows=2, sums=("3", "4"))
    return Kept(
        revision="100",
        contract_digest=digest,
        kind="table" if kind == "table" else "columns",
        original=name,
        kept_as=name,
        key=("id",),
        columns=columns,
        fingerprint=print_,
    )


def archive(run_id: str, *entries: Kept) -> Archive:
    return Archive(
        schema=archive_schema(run_id),
        run_id=run_id,
        made_at=THEN,
        chain_schema="public",
        kept=entries or (kept("one"),),
    )


def past(run_id: str, direction: str, *, after_days: int = 0, via: str = "alembic") -> PastRun:
    return PastRun(
        run_id=run_id,
        direction=direction,
        via=via,
        from_revisions=(),
        to_revisions=(),
        steps=("100",),
        tool_version="",
        from_address="local socket",
        by_user="",
        made_at=THEN + timedelta(days=after_days),
        backup_id=None,
        rows_made={},
        fingerprints=(),
        here=False,
        intact=True,
    )


CONTRACT = Contract(revision="100", follows=None, tables=(table("one"),))


def test_the_archive_of_the_last_downgrade_is_taken_wherever_its_record_was_written() -> None:
    old, new = archive("old"), archive("new")
    history = (past("old", "downgrade"), past("up", "upgrade"), past("new", "downgrade"))
    choice = choose(CONTRACT, (new, old), history, "auto")
    assert (choice.archive, choice.others) == (new, (old,))


def test_a_last_downgrade_that_kept_nothing_gives_nothing_back() -> None:
    old = archive("old")
    history = (past("old", "downgrade"), past("up", "upgrade"), past("new", "downgrade"))
    choice = choose(CONTRACT, (old,), history, "auto")
    assert (choice.archive, choice.others) == (None, (old,))
    assert choose(CONTRACT, (old,), history, old.schema).archive == old


def test_never_takes_nothing_and_tells_what_there_is() -> None:
    new = archive("new")
    choice = choose(CONTRACT, (new,), (past("new", "downgrade"),), NEVER)
    assert (choice.archive, choice.others) == (None, (new,))
    (check,) = choice_checks((choice,), NEVER)
    assert "not taken; --reinstate lawsker_archive_new takes it" in check.found


def test_an_archive_that_cannot_be_read_is_not_passed_over_in_silence() -> None:
    choice = choose(CONTRACT, (), (past("new", "downgrade"),), "auto", (archive_schema("new"),))
    (check,) = choice_checks((choice,), "auto")
    assert check.fails
    assert archive_schema("new") in check.found


def test_an_archive_that_is_there_no_more_is_told_and_stops_nobody() -> None:
    print_ = Fingerprint(table="lawsker_archive_new.one", columns=("id",), rows=1, sums=("1", "1"))
    history = (replace(past("new", "downgrade"), fingerprints=(print_,)),)
    (check,) = choice_checks((choose(CONTRACT, (), history, "auto"),), "auto")
    assert (check.ok, check.fails) == (False, False)
    assert "lawsker_archive_new, which the last downgrade kept, is there no more" in check.found
    assert choice_checks((choose(CONTRACT, (), history, NEVER),), NEVER) == ()


def test_preflight_tells_tables_rows_and_when_it_was_made() -> None:
    told = choice_checks((Choice(contract=CONTRACT, archive=archive("new")),), "auto")[0].found
    assert told == "lawsker_archive_new: 1 tables, 2 rows, made 2026-01-01 00:00 UTC; will be brought back"
    assert "asks" in choice_checks((Choice(contract=CONTRACT, archive=archive("new")),), ASK)[0].found


def test_parents_come_before_their_children_and_circles_are_found() -> None:
    child, parent, self_told = table("child", leads("parent")), table("parent"), table("tree", leads("tree"))
    assert [t.name for t in parents_first((child, parent))] == ["parent", "child"]
    assert circles((child, parent)) == ()
    assert circles((child, parent, self_told)) == ("tree",)
    assert circles((table("a", leads("b")), table("b", leads("a")))) == ("a", "b")


def test_a_row_stays_unless_its_foreign_key_sets_null_where_null_may_stand() -> None:
    for on_delete in ("CASCADE", "NO ACTION", "RESTRICT", "SET DEFAULT"):
        (part,) = plan_parts(
            contract_of(leads("users", on_delete)), (kept("one", columns=("id", "users_id")),), "public"
        )
        assert 'FROM public."users" AS p' in comes_back(part, "t")
        assert (loses_parent(part, "t"), replaced(part, "t")) == ("false", {})
    (part,) = plan_parts(contract_of(leads("users", "SET NULL")), (kept("one", columns=("id", "users_id")),), "public")
    assert comes_back(part, "t") == "true"
    assert "NOT (" in loses_parent(part, "t")
    assert set(replaced(part, "t")) == {"users_id"}
    assert 'THEN a."users_id" END' in exchange_statement(part)


def contract_of(key: ForeignKey, rows: int | str | None = 0) -> Contract:
    return Contract(revision="100", follows=None, tables=(table("one", key, rows=rows),))


def test_set_null_on_a_column_that_may_not_be_null_keeps_the_row_in_the_archive() -> None:
    contract = contract_of(leads("users", "SET NULL"))
    strict = replace(contract.tables[0], columns=(Column("id", "integer"), Column("users_id", "integer")))
    (part,) = plan_parts(replace(contract, tables=(strict,)), (kept("one", columns=("id", "users_id")),), "public")
    assert replaced(part, "t") == {}
    assert comes_back(part, "t").startswith("EXISTS (")


def test_of_a_filled_table_the_archive_speaks_of_the_rows_of_those_whom_it_lists() -> None:
    rows, listed = kept("one", columns=("id", "users_id")), kept("users", "columns", ("nick",))
    filled = contract_of(leads("users"), rows="SELECT 1")
    assert plan_parts(filled, (rows, listed), "public")[1].owners == Owners(
        place="archived.users", keys=("id",), columns=("users_id",)
    )
    alone = plan_parts(filled, (rows,), "public")[0].owners
    assert alone == Owners(place="archived.one", keys=("users_id",), columns=("users_id",))
    seeds = plan_parts(contract_of(leads("users"), rows=3), (rows, listed), "public")[1]
    assert (seeds.owners, speaks_of(seeds, "t")) == (None, "true")


def test_what_has_no_place_or_no_value_is_told_by_name() -> None:
    contract = Contract(
        revision="100",
        follows=None,
        tables=(table("one"), table("two")),
        extensions=(Extension(table="users", columns=(Column("nick", "text"),)),),
    )
    entries = (kept("one", columns=("id", "gone")), kept("three"), kept("users", "columns", ("seat",)))
    lost, new = differences(contract, entries, {"archived.one": {"id": "bigint"}})
    assert lost == (
        "column one.id (bigint there, integer now)",
        "column one.gone",
        "table three",
        "column users.seat",
    )
    assert new == ("table two", "column users.nick")
    must = replace(
        contract, tables=(replace(contract.tables[0], columns=(Column("id", "integer"), Column("n", "text"))),)
    )
    assert "column one.n without a value" in differences(must, (kept("one"),), {})[0]


def test_each_half_of_the_proof_can_fail_by_itself() -> None:
    (part,) = plan_parts(CONTRACT, (kept("one"),), "public")
    two, none = part.recorded, replace(part.recorded, rows=0, sums=("0", "0"))
    good = Found(back=two, left=none, known=two, others=none, intact=True)
    assert all(check.ok for check in compare_part(part, good, None))
    assert [c.ok for c in compare_part(part, replace(good, intact=False), None)] == [False, True, True]
    assert [c.ok for c in compare_part(part, replace(good, known=none), None)] == [True, False, True]
    assert [c.ok for c in compare_part(part, replace(good, others=two), None)] == [True, True, False]
    assert [c.ok for c in compare_part(part, replace(good, others=two), two)] == [True, True, True]


def test_rows_that_came_back_are_as_old_as_the_upgrade_that_made_them() -> None:
    back = recorded_via("safe-upgrade", reinstated=(archive_schema("down"),))
    again = recorded_via("alembic", reinstated=(archive_schema("down again"),))
    first, second = past("first", "upgrade"), past("second", "upgrade", after_days=2, via=back)
    third = past("third", "upgrade", after_days=4, via=again)
    history = (
        first,
        past("down", "downgrade", after_days=1),
        second,
        past("down again", "downgrade", after_days=3),
        third,
    )
    assert [first_made(history, run, "100") for run in (first, second, third)] == [THEN] * 3
    fresh = replace(third, via="alembic")
    assert first_made((*history[:-1], fresh), fresh, "100") == THEN + timedelta(days=4)


def test_a_reason_that_was_typed_is_not_taken_for_an_archive() -> None:
    via = recorded_via("rollback", reason="x, reinstating lawsker_archive_x")
    assert past("down", "downgrade", via=via).reinstated == ()


def test_notes_tell_what_did_not_come_back_by_its_first_keys() -> None:
    tables = (
        TableBack(table="one", columns=(), archived=9, back=2, kept_as_made=0, left=7, left_keys=tuple("abcdefg")),
        TableBack(
            table="two", columns=(), archived=1, back=1, kept_as_made=0, without_parent=1, without_parent_keys=("z",)
        ),
    )
    notes = back_notes(Reinstated(revision="100", archive="there", made_at=THEN, tables=tables, duration_s=0))
    assert notes == (
        "7 rows of one stay in there, because a parent is gone: a; b; c; d; e (and 2 more)",
        "1 rows of two came back without a parent that is gone: z",
    )
