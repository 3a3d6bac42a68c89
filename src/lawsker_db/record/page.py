"""The frame and the parts of a page: one HTML file that needs no network and runs nothing. Pure.

Whoever gives text to a part gives it as it is: the parts escape it. Whoever gives markup (a body) has it from here.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources

from lawsker_db.phrases import CHINESE, ENGLISH, Phrase, in_language
from lawsker_db.record.markup import markup

LANGUAGE_TAGS = {ENGLISH: "en", CHINESE: "zh-Hans"}  # BCP 47


def page(*, title: str, body: str, language: str) -> str:
    """Pure but for the style, which is read once. The whole file around a body that has `<main id="content">` in it.

    Its policy lets nothing in but the one style, named by its hash: no script, no picture, no font, no form, no frame.
    """
    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    skip = in_language(Phrase("Skip to the content"), language)
    return (
        f'<!doctype html>\n<html lang="{LANGUAGE_TAGS[language]}">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="'
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{markup(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f'<a class="skip" href="#content">{markup(skip)}</a>\n{body}\n</body>\n</html>\n'
    )


def section(name: str, heading: str, body: str) -> str:
    """Pure. A part of the page under a heading; nothing at all where there is no body."""
    if not body:
        return ""
    return f'<section id="{name}" aria-labelledby="{name}-h"><h2 id="{name}-h">{markup(heading)}</h2>{body}</section>\n'


def table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int] = (), caption: str = ""
) -> str:
    """Pure. A table whose first column names its rows; nothing where it has none. `numbers` are columns set to the right.

    On a phone each row becomes a paragraph: so every cell carries the heading of its column.
    """
    drawn = "".join(
        f'<tr><th scope="row">{markup(first)}</th>'
        + "".join(_cell(cell, heads[place], right=place in numbers) for place, cell in enumerate(rest, 1))
        + "</tr>"
        for first, *rest in rows
    )
    if not drawn:
        return ""
    titles = "".join(
        f'<th scope="col"{_class("n" if place in numbers else "")}>{markup(head)}</th>'
        for place, head in enumerate(heads)
    )
    above = f"<caption>{markup(caption)}</caption>" if caption else ""
    return f"<table>{above}<thead><tr>{titles}</tr></thead><tbody>{drawn}</tbody></table>"


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Pure. Names and values, a row each; nothing where there are none."""
    rows = "".join(f'<tr><th scope="row">{markup(name)}</th><td>{markup(value)}</td></tr>' for name, value in pairs)
    return f'<table class="facts"><tbody>{rows}</tbody></table>' if rows else ""


def paragraph(text: str, *, kind: str = "") -> str:
    """Pure. A sentence or two; nothing where there are none."""
    return f"<p{_class(kind)}>{markup(text)}</p>" if text else ""


def subheading(text: str) -> str:
    """Pure. A heading within a section."""
    return f"<h3>{markup(text)}</h3>"


def items(lines: Iterable[str]) -> str:
    """Pure. A list; nothing where it is empty."""
    listed = "".join(f"<li>{markup(line)}</li>" for line in lines)
    return f"<ul>{listed}</ul>" if listed else ""


def disclosed(summary: str, body: str, *, opened: bool = False) -> str:
    """Pure. What is shown when somebody asks for it, and in print; nothing where there is no body."""
    return f"<details{' open' if opened else ''}><summary>{markup(summary)}</summary>{body}</details>" if body else ""


def keys(pairs: Iterable[tuple[str, str, str]]) -> str:
    """Pure. The few figures that somebody looks for first: name, value, and what the value means (a tone, or empty)."""
    shown = "".join(
        f"<div{_class(f'tone {tone}' if tone else '')}><dt>{markup(name)}</dt><dd>{markup(value)}</dd></div>"
        for name, value, tone in pairs
    )
    return f'<dl class="keys">{shown}</dl>' if shown else ""


def navigation(label: str, entries: Iterable[tuple[str, str]]) -> str:
    """Pure. Links to sections, by name and heading, in the order in which they stand."""
    links = "".join(f'<li><a href="#{name}">{markup(heading)}</a></li>' for name, heading in entries)
    return f'<nav aria-label="{markup(label)}"><ul>{links}</ul></nav>'


def scrolling(label: str, body: str) -> str:
    """Pure. What is wider than a phone, which then scrolls by itself, with the keyboard too."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{markup(label)}">{body}</div>' if body else ""


def _cell(text: str, head: str, *, right: bool) -> str:
    said = f' data-head="{markup(head)}"' if head else ""
    return f"<td{_class('n' if right else '')}{said}>{markup(text)}</td>"


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


@cache
def _style() -> str:
    return resources.files("lawsker_db.record").joinpath("page.css").read_text(encoding="utf-8")
