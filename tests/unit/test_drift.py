"""How models and database differ is told in words, not as Alembic's tuples."""

from __future__ import annotations

from typing import Any

from lawsker_db.drift import in_words
from lawsker_db.models import metadata
from lawsker_db.postgres.catalog import Difference

CREDITS = metadata.tables["user_credits"]
KEY = next(iter(CREDITS.foreign_key_constraints))


def test_each_kind_of_difference_is_told_by_its_table_and_name_and_what_is_on_both_sides_once() -> None:
    index = next(iter(metadata.tables["users"].indexes))
    found: list[Any] = [
        ("remove_fk", KEY),
        ("add_fk", KEY),
        ("add_table", CREDITS),
        ("add_column", None, "user_credits", CREDITS.c.user_id),
        ("remove_index", index),
        [("modify_nullable", None, "users", "email", {}, True, False)],
        [("modify_type", None, "users", "email", {}, CREDITS.c.user_id.type, None)],
    ]
    assert in_words(found) == (
        "foreign key user_credits.user_credits_user_id_fkey is another in the models",
        "table user_credits is in the models alone",
        "column user_credits.user_id is in the models alone",
        f"index users.{index.name} is in the database alone",
        "column users.email: nullable is True, in the models False",
        "column users.email: type is UUID, in the models nothing",
    )


def test_of_a_text_of_many_lines_the_first_that_differs_is_told_and_the_whole_is_kept() -> None:
    lines = [f"step {number}" for number in range(100)]
    before, after = "\n".join(lines), "\n".join([*lines[:40], "  another", *lines[41:]])
    difference = Difference(kind="function", name="public.f()", attribute="definition", expected=before, found=after)
    assert difference.label == "function public.f(): definition, line 41, is another, expected step 40"
    assert difference.whole == f"function public.f(): definition is {after}, expected {before}"
    longer = Difference(kind="view", name="public.v", attribute="definition", expected="a\nb", found="a\nb\nc")
    assert longer.label == "view public.v: definition, line 3, is c, expected nothing"
