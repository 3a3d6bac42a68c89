"""What the queries of contracts answer, said in another language: without a server, by the shipped contracts."""

from __future__ import annotations

import pytest

from lawsker_db.phrases import CHINESE, Phrase, in_language
from lawsker_db.revisions import load_chain
from lawsker_db.safety.answers import answered, templates

QUERIES = [
    invariant.query
    for script in load_chain(None).scripts.walk_revisions()
    for invariant in script.module.contract.invariants
]


@pytest.mark.parametrize(
    ("found", "chinese"),
    [
        ("missing", "缺失"),
        ("none of these roles", "不持有这些角色中的任何一个"),
        ("12 users have its workspace_id", "12 个用户使用同一 workspace_id"),
        ("5 and -3 give 9", "5 与 -3 得出 9"),
        (
            "3 completed, 2 won, 50.00 percent, expected 2 of 4",
            "已完成 3，胜诉 2，成功率 50.00%，预期 4 个中的 2 个",
        ),
        (
            "account_type_follows_status: pending with status ACTIVE",
            "account_type_follows_status：实际为 pending，状态为 ACTIVE",
        ),
    ],
)
def test_a_contracts_answer_is_said_in_chinese_and_stays_what_it_is(found: str, chinese: str) -> None:
    told = [answered(query, found) for query in QUERIES]
    phrase = next(answer for answer in told if isinstance(answer, Phrase))
    assert set(told) == {found}
    assert in_language(phrase, CHINESE) == chinese


def test_every_sentence_that_a_shipped_contract_can_answer_has_its_chinese() -> None:
    for template in {template for query in QUERIES for template in templates(query)}:
        assert in_language(Phrase(template), CHINESE) != template


@pytest.mark.parametrize("found", ["user", "lawyer_levels.benefits", '{"level": 3, "name": "missing"}', "", "a {v1} b"])
def test_names_and_values_in_an_answer_are_the_same_in_every_language(found: str) -> None:
    assert {in_language(answered(query, found), CHINESE) for query in QUERIES} == {found}


def test_a_foreign_contracts_answer_stays_in_its_own_words() -> None:
    query = "SELECT id::text, 'odd ' || kind || '''s row', NULL::timestamptz FROM t -- it's so"
    assert answered(query, "odd table's row") == "odd table's row"
