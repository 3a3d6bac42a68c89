"""A phrase is its English text to everything but a face, and a face says it in another language without parsing it."""

from __future__ import annotations

import ast
import copy
import json
import pickle
from dataclasses import asdict
from gettext import NullTranslations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lawsker_db.cli.language import asked_language
from lawsker_db.evidence import Check
from lawsker_db.phrases import (
    CHINESE,
    ENGLISH,
    Phrase,
    catalogue,
    clause,
    first_of,
    full_width,
    in_language,
    joined,
    told_by,
)
from lawsker_db.postgres.blockers import Blocker, named
from lawsker_db.postgres.catalog import Catalog, compare_catalogs

ROWS = Phrase("{rows} rows in {table}, {took_s:.1f} s", rows=3, table="public.users", took_s=0.25)


def test_a_phrase_is_its_english_text() -> None:
    assert ROWS == "3 rows in public.users, 0.2 s"
    assert json.dumps({"text": ROWS}) == '{"text": "3 rows in public.users, 0.2 s"}'


def test_a_phrase_stays_one_when_it_travels() -> None:
    check = asdict(Check(name="n", ok=True, expected="e", found=ROWS))
    for other in (copy.copy(ROWS), copy.deepcopy(ROWS), pickle.loads(pickle.dumps(ROWS)), check["found"]):  # noqa: S301
        assert (other, other.template, dict(other.values)) == (ROWS, ROWS.template, dict(ROWS.values))


@given(st.text())
def test_a_phrase_without_values_is_taken_to_the_letter(text: str) -> None:
    assert Phrase(text) == text
    assert in_language(Phrase(text), CHINESE) == catalogue(CHINESE).gettext(text) if text else True


@given(st.text(), st.text())
def test_a_value_is_never_read_as_a_template(name: str, other: str) -> None:
    said = in_language(Phrase("{name} lacks {other}", name=name, other=other), CHINESE)
    assert name in said
    assert other in said


def test_a_missing_value_fails_where_the_phrase_is_made() -> None:
    with pytest.raises(KeyError):
        Phrase("{rows} rows in {table}", rows=3)


def test_joined_phrases_stay_phrases() -> None:
    both = joined((ROWS, "plain {braces}"), "; ")
    assert both == f"{ROWS}; plain {{braces}}"
    assert both.values["p0"] is ROWS
    assert joined(()) == ""


def test_the_first_of_many_say_how_many_more_there_are() -> None:
    assert first_of(("a", "b"), 2) == "a, b"
    assert first_of(("a", "b", ROWS), 2, "; ") == "a; b (and 1 more)"
    assert first_of(("a", "b"), 2, number=9) == "a, b (and 7 more)"
    assert first_of((), 2) == ""
    assert in_language(first_of(("a", "b"), 1), CHINESE) == "a（另有 1 项）"


NONE = Phrase("nothing was written")  # 未写入任何内容


