"""The list of checks: no code twice, every group as large as it was promised to be, and the same in the documentation."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from lawsker_db.phrases import CHINESE, Phrase, in_language
from lawsker_db.revisions import contracts_up_to, load_chain
from lawsker_db.safety.checklist import CHECKLIST, ITEMS, unknown, violated

PAGE = Path(__file__).parents[2] / "docs" / "verification.md"


def table() -> str:
    """The list as the documentation has it."""
    head = "| Code | Severity | Must hold | What is promised |\n| --- | --- | --- | --- |\n"
    when = {"gate": "at the gate", "always": "always"}
    rows = (
        f"| {item.code} | {item.severity} | {when[item.when]} | **{item.title}**: {item.expected} |"
        for item in CHECKLIST
    )
    return head + "\n".join(rows) + "\n"


def test_no_code_stands_twice_and_no_group_is_smaller_than_it_was_promised() -> None:
    assert len(ITEMS) == len(CHECKLIST)
    groups = Counter(item.code[0] for item in CHECKLIST)
    assert groups["S"] >= 23
    assert groups["D"] >= 20
    assert groups["B"] >= 15
    assert groups["P"] >= 5


def test_every_check_says_what_it_expects_and_what_to_do() -> None:
    assert [item.code for item in CHECKLIST if not (item.title and item.expected and item.hint)] == []


def test_what_to_do_is_a_command_that_keeps_everything_or_tries_again() -> None:
    assert not any("alembic downgrade" in item.hint for item in CHECKLIST)
    assert violated("S04", ("users.x",)).hint.endswith("or go back: lawsker-db rollback")
    assert unknown("S04", "no right").hint == "mend what kept it from being tried, then lawsker-db verify"


def test_every_check_can_be_said_in_chinese() -> None:
    found = [violated(item.code, ("a row",)) for item in CHECKLIST]
    sentences = [
        text for check in found for text in (check.name, check.expected, check.hint) if isinstance(text, Phrase)
    ]
    assert len(sentences) > 2 * len(CHECKLIST)
    assert [text for text in sentences if not re.search("[\u4e00-\u9fff]", in_language(text, CHINESE))] == []


def test_the_documentation_has_the_list() -> None:
    assert table() in PAGE.read_text(encoding="utf-8")


def test_the_invariants_of_our_chain_have_codes_of_the_list() -> None:
    chain = load_chain()
    found = {
        code
        for contract in contracts_up_to(chain, (chain.head,))
        for invariant in contract.invariants
        for code in (invariant.code, *invariant.also)
    }
    assert found <= set(ITEMS)
    assert {"D03", "D10", "D15", "B01", "B14"} <= found
