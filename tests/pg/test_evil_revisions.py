"""Evil revisions, by three roads: the rehearsal refuses them, without it the gate rolls them back, and plain Alembic refuses
them too; each time not one row of the database is another. Harmless ones pass by all three.

Each variant is the real chain with the text of 013 patched: a statement put in, or a piece replaced. `make test` sends
half of the plain ones by road 2 and some of all kinds by each road (all would take it half an hour); `make test-long`
sends the others.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import oracle
import pytest
from alembic.util import CommandError
from harm_cells import FREE_CELLS, LOCKED_CELLS
from harm_content import ELSEWHERE, NO_TABLES, USERS, WRITES
from harm_endings import ENDING, ROWS
from harm_exchanged import EXCHANGED
from harm_mended import PASSED_ONCE
from harm_objects import COMMENTS, OBJECTS, SERVER, TAMPERED
from harm_tables import PLAIN_SHAPE, SUBTLE_SHAPE
from harmless import FIRST, READING, REFUSED_ONCE, SETTINGS, THERE_AND_BACK
from roads import (
    Picture,
    assert_untouched,
    by_alembic,
    left_over,
    picture_of_clone,
    rehearsed,
    rows,
    run,
    take_picture,
    taken_down,
    unrehearsed,
)
from variants import SET_BACK, Variant, does, named, patched_chain

from lawsker_db.errors import GateRefused, LawskerError, Refused, RehearsalFailed
from lawsker_db.evidence import Verdict

PLAIN_HARMS = (*WRITES, *PLAIN_SHAPE, *ROWS, *ENDING)
SUBTLE_HARMS = (
    *(*USERS, *ELSEWHERE, *NO_TABLES, *SUBTLE_SHAPE, *OBJECTS, *COMMENTS, *SERVER, *TAMPERED),
    *(*LOCKED_CELLS, *FREE_CELLS, *PASSED_ONCE, *EXCHANGED),
)
HARMS = (*PLAIN_HARMS, *SUBTLE_HARMS)
MORE_HARMLESS = (*THERE_AND_BACK, *READING, *SETTINGS, *REFUSED_ONCE)
HARMLESS = (*FIRST, *MORE_HARMLESS)
# As an operator types it, in a process of its own.
TYPED = (
    "update of every profile",
    "lost grant",
    "changed seed value",
    "disguised COMMIT",
    "commit of the driver",
    "an error of Python",
    "literal COMMIT",
)


def one_in(step: int, variants: tuple[Variant, ...], start: int = 0) -> list[Any]:
    """Parameters of which one in `step` is for `make test` and the others for `make test-long`."""
    return [
        pytest.param(variant, id=named(variant), marks=() if place % step == start % step else pytest.mark.long)
        for place, variant in enumerate(variants)
    ]


@pytest.fixture
def before(server: Any, adopted_template: str, adopted_url: str) -> Picture:
    """The adopted sample as this clone of it begins."""
    return picture_of_clone(adopted_url, server.url(adopted_template))


@contextmanager
def set_up(variant: Variant, url: str, before: Picture) -> Iterator[Picture]:
    """The database as the variant wants it, and its picture; what would keep it from being dropped is gone afterwards."""
    if variant.setup:
        run(url, variant.setup)
        before = take_picture(url)
    with taken_down(url, variant.teardown):
        yield before


@pytest.mark.parametrize("variant", [*one_in(10, PLAIN_HARMS), *one_in(30, SUBTLE_HARMS)])
def test_without_a_rehearsal_the_gate_ends_a_broken_revision_with_a_sentence_and_an_untouched_database(
    variant: Variant, adopted_url: str, before: Picture, tmp_path: Path
) -> None:
    config = patched_chain(tmp_path, variant)
    with set_up(variant, adopted_url, before) as picture:
        with pytest.raises(variant.raises) as caught:
            unrehearsed(adopted_url, config)
        assert caught.value.exit_code == (10 if variant.raises is Refused else 11)
        assert variant.says in str(caught.value)
        if variant.moves:
            assert f"stay so, as ever: {variant.moves}." in caught.value.state
            run(adopted_url, SET_BACK[variant.moves])
        assert_untouched(adopted_url, picture)
    reports = list((tmp_path / "runs").glob("*/report.json"))
    assert len(reports) == (0 if variant.raises is Refused else 1)
    assert all('"verdict": "rolled back"' in report.read_text() for report in reports)


@pytest.mark.parametrize("variant", one_in(90, HARMS))
def test_the_rehearsal_refuses_a_broken_revision_on_the_copy_and_the_database_is_not_touched(
    variant: Variant, adopted_url: str, before: Picture, tmp_path: Path
) -> None:
    config = patched_chain(tmp_path, variant)
    with set_up(variant, adopted_url, before) as picture:
        refused = Refused if variant.raises is Refused or variant.says_of_copy else RehearsalFailed
        with pytest.raises(refused) as caught:
            rehearsed(adopted_url, config)
        assert caught.value.exit_code == 10
        assert caught.value.state == "The database was not changed."
        assert (variant.says_of_copy or variant.says) in str(caught.value)
        assert_untouched(adopted_url, picture)
    assert all('"verdict": "refused"' in report.read_text() for report in (tmp_path / "runs").glob("*/report.json"))


@pytest.mark.parametrize("variant", one_in(60, HARMS, start=3))
def test_plain_alembic_refuses_a_broken_revision_and_the_database_is_untouched(
    variant: Variant, adopted_url: str, before: Picture, tmp_path: Path
) -> None:
    config = patched_chain(tmp_path, variant)
    with set_up(variant, adopted_url, before) as picture:
        with pytest.raises(CommandError) as caught:
            by_alembic(adopted_url, config)
        assert variant.says in str(caught.value)
        cause = caught.value.__cause__
        assert isinstance(cause, LawskerError)
        assert cause.exit_code == (10 if variant.raises is Refused else 11)
        if variant.moves:
            run(adopted_url, SET_BACK[variant.moves])
        assert_untouched(adopted_url, picture)


@pytest.mark.parametrize("variant", [v for v in PLAIN_HARMS if v.name in TYPED], ids=named)
def test_alembic_as_it_is_typed_refuses_a_broken_revision_with_one_sentence_and_no_traceback(
    variant: Variant, adopted_url: str, before: Picture, tmp_path: Path
) -> None:
    config = patched_chain(tmp_path, variant)
    said = subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head"],
        cwd=config.parent,
        env={**os.environ, "DATABASE_URL": adopted_url},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    words = said.stdout + said.stderr
    assert said.returncode != 0
    assert "FAILED: " in words
    assert "Traceback" not in words
    assert variant.says in words
    assert "Next: " in words
    assert_untouched(adopted_url, before)


def test_the_gate_refuses_a_revision_by_which_two_other_databases_exchange_names(
    server: Any, adopted_url: str, before: Picture, tmp_path: Path
) -> None:
    """CREATE DATABASE runs in no transaction, so this is no variant."""
    exchange = ("twin_a RENAME TO twin_c", "twin_b RENAME TO twin_a", "twin_c RENAME TO twin_b")
    variant = does("exchanged", "; ".join(f"ALTER DATABASE {step}" for step in exchange))
    for twin in ("twin_a", "twin_b"):
        server.run(f"CREATE DATABASE {twin}")
    try:
        with pytest.raises(GateRefused, match="other database twin_a: oid is"):
            unrehearsed(adopted_url, patched_chain(tmp_path, variant))
        assert_untouched(adopted_url, before)
    finally:
        for twin in ("twin_a", "twin_b"):
            server.run(f"DROP DATABASE {twin}")


def assert_upgraded(
    variant: Variant, url: str, upgraded: str, old: dict[str, tuple[str, ...]], before: Picture
) -> None:
    """Stamped 013, the content of old as it was, the schema as the real 013 leaves it, and nobody in the database."""
    assert rows(url, "SELECT version_num FROM alembic_version") == [("013",)]
    after = oracle.content(url, only_columns=old)
    assert {name: digest for name, digest in after.items() if name in before.dumped[1]} == before.dumped[1]
    if not variant.remarks and not variant.setup:
        assert oracle.schema(url) == upgraded
    assert left_over(url) == []


@pytest.fixture(scope="session")
def upgraded_schema(server: Any, adopted_template: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The schema as the real 013 leaves it."""
    server.run(f"CREATE DATABASE as_ever TEMPLATE {adopted_template}")
    folder = tmp_path_factory.mktemp("as_ever")
    unrehearsed(server.url("as_ever"), patched_chain(folder, Variant(name="unchanged", code="pass")))
    schema = oracle.schema(server.url("as_ever"))
    server.run("DROP DATABASE as_ever")
    return schema