@pytest.mark.parametrize(
    ("phrase", "told"),
    [
        (joined(("a", NONE)), "a，未写入任何内容"),
        (joined((NONE, NONE), "; "), "未写入任何内容；未写入任何内容"),
        (Phrase("{table}: {why}.", table="public.t", why=NONE), "public.t：未写入任何内容。"),
        (
            Phrase("{why} ({name}), {schema}.{table}", why=NONE, name="n", schema="s", table="t"),
            "未写入任何内容（n），s.t",
        ),
        (Phrase("; {why}", why=NONE), "；未写入任何内容"),
        (joined((joined(("a", "b")), NONE), ": "), "a, b：未写入任何内容"),
        (Phrase("{at:.1f}  {why}", at=1, why=NONE), "1.0  未写入任何内容"),
        (joined(("a", "b, c")), "a, b, c"),
        (joined(("律师", "users"), "; "), "律师; users"),  # names in Chinese are names
        (Phrase("{name}: {rows:,}.", name="a", rows=1234), "a: 1,234."),
        (joined(("a: b.", NONE)), "a: b.，未写入任何内容"),
    ],
)
def test_values_that_are_said_in_chinese_have_chinese_marks_between_them(phrase: Phrase, told: str) -> None:
    assert in_language(phrase, CHINESE) == told
    assert in_language(phrase, ENGLISH) == phrase


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{a}, {b:,.1f}; {c}", "{a}，{b:,.1f}；{c}"),
        ("{a}({b})", "{a}({b})"),
        ("{host}:{port}, {done}/{whole}", "{host}:{port}，{done}/{whole}"),
        ("{a} ({b}: {c}).", "{a}（{b}：{c}）。"),
        ("{group}:", "{group}："),
        ("{a} ...", "{a} ..."),
    ],
)
def test_only_marks_between_values_become_wide(template: str, told: str) -> None:
    assert full_width(template) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("lawsker_report", "角色 lawsker_report 缺少 lawsker_report，来自 lawsker_report 的"),
        (Phrase("this machine"), "角色本机缺少本机，来自本机的"),
        (
            Phrase("{name} (pg_dump)", name=Phrase("this machine")),
            "角色本机（pg_dump）缺少本机（pg_dump），来自本机（pg_dump）的",
        ),
        ("律师库", "角色 律师库 缺少律师库，来自 律师库 的"),
        (3, "角色 3 缺少 3，来自 3 的"),
    ],
)
def test_blanks_around_a_value_are_those_that_chinese_has_there(
    value: str | int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = {"a": "角色 {x} 缺少{x}，来自 {x} 的", "this machine": "本机", "{name} (pg_dump)": "{name}（pg_dump）"}
    catalog = NullTranslations()
    monkeypatch.setattr(catalog, "gettext", words.get)
    monkeypatch.setattr("lawsker_db.phrases.catalogue", lambda _language: catalog)
    phrase = Phrase("{x}", x=value)
    phrase.template = "a"
    assert in_language(phrase, CHINESE) == told


def test_an_exception_gives_back_the_phrase_that_it_was_raised_with() -> None:
    assert told_by(ValueError(ROWS)) is ROWS
    assert told_by(OSError(2, "none")) == "[Errno 2] none"


def test_a_clause_lost_its_full_stop_in_every_language() -> None:
    within = clause(Phrase("The database was not changed."))
    assert within == clause("The database was not changed.") == "The database was not changed"
    for same in (within, pickle.loads(pickle.dumps(within))):  # noqa: S301
        said = in_language(Phrase("{why}; so", why=same), CHINESE)
        assert said.endswith("; so")
        assert not {".", "。"} & set(said)


@pytest.mark.parametrize(
    ("arguments", "environment", "language"),
    [
        ((), {}, ENGLISH),
        ((), {"LANG": "zh_CN.UTF-8"}, CHINESE),
        ((), {"LANG": "zh-Hans"}, CHINESE),
        ((), {"LANG": "C.UTF-8"}, ENGLISH),
        ((), {"LANG": "tlh_QO.UTF-8"}, ENGLISH),
        ((), {"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, ENGLISH),
        ((), {"LANG": "en_US.UTF-8", "LC_MESSAGES": "zh_CN"}, CHINESE),
        ((), {"LANG": "zh_CN.UTF-8", "LC_ALL": ""}, CHINESE),
        ((), {"LAWSKER_LANG": "en", "LANG": "zh_CN.UTF-8"}, ENGLISH),
        ((), {"LAWSKER_LANG": "nonsense", "LANG": "zh_CN.UTF-8"}, CHINESE),
        (("status", "--lang", "zh"), {"LAWSKER_LANG": "en"}, CHINESE),
        (("--lang=en", "status"), {"LANG": "zh_CN.UTF-8"}, ENGLISH),
        (("status", "--lang"), {}, ENGLISH),
        (("status", "--lang", "xx"), {"LANG": "zh_CN.UTF-8"}, CHINESE),
    ],
)
def test_the_language_is_what_was_typed_then_our_variable_then_the_locale(
    arguments: tuple[str, ...], environment: dict[str, str], language: str
) -> None:
    assert asked_language(arguments, environment) == language


def test_no_phrase_is_made_within_an_f_string() -> None:
    """Babel does not look into those before Python 3.12: the sentence would be missing from the catalogue, untold."""
    root = Path(__file__).resolve().parents[2] / "src" / "lawsker_db"
    found = [
        f"{path.relative_to(root)}:{call.lineno}"
        for path in sorted(root.rglob("*.py"))
        for text in ast.walk(ast.parse(path.read_text()))
        if isinstance(text, ast.JoinedStr)
        for call in ast.walk(text)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Phrase"
    ]
    assert found == []


def test_a_blocker_is_named_in_chinese_with_the_words_that_the_server_gave_back() -> None:
    blocker = Blocker(
        pid=7,
        user="eve",
        address="this host",
        state="active",
        since=None,
        doing=", waiting for relation",
        what="autovacuum to prevent wraparound",
        holds="AccessShareLock on users",
    )
    assert in_language(named((blocker, blocker)), ENGLISH) == "; ".join(2 * [blocker.label])
    said = in_language(blocker.label, CHINESE)
    for word in (
        "eve",
        "AccessShareLock on users",
        "本机",
        "正在等待 relation",
        "防止事务号回卷的 autovacuum",
        "此角色看不到的时间",
    ):
        assert word in said, said
    assert "this host" not in said


def test_kinds_and_states_of_objects_are_words_too() -> None:
    (difference,) = compare_catalogs(
        Catalog(objects={}), Catalog(objects={("index", "public.ix"): {"definition": "x"}})
    )
    assert difference.label == "index public.ix: present, expected absent"
    assert in_language(difference.label, CHINESE) == "索引 public.ix：存在，预期不存在"
