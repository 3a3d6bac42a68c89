"""The frame and the parts of a page: one HTML file that needs no network and runs nothing. Pure.

Whoever gives text to a part gives it as it is: the parts say it in the page's language (`say`), and escape it. Whoever
gives markup (a body) has it from here.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib import resources

from lawsker_db.phrases import CHINESE, ENGLISH, Phrase, in_language
from lawsker_db.record.markup import markup

LANGUAGE_TAGS = {ENGLISH: "en", CHINESE: "zh-Hans"}  # BCP 47

WIDER = Phrase("Wider than this screen: swipe sideways")

Say = Callable[[str], str]


def speaking(language: str) -> Say:
    """Pure. Texts as a page in this language has them."""
    return lambda text: in_language(text, language)


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


def section(say: Say, name: str, heading: str, body: str) -> str:
    """Pure. A part of the page under a heading; nothing at all where there is no body."""
    if not body:
        return ""
    return f'<section id="{name}" aria-labelledby="{name}-h"><h2 id="{name}-h">{markup(say(heading))}</h2>{body}</section>\n'


def table(
    say: Say,
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: Sequence[int] = (),
    tones: Sequence[str] = (),
    caption: str = "",
    kind: str = "",
) -> str:
    """Pure. A table whose first column names its rows; nothing where it has none. `numbers` are columns set to the right;
    `tones`, one a row, say what its second cell means.

    On a phone each row becomes a paragraph: so every cell carries the heading of its column.
    """
    drawn = ""
    for number, (first, *rest) in enumerate(rows):
        cells = ""
        for place, cell in enumerate(rest, 1):
            kinds = (*(["n"] if place in numbers else []), *(["tag", tones[number]] if tones and place == 1 else []))
            cells += _cell(say, cell, heads[place], kind=" ".join(kinds))
        drawn += f'<tr><th scope="row">{markup(say(first))}</th>{cells}</tr>'
    if not drawn:
        return ""
    titles = "".join(
        f'<th scope="col"{_class("n" if place in numbers else "")}>{markup(say(head))}</th>'
        for place, head in enumerate(heads)
    )
    above = f"<caption>{markup(say(caption))}</caption>" if caption else ""
    return f"<table{_class(kind)}>{above}<thead><tr>{titles}</tr></thead><tbody>{drawn}</tbody></table>"


def facts(say: Say, pairs: Iterable[tuple[str, str]]) -> str:
    """Pure. Names and values, a row each; nothing where there are none."""
    rows = "".join(
        f'<tr><th scope="row">{markup(say(name))}</th><td>{markup(say(value))}</td></tr>' for name, value in pairs
    )
    return f'<table class="facts"><tbody>{rows}</tbody></table>' if rows else ""


def paragraph(say: Say, text: str, *, kind: str = "") -> str:
    """Pure. A sentence or two; nothing where there are none."""
    return f"<p{_class(kind)}>{markup(say(text))}</p>" if text else ""


def subheading(say: Say, text: str) -> str:
    """Pure. A heading within a section."""
    return f"<h3>{markup(say(text))}</h3>"


def items(say: Say, lines: Iterable[str]) -> str:
    """Pure. A list; nothing where it is empty."""
    listed = "".join(f"<li>{markup(say(line))}</li>" for line in lines)
    return f"<ul>{listed}</ul>" if listed else ""


def disclosed(say: Say, summary: str, body: str, *, same: bool = False) -> str:
    """Pure. What is shown when somebody asks for it, and in print, unless it is the `same` as a picture beside it; nothing
    where there is no body."""
    return (
        f"<details{_class('same' if same else '')}><summary>{markup(say(summary))}</summary>{body}</details>"
        if body
        else ""
    )


def keys(say: Say, pairs: Iterable[tuple[str, str, str]]) -> str:
    """Pure. The few figures that somebody looks for first: name, value, and what the value means (a tone, or empty)."""
    shown = "".join(
        f"<div{_class(f'tone {tone}' if tone else '')}><dt>{markup(say(name))}</dt><dd>{markup(say(value))}</dd></div>"
        for name, value, tone in pairs
    )
    return f'<dl class="keys">{shown}</dl>' if shown else ""


def navigation(say: Say, label: str, entries: Iterable[tuple[str, str]]) -> str:
    """Pure. Links to sections, by name and heading, in the order in which they stand."""
    links = "".join(f'<li><a href="#{name}">{markup(say(heading))}</a></li>' for name, heading in entries)
    return f'<nav aria-label="{markup(say(label))}"><ul>{links}</ul></nav>'


def scrolling(say: Say, label: str, body: str) -> str:
    """Pure. What is wider than a phone, which then scrolls by itself, with the keyboard too."""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{markup(say(label))}"'
        f' data-wider="{markup(say(WIDER))}">{body}</div>'
        if body
        else ""
    )


def _cell(say: Say, text: str, head: str, *, kind: str) -> str:
    said = f' data-head="{markup(say(head))}"' if head else ""
    return f"<td{_class(kind)}{said}>{markup(say(text))}</td>"


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


@cache
def _style() -> str:
    return resources.files("lawsker_db.record").joinpath("page.css").read_text(encoding="utf-8")
