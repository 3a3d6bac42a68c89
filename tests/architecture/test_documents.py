"""The documents say what is so: links lead somewhere, quoted words are the product's, the reference is the CLI's."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
DOCS = CHECKOUT / "docs"
PAGES = (*sorted(CHECKOUT.glob("*.md")), *sorted(DOCS.glob("*.md")))
NAMES = [str(page.relative_to(CHECKOUT)) for page in PAGES]
CHINESE = ".zh-CN.md"
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`[^`\n]*`")
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
