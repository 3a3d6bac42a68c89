"""The catalogue holds every sentence that a person reads, each in both languages, and what is compiled is what is written.

Rules are functions from a catalogue to sentences, tested twice: ours has no violation, and a planted one is caught.
"""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Formatter
from typing import Any

import pytest

from lawsker_db.phrases import CHINESE, LANGUAGES, LOCALES, catalogue

CHECKOUT = Path(__file__).resolve().parents[2]
CJK = re.compile("[\u4e00-\u9fff]")
CROWDED = re.compile("[\u4e00-\u9fff][A-Za-z0-9]|[A-Za-z0-9][\u4e00-\u9fff]")
# What docs/glossary.md has one word for; a seed of a hash is none of its seed rows.
OTHER_WORDS = re.compile(
    r"口令|已准备的事务|准备好的事务|迁移链|种子(?:数据|行)|文件夹|个表|(?<![\w-])dumps?(?![\w.-])"
)
CODE = re.compile(r"^```.*?^```|`[^`]*`|\]\([^)]*\)", re.MULTILINE | re.DOTALL)
PAGES = sorted((*CHECKOUT.glob("*.zh-CN.*"), *(CHECKOUT / "docs").glob("*.zh-CN.*")))
Rule = Callable[[Mapping[str, str]], list[str]]


@pytest.fixture(scope="module")
def tool() -> dict[str, Any]:
    """The script that gathers and compiles."""
    return runpy.run_path(str(CHECKOUT / "scripts" / "messages.py"))


@pytest.fixture(scope="module")
def written(tool: dict[str, Any]) -> dict[str, str]:
    """Every message of the .po file with its translation."""
    return {str(message.id): str(message.string) for message in tool["read_catalog"]() if message.id}


def fields(template: str) -> list[tuple[str, str, str | None]] | None:
    """The named fields of a template with their formats, in any order; None where it is no template but plain text."""
    try:
        return sorted((name, spec or "", how) for _, name, spec, how in Formatter().parse(template) if name is not None)
    except ValueError:
        return None


def untranslated(catalog: Mapping[str, str]) -> list[str]:
    """Each message has a translation."""
    return [message for message, translation in catalog.items() if not translation.strip()]


def english_in_disguise(catalog: Mapping[str, str]) -> list[str]:
    """A translation is not the English once more."""
    return [message for message, translation in catalog.items() if translation == message]


def without_chinese(catalog: Mapping[str, str]) -> list[str]:
    """A translation holds a Chinese character."""
    return [message for message, translation in catalog.items() if translation and not CJK.search(translation)]


def other_fields(catalog: Mapping[str, str]) -> list[str]:
    """A translation says the same values, each in the format that it has in English."""
    return [
        message
        for message, translation in catalog.items()
        if translation and "{" in message and fields(message) is not None and fields(message) != fields(translation)
    ]


def other_edges(catalog: Mapping[str, str]) -> list[str]:
    """A translation begins and ends with a newline where the message does."""
    return [
        message
        for message, translation in catalog.items()
        if translation
        and (message[:1] == "\n", message[-1:] == "\n") != (translation[:1] == "\n", translation[-1:] == "\n")
    ]


def other_words(catalog: Mapping[str, str]) -> list[str]:
    """A translation has the glossary's word for a thing, and no other one."""
    return [message for message, translation in catalog.items() if OTHER_WORDS.search(translation)]


def crowded(catalog: Mapping[str, str]) -> list[str]:
    """A blank stands between Chinese and Latin letters or figures."""
    return [message for message, translation in catalog.items() if CROWDED.search(translation)]


RULES: tuple[Rule, ...] = (
    untranslated,
    english_in_disguise,
    without_chinese,
    other_fields,
    other_edges,
    other_words,
    crowded,
)
PLANTED: tuple[tuple[Rule, str, str], ...] = (
    (untranslated, "no rights", " "),
    (english_in_disguise, "no rights", "no rights"),
    (without_chinese, "no rights", "pas de droits"),
    (other_fields, "{rows} rows", "{row} 行"),
    (other_fields, "{rows} rows", "若干行"),
    (other_fields, "{took_s:.2f} s", "{took_s} 秒"),
    (other_edges, "no rights", "没有权限\n"),
    (other_words, "wrong password", "口令错误"),
    (other_words, "3 tables", "3 个表"),
    (other_words, "a dump of others", "其他人的 dump"),
    (crowded, "no COMMIT", "没有COMMIT"),
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_catalogue_has_no(rule: Rule, written: dict[str, str]) -> None:
    assert rule(written) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_chinese_page_says_the_words_of_the_glossary_with_blanks_beside_latin_ones(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"<[^>]*>", " ", text) if page.suffix == ".svg" else CODE.sub("", text)
    assert [found[0] for found in OTHER_WORDS.finditer(prose)] == []
    assert [found[0] for found in CROWDED.finditer(prose)] == []


@pytest.mark.parametrize(("rule", "message", "translation"), PLANTED)
def test_a_planted_fault_is_caught(rule: Rule, message: str, translation: str) -> None:
    assert rule({message: translation}) == [message]


def test_every_sentence_of_the_product_stands_in_the_catalogue_and_no_other(
    tool: dict[str, Any], written: dict[str, str]
) -> None:
    """`make messages` gathers anew."""
    gathered = set(tool["gathered"]())
    assert sorted(gathered - set(written)) == []
    assert sorted(set(written) - gathered) == []


def test_what_is_compiled_is_what_is_written(written: dict[str, str]) -> None:
    compiled = catalogue(CHINESE)
    assert [message for message, translation in written.items() if compiled.gettext(message) != translation] == []
    assert set(LOCALES) == set(LANGUAGES) - {"en"}
