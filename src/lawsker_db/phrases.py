"""Sentences that remember how they were made, so that a face can say them in another language.

A `Phrase` *is* its English text: journals, JSON, comparisons and tests see nothing else, whatever language a person reads.
Beside it stands what it was made of, a template and its values; the catalogues (gettext) translate the template.
"""

from __future__ import annotations

import gettext
import math
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from string import Formatter
from typing import Any, Self

ENGLISH, CHINESE = "en", "zh"
LANGUAGES = (ENGLISH, CHINESE)
LOCALES = {CHINESE: "zh_CN"}  # of each language that has a catalogue, its folder
DOMAIN = "lawsker_db"
# What stands between the values of a template; without a blank behind it ("a.b", "1/2", "x:y") it is no mark of a sentence.
FIELD_OR_MARK = re.compile(r"\{[^{}]*\}|(?<!\.)[,;:.](?: |$)")
BRACKETS = re.compile(r" \(([^()]*)\) ?")
# Where two parts of a Chinese sentence meet: a blank is lacking between them, or is one too many.
LACKING = re.compile(r"[\u3400-\u9fff]\0[A-Za-z0-9]|[A-Za-z0-9]\0[\u3400-\u9fff]")
TOO_MANY = re.compile(r"[\u3400-\u9fff，；：。（）](?: \0|\0 )[\u3400-\u9fff，；：。（）]")
FULL_WIDTH = {",": "，", ";": "；", ":": "：", ".": "。"}
# Formats as our templates have them. Whoever writes a file could else have a field of a template reach into Python, or be
# a gigabyte wide.
SPEC = re.compile(r"[<>=^]?[-+ ]?[#0]?\d{0,3}[_,]?(?:\.\d{1,2})?[a-zA-Z%]?")

Value = str | int | float


class Phrase(str):
    """An English sentence, by a template with named fields as `str.format` has them, and the values of these.

    Without values the template is taken to the letter, braces too. A value may be a phrase itself; any other text among
    the values (a name, a command, what a server said) is the same in every language.
    """

    __slots__ = ("template", "values")
    template: str
    values: Mapping[str, Value]

    def __new__(cls, template: str, /, **values: Value) -> Self:
        """Pure. Raise `KeyError` for a field without a value."""
        made = super().__new__(cls, template.format_map(values) if values else template)
        made.template = template
        made.values = values
        return made

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.template, dict(self.values))


class Clause(Phrase):
    """A sentence as it stands within another one: without its full stop, in any language."""

    __slots__ = ()

    def __new__(cls, template: str, /, **values: Value) -> Self:
        """Pure."""
        whole = template.format_map(values) if values else template
        made = str.__new__(cls, whole.rstrip("."))
        made.template = template
        made.values = values
        return made


def _again(kind: type[Phrase], template: str, values: dict[str, Value]) -> Phrase:
    return kind(template, **values)


def clause(text: str) -> str:
    """Pure. A text without its full stop, to stand within another; a phrase stays one."""
    return Clause(text.template, **text.values) if isinstance(text, Phrase) else text.rstrip(".")


def joined(parts: Iterable[str], separator: str = ", ") -> Phrase:
    """Pure. Several texts as one, as `separator.join` does; those that are phrases stay such."""
    listed = {f"p{number}": part for number, part in enumerate(parts)}
    return Phrase(separator.join(f"{{{name}}}" for name in listed), **listed)


def told_by(failed: BaseException) -> str:
    """Pure. What an exception says; the phrase that it was raised with stays one."""
    told = failed.args[0] if len(failed.args) == 1 else None
    return told if isinstance(told, Phrase) else str(failed)


def spelt(phrase: Phrase) -> dict[str, object]:
    """Pure. What a phrase is made of, for a file that outlasts the language in which it was made."""
    values = {name: spelt(value) if isinstance(value, Phrase) else value for name, value in phrase.values.items()}
    return {"template": phrase.template, "values": values} | ({"clause": True} if isinstance(phrase, Clause) else {})