@pytest.mark.parametrize("variant", [*one_in(4, FIRST), *one_in(12, MORE_HARMLESS)])
def test_without_a_rehearsal_a_harmless_variant_of_the_revision_passes(
    variant: Variant, adopted_url: str, before: Picture, upgraded_schema: str, tmp_path: Path
) -> None:
    with set_up(variant, adopted_url, before) as picture:
        old = oracle.columns(adopted_url)
        assert unrehearsed(adopted_url, patched_chain(tmp_path, variant)).verdict is Verdict.DONE
        assert_upgraded(variant, adopted_url, upgraded_schema, old, picture)


@pytest.mark.parametrize("variant", one_in(48, HARMLESS))
def test_with_a_rehearsal_a_harmless_variant_of_the_revision_passes(
    variant: Variant, adopted_url: str, before: Picture, upgraded_schema: str, tmp_path: Path
) -> None:
    with set_up(variant, adopted_url, before) as picture:
        old = oracle.columns(adopted_url)
        report = rehearsed(adopted_url, patched_chain(tmp_path, variant))
        assert report.verdict is Verdict.DONE
        assert report.not_proven == ()
        assert_upgraded(variant, adopted_url, upgraded_schema, old, picture)


@pytest.mark.parametrize("variant", one_in(30, HARMLESS, start=5))
def test_by_plain_alembic_a_harmless_variant_of_the_revision_passes(
    variant: Variant, adopted_url: str, before: Picture, upgraded_schema: str, tmp_path: Path
) -> None:
    with set_up(variant, adopted_url, before) as picture:
        old = oracle.columns(adopted_url)
        by_alembic(adopted_url, patched_chain(tmp_path, variant))
        assert_upgraded(variant, adopted_url, upgraded_schema, old, picture)
