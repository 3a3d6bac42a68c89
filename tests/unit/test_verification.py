"""What verification works with, without a server: shapes of indexes, plans, findings of one code, JUnit."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from lawsker_db.evidence import Check
from lawsker_db.postgres.indexes import index_shape
from lawsker_db.postgres.plans import FLOOR, QueryPlan, compare_plans, split_queries
from lawsker_db.record.junit import render_junit
from lawsker_db.record.plans import PlansBefore, TableSize, read_plans_of, write_plans
from lawsker_db.safety.checklist import CHECKLIST, ITEMS, not_run, passed, unknown, violated
from lawsker_db.safety.verification import _merged

ON = "ON public.t USING btree"


@pytest.mark.parametrize(
    ("definition", "keys", "rest"),
    [
        (f"CREATE INDEX i {ON} (a, b DESC)", ("a", "b DESC"), ""),
        (f"CREATE UNIQUE INDEX i {ON} (lower((a)::text), b) WHERE (c > 0)", ("lower((a)::text)", "b"), "WHERE (c > 0)"),
        (f"CREATE INDEX i {ON} (a) INCLUDE (b) WITH (fillfactor='70') WHERE (c)", ("a",), "INCLUDE (b) WHERE (c)"),
        (f'CREATE INDEX "i ON x" {ON} ("a, (b", f(a, \')\'::text))', ('"a, (b"', "f(a, ')'::text)"), ""),
        (f"CREATE INDEX i {ON} (a) NULLS NOT DISTINCT TABLESPACE fast", ("a",), "NULLS NOT DISTINCT"),
    ],
)
def test_the_shape_of_an_index_is_what_it_does(definition: str, keys: tuple[str, ...], rest: str) -> None:
    shape = index_shape(definition)
    assert shape is not None
    assert (shape.table, shape.method, shape.keys, shape.rest) == ("public.t", "btree", keys, rest)
    assert shape.unique is definition.startswith("CREATE UNIQUE")


@pytest.mark.parametrize(
    ("one", "other", "does"),
    [
        ("INDEX x {} (a, b)", "INDEX y {} (a)", True),
        ("INDEX x {} (a)", "INDEX y {} (a, b)", False),
        ("INDEX x {} (b, a)", "INDEX y {} (a)", False),
        ("UNIQUE INDEX x {} (a)", "INDEX y {} (a)", True),
        ("INDEX x {} (a)", "UNIQUE INDEX y {} (a)", False),
        ("UNIQUE INDEX x {} (a, b)", "UNIQUE INDEX y {} (a)", False),
        ("INDEX x {} (a) WHERE (b)", "INDEX y {} (a)", False),
        ('INDEX x {} (a COLLATE "C")', "INDEX y {} (a)", False),
    ],
)
def test_an_index_does_the_work_of_another(one: str, other: str, does: bool) -> None:
    first, second = index_shape(f"CREATE {one.format(ON)}"), index_shape(f"CREATE {other.format(ON)}")
    assert first is not None
    assert second is not None
    assert first.does_the_work_of(second) is does


def plan(*shape: str, cost: float, query: str = "SELECT 1", problem: str = "") -> QueryPlan:
    return QueryPlan(query=query, shape=shape, cost=cost, problem=problem)


BY_INDEX = plan("Index Scan / cases / cases_pkey", cost=8)
IN_ORDER = plan("Seq Scan / cases", cost=5000)


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (BY_INDEX, IN_ORDER, "cases read from end to end, by an index before"),
        (BY_INDEX, plan("Seq Scan / cases", cost=FLOOR - 1), ""),  # so small that it does not matter
        (BY_INDEX, plan("Bitmap Heap Scan / cases", "  Bitmap Index Scan / other", cost=12), ""),
        (IN_ORDER, plan("Seq Scan / cases", cost=9900), ""),
        (IN_ORDER, plan("Seq Scan / cases", cost=10001), "cost 10001, 5000 before"),
        (IN_ORDER, plan("Seq Scan / cases", "  Seq Scan / users", cost=5100), ""),
        (plan("Index Scan / cases / i", cost=9000), plan("Seq Scan / cases", cost=8000), ""),  # it is cheaper
        (BY_INDEX, plan(cost=0, problem='relation "cases" does not exist'), "cannot be planned any more"),
        (plan(cost=0, problem="x"), IN_ORDER, ""),
        (plan("Seq Scan / t", cost=1, query="another"), IN_ORDER, ""),
    ],
)
def test_a_plan_is_worse_by_shape_or_by_twice_the_cost(before: QueryPlan, after: QueryPlan, says: str) -> None:
    worse = compare_plans((before,), (after,))
    assert len(worse) == bool(says)
    assert says in "".join(worse)


def test_a_file_gives_its_selects_and_sentences_on_the_rest() -> None:
    written = (
        "-- a; comment\nSELECT 1;\n\n with x as (select 2) select * from x ;DROP TABLE users; INSERT INTO t VALUES (1)"
    )
    queries, refused = split_queries(written)
    assert queries == ("SELECT 1", "with x as (select 2) select * from x")
    assert [line.partition(": ")[2] for line in refused] == ["DROP TABLE users", "INSERT INTO t VALUES (1)"]
    hidden, _ = split_queries("SELECT ';DELETE FROM t'")
    assert all(";" not in query for query in hidden)


def test_plans_come_back_as_they_were_written_and_anything_else_is_none(tmp_path: Path) -> None:
    before = PlansBefore(plans=(BY_INDEX, IN_ORDER), sizes={"users": TableSize(bytes=1, rows=2)})
    write_plans(tmp_path, before)
    assert read_plans_of(tmp_path) == before
    assert (tmp_path / "plans.json").stat().st_mode & 0o777 == 0o600
    for content in ("", "[]", "{}", '{"format": 2}', '{"format": 1, "plans": [1], "sizes": {}}', "[" * 100_000):
        (tmp_path / "plans.json").write_text(content)
        assert read_plans_of(tmp_path) is None, content[:20]
    (tmp_path / "plans.json").unlink()
    assert read_plans_of(tmp_path) is None
    (tmp_path / "plans.json").symlink_to("/dev/zero")
    assert read_plans_of(tmp_path) is None


def test_of_several_findings_of_a_code_the_gravest_decides_and_all_keys_are_told() -> None:
    good, bad, worse = passed("B11", "x"), violated("B11", ("a", "b"), warning=True), violated("B11", ("b", "c"))
    assert _merged([good, not_run("B11", "y")]).ok is None
    assert _merged([good, bad]).fails is False
    merged = _merged([good, bad, worse, unknown("B11", "no right")])
    assert (merged.ok, merged.fails, merged.keys) == (False, True, ("a", "b", "c"))
    assert merged.found == "a; b; b; c; could not be checked: no right"
    assert merged.hint == ITEMS["B11"].hint
    assert _merged([bad, unknown("B11", "no right")]).fails
    assert _merged([good, passed("B11", "y")]).ok is True


def test_the_list_has_each_code_once_and_in_order() -> None:
    codes = [item.code for item in CHECKLIST]
    assert len(codes) == len(set(codes)) >= 60
    assert codes == sorted(codes, key=lambda code: ("SDBP".index(code[0]), code))


def test_junit_tells_failures_warnings_and_what_was_left_out() -> None:
    foreign = Check(code="theirs", name="014 theirs", ok=True, expected="x", found="y", warning=True)
    checks = (
        passed("S01"),
        violated("S02", ("k",)),
        violated("S21", ("w",)),
        not_run("B01", "n"),
        unknown("P01", "u"),
        foreign,
    )
    root = ElementTree.fromstring(render_junit(checks, suite="s"))  # noqa: S314 - made here
    assert [suite.get("name") for suite in root] == ["structure", "business", "performance", "other"]
    told = {case.get("name"): [child.tag for child in case] for case in root.iter("testcase")}
    assert told == {
        "S01 stamp": ["system-out"],
        "S02 tables": ["failure"],
        "S21 owners and grants": ["system-out"],
        "B01 levels rise": ["skipped"],
        "P01 indexes used": ["failure"],
        "014 theirs": ["system-out"],
    }
    assert (root.get("tests"), root.get("failures"), root.get("skipped")) == ("6", "2", "1")
