"""The documents say what is so: links lead somewhere, quoted words are the product's, the reference is the CLI's."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from lawsker_db.cli.language import OF_THE_LOCALE
from lawsker_db.errors import LawskerError
from lawsker_db.phrases import CHINESE as CHINESE_LANGUAGE
from lawsker_db.phrases import ENGLISH, Phrase, in_language
from lawsker_db.target import DATABASE_URL, DIRECT_URL, PG_VARIABLES

CHECKOUT = Path(__file__).resolve().parents[2]
DOCS = CHECKOUT / "docs"
PAGES = (*sorted(CHECKOUT.glob("*.md")), *sorted(DOCS.glob("*.md")))
NAMES = [str(page.relative_to(CHECKOUT)) for page in PAGES]
CHINESE = ".zh-CN.md"
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`[^`\n]*`")
WRITTEN = ("LANGUAGE", "PYTHONPATH", "PGCLIENTENCODING")  # given to others, and not read
OF_THE_DESKTOP = ("DISPLAY", "WAYLAND_DISPLAY", "HOME")
HAN = re.compile(r"[㐀-鿿]")
LINK = re.compile(r"\]\(([^()\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")


def script(name: str) -> ModuleType:
    """A script of the checkout, loaded."""
    spec = importlib.util.spec_from_file_location(name, CHECKOUT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def anchors(page: Path) -> set[str]:
    """What can be linked to in a page: its headings as GitHub names them."""
    headings = re.findall(r"^#+ (.*)$", CODE.sub("", page.read_text()), re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "") for heading in headings)
    found: dict[str, int] = {}
    for heading in plain:
        slug = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        found[f"{slug}-{found[slug]}" if slug in found else slug] = 0
        found[slug] += 1
    return set(found)


def links(page: Path) -> list[str]:
    """Every address that a page links to."""
    text = SPAN.sub("", CODE.sub("", page.read_text()))
    return [one or other for one, other in LINK.findall(text)]


def rows(page: Path) -> list[list[str]]:
    """The rows of all tables of a page, without heads."""
    lines = [line for line in CODE.sub("", page.read_text()).splitlines() if line.startswith("|")]
    rules = {number for number, line in enumerate(lines) if re.fullmatch(r"[|\s:-]+", line)}
    heads = {number - 1 for number in rules}
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for number, line in enumerate(lines)
        if number not in rules | heads
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_to_a_page_and_a_heading_that_there_is(name: str) -> None:
    page, wrong = CHECKOUT / name, []
    for link in links(page):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _hash, anchor = link.partition("#")
        other = (page.parent / path).resolve() if path else page
        if not other.exists() or (anchor and anchor not in anchors(other)):
            wrong.append(link)
    assert wrong == []


def test_the_index_names_every_page() -> None:
    named = {link.partition("#")[0] for link in links(DOCS / "README.md")}
    assert {page.name for page in DOCS.glob("*.md")} - named == {"README.md"}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_reference_is_what_the_command_line_says(language: str) -> None:
    reference = script("reference")
    assert reference.PAGES[language].read_text() == reference.page(language), "make docs"


def test_every_command_stands_in_both_readmes() -> None:
    commands = script("reference").commands()
    for name in ("README.md", f"README{CHINESE}"):
        text = (CHECKOUT / name).read_text()
        groups = {command.partition(" ")[0] for command in commands}
        assert [group for group in sorted(groups) if f"`lawsker-db {group}" not in text] == []


# ---- both languages in step ------------------------------------------------------------------------------------------

PAIRS = [name for name in NAMES if name.endswith(CHINESE) and "commands" not in name and "/" in name]


def spans(cell: str) -> list[str]:
    """What stands in a cell as it is typed."""
    return re.findall(r"`([^`]*)`", cell)


@pytest.mark.parametrize("name", PAIRS)
def test_a_chinese_page_has_the_tables_of_the_english_one(name: str) -> None:
    ours, theirs = rows(CHECKOUT / name), rows(CHECKOUT / name.replace(CHINESE, ".md"))
    assert [len(row) for row in ours] == [len(row) for row in theirs]
    # the last column is what is typed, or where it stands
    assert [sorted(spans(row[-1])) for row in ours] == [sorted(spans(row[-1])) for row in theirs]
    assert [
        row for row in ours if re.search(r"[a-z] [a-z]", SPAN.sub("", " ".join(row))) and not HAN.search("".join(row))
    ] == []


@pytest.mark.parametrize("name", ["docs/guarantees.md", "README.md"])
def test_the_limits_are_as_many_in_both_languages(name: str) -> None:
    there = [(CHECKOUT / page).read_text() for page in (name, name.replace(".md", CHINESE))]
    ours, theirs = (
        re.split(r"^## (?:What it does not cover|不包括什么|Limits|限制)$", text, flags=re.M)[1] for text in there
    )
    assert len(re.findall(r"^- ", ours, re.MULTILINE)) == len(re.findall(r"^- ", theirs, re.MULTILINE)) > 4


# ---- the handbook ----------------------------------------------------------------------------------------------------

HANDBOOK = DOCS / "handbook.md"


def templates(language: str) -> set[str]:
    """Every sentence of the product in a language, with … for each of its fields."""
    told = (in_language(Phrase(message), language) for message in script("messages").gathered())
    return {re.sub(r"\{[^{}]*\}", "…", text).replace("|", "\\|") for text in told}


@pytest.mark.parametrize(("name", "language"), [("handbook.md", ENGLISH), (f"handbook{CHINESE}", CHINESE_LANGUAGE)])
def test_what_the_handbook_quotes_is_what_the_product_says(name: str, language: str) -> None:
    known = templates(language)
    # three columns: what you see, what it means, what you type; the first table of three is what is always safe
    quoted = [text for row in rows(DOCS / name)[3:] if len(row) == 3 for text in spans(row[0])]
    assert len(quoted) > 60
    assert [text for text in quoted if text not in known] == []


def test_the_handbook_has_every_exit_code_and_every_class_of_errors() -> None:
    def walk(kind: type[LawskerError]) -> set[tuple[str, str]]:
        own = {(str(kind.exit_code), kind.__name__)}
        return own.union(*(walk(below) for below in kind.__subclasses__()))

    told = {(row[0], *spans(row[1])) for row in rows(HANDBOOK) if len(row) == 4}
    assert told - {("0",)} == walk(LawskerError)


def test_what_the_documents_have_one_type_there_is() -> None:
    """Commands and options that stand in the handbook, the guarantees and the settings."""
    reference = script("reference")
    known = reference.commands()
    options = set(re.findall(r"--[a-z][a-z-]*", reference.page("en"))) | {"--sql"}
    for page in ("handbook.md", "settings.md", "guarantees.md", "how-a-run-works.md", "README.md"):
        text = (DOCS / page).read_text()
        typed = re.findall(r"`lawsker-db ((?:backup )?[a-z-]+)", text)
        assert [one for one in typed if one not in known] == []
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) - options == set()


def test_the_handbook_has_every_problem_that_the_monitor_names() -> None:
    rules = "".join(path.read_text() for path in (CHECKOUT / "src" / "lawsker_db" / "monitor").glob("*.py"))
    named = re.findall(r"code=\"([a-z_]+)\"|_of_transaction\(one, \"([a-z_]+)\"", rules)
    told = {name for row in rows(HANDBOOK) for name in re.findall(r"^\*\*([a-z_]+)\*\*$", row[0])}
    assert told == {one or other for one, other in named}


# ---- the settings ----------------------------------------------------------------------------------------------------


def test_every_variable_that_is_read_stands_in_the_settings_and_the_other_way_round() -> None:
    product = [*CHECKOUT.glob("src/**/*.py"), *CHECKOUT.glob("alembic/**/*.py")]
    beside = [CHECKOUT / "Makefile", *(path for path in (CHECKOUT / "scripts").iterdir() if path.is_file())]
    tests = "".join(path.read_text() for path in (CHECKOUT / "tests").rglob("*.py") if path != Path(__file__))
    text = "".join(path.read_text() for path in product)
    ours = set(re.findall(r"\bLAWSKER_[A-Z_]+\b", text + "".join(path.read_text() for path in beside)))
    ours |= set(re.findall(r"[\"'](LAWSKER_[A-Z_]+)[\"']", tests))
    read = set(re.findall(r"environ(?:ment)?(?:\.get\(|\.pop\(|\[)\"([A-Z_]+)\"", text)) - {*WRITTEN, *OF_THE_DESKTOP}
    for page in ("settings.md", f"settings{CHINESE}"):
        told = set(re.findall(r"`([A-Z][A-Z_]+)`", (DOCS / page).read_text()))
        assert (ours | read | set(PG_VARIABLES) | {*OF_THE_LOCALE, DATABASE_URL, DIRECT_URL}) - told == set()
        assert {name for name in told if name.startswith("LAWSKER_")} - ours == set()


def test_the_settings_have_every_exit_code() -> None:
    codes = {row[0] for row in rows(HANDBOOK) if len(row) == 4}
    for page in ("settings.md", f"settings{CHINESE}"):
        assert {row[0] for row in rows(DOCS / page) if row[0].isdigit()} == codes


# ---- pictures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.svg")), ids=lambda path: path.name)
def test_a_picture_can_be_read_without_being_seen_in_the_dark_and_without_a_network(path: Path) -> None:
    text = path.read_text()
    picture = ElementTree.fromstring(text)  # noqa: S314 - our own file
    told = {child.tag.rpartition("}")[2]: child.text for child in picture}
    assert told["title"]
    assert len(told["desc"] or "") > 80
    assert "prefers-color-scheme: dark" in text
    assert re.findall(r"<script|href|url\(|@import|\bon\w+=", text) == []
    shown = [words for page in PAGES for words in re.findall(rf"!\[([^\]]*)\]\({path.name}\)", page.read_text())]
    assert [len(words) > 80 for words in shown] == [True]