def from_spelt(entry: Mapping[str, Any]) -> Phrase:
    """Pure. The phrase that a file spells. Raises `ValueError`, `LookupError` or `TypeError` for what is none of ours."""
    template, values = entry["template"], entry["values"]
    if not isinstance(template, str) or not isinstance(values, dict):
        raise TypeError(Phrase("its words are of the wrong kind"))
    made = {name: from_spelt(value) if isinstance(value, dict) else _plain(value) for name, value in values.items()}
    for _, field, spec, conversion in string.Formatter().parse(template) if made else ():
        if field is not None and (not field.isidentifier() or conversion or not SPEC.fullmatch(spec or "")):
            raise ValueError(Phrase("its words have a field that is none of ours"))
    return Clause(template, **made) if entry.get("clause") is True else Phrase(template, **made)


def _plain(value: Any) -> str | int | float:
    if isinstance(value, str) or (isinstance(value, int | float) and math.isfinite(value)):
        return value
    raise TypeError(Phrase("its words are of the wrong kind"))


def in_language(text: str, language: str) -> str:
    """Pure but for the catalogue, which is read once. A phrase in that language; any other text as it is.

    What has no translation stays English: a sentence in the wrong language is better than none. A template without words
    of its own is in no catalogue: it has the marks of the language that one of its values is said in, so that a list of
    names stays as SQL has it.
    """
    if not isinstance(text, Phrase) or language == ENGLISH or not text:
        return text
    told = catalogue(language).gettext(text.template)
    if text.values:
        values = {
            key: in_language(value, language) if isinstance(value, str) else value for key, value in text.values.items()
        }
        if language == CHINESE and not _wordless(told):
            told = _spaced(told, values, {name for name, value in text.values.items() if isinstance(value, Phrase)})
        else:
            told = (full_width(told) if language == CHINESE and values != text.values else told).format_map(values)
    return told.rstrip(".。") if isinstance(text, Clause) else told


def _spaced(template: str, values: Mapping[str, Value], phrases: set[str]) -> str:
    """Pure. A Chinese template filled, with the blanks that its values ask for: one between Chinese and Latin letters or
    figures, and none beside a phrase that has become Chinese. A name keeps the blanks that the template has around it."""
    told, ours = "", False
    for literal, name, spec, conversion in Formatter().parse(template):
        told = _met(told, literal, blanks=ours)
        if name is not None:
            how = f"!{conversion}" * bool(conversion) + f":{spec}" * bool(spec)
            ours = name in phrases
            told = _met(told, f"{{{name}{how}}}".format_map(values), blanks=ours)
    return told


def _met(told: str, following: str, *, blanks: bool) -> str:
    """Pure. Two parts of a sentence as one; with `blanks`, one that is too many between them goes."""
    seam = f"{told[-2:]}\0{following[:2]}"
    if LACKING.search(seam):
        return f"{told} {following}"
    if blanks and TOO_MANY.search(seam):
        return f"{told.removesuffix(' ')}{following.removeprefix(' ')}"
    return told + following


def _wordless(template: str) -> bool:
    """Pure. Whether all that can be read in it are its values."""
    return not any(character.isalpha() for character in re.sub(r"\{[^{}]*\}", "", template))


def full_width(template: str) -> str:
    """Pure. A template with the marks between its values as Chinese writes them; its fields are left alone."""
    bracketed = BRACKETS.sub(r"（\1）", template)
    return FIELD_OR_MARK.sub(lambda found: FULL_WIDTH.get(found[0].strip(), found[0]), bracketed)


@cache
def catalogue(language: str) -> gettext.NullTranslations:
    """The translations into a language. Reads the package's own file; English needs none."""
    if language not in LOCALES:
        return gettext.NullTranslations()
    place = resources.files("lawsker_db") / "locale" / LOCALES[language] / "LC_MESSAGES" / f"{DOMAIN}.mo"
    with place.open("rb") as file:
        return gettext.GNUTranslations(file)


def first_of(parts: Sequence[str], most: int, separator: str = ", ", *, number: int | None = None) -> Phrase:
    """Pure. The first of several texts as one, and how many more there are; `number` where not all of them are given."""
    listed = joined(parts[:most], separator)
    rest = (len(parts) if number is None else number) - most
    return Phrase("{listed} (and {rest} more)", listed=listed, rest=rest) if rest > 0 else listed


_spoken = [ENGLISH]


def speak(language: str) -> None:
    """Choose the language of this process. The face does that, once, before anything is said."""
    _spoken[0] = language


def spoken() -> str:
    """The language of this process, English unless a face has chosen another."""
    return _spoken[0]


def said(text: str) -> str:
    """Pure but for `speak`. A text as the person at this face reads it."""
    return in_language(text, spoken())
