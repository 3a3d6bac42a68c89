"""The language of the face: chosen once from --lang, LAWSKER_LANG or the locale, before anything is said.

Values, journals and JSON are English whatever is chosen here: only what a person reads goes through `said`.
"""

from __future__ import annotations

import gettext
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from itertools import pairwise
from typing import Any

from lawsker_db.cli.layout import columns, in_lines
from lawsker_db.phrases import CHINESE, DOMAIN, ENGLISH, LANGUAGES, LOCALES, Phrase, said, speak, spoken

OPTION = "--lang"
ASKED_FIRST = "LAWSKER_LANG"
# The order in which POSIX has messages find their locale (XBD 8.2).
OF_THE_LOCALE = ("LC_ALL", "LC_MESSAGES", "LANG")


def choose_language(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Choose the language of this process, and have Typer's own words follow it."""
    language = asked_language(arguments, environment)
    speak(language)
    if language != ENGLISH:
        # Typer looks its words up in the process's default domain, by the first of these variables.
        os.environ["LANGUAGE"] = LOCALES[language]
        gettext.bindtextdomain(DOMAIN, str(resources.files("lawsker_db") / "locale"))
        gettext.textdomain(DOMAIN)


def asked_language(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Pure. What is typed counts first, then our own variable, then the locale. What names no language of ours is passed
    over: a wrong --lang is refused when the line is parsed, and a locale that does not exist is read in English."""
    typed = _typed_language(arguments)
    if typed is not None:
        return typed
    asked = _language_of(environment.get(ASKED_FIRST, ""))
    if asked is not None:
        return asked
    # The first that is set counts, also where it names no language of ours.
    locale = next((environment[name] for name in OF_THE_LOCALE if environment.get(name)), "")
    return _language_of(locale) or ENGLISH


def _typed_language(arguments: Sequence[str]) -> str | None:
    """Pure. The last language of ours that --lang names, as the last of an option's values counts for Typer."""
    typed = None
    for argument, following in pairwise((*arguments, "")):
        name, equals, value = argument.partition("=")
        named = value if equals else following
        if name == OPTION and named in LANGUAGES:
            typed = named
    return typed


def _language_of(locale: str) -> str | None:
    """Pure. zh for zh_CN.UTF-8, zh-Hans and every other Chinese; en for every English; None for all else."""
    word = locale.replace("-", "_").partition(".")[0].partition("_")[0].lower()
    return word if word in (CHINESE, ENGLISH) else None


def localized(command: Any) -> Any:
    """The whole command line with --lang on every command, and with its help in the chosen language. Changes it."""
    from lawsker_db.cli.options import language_option

    for inner in getattr(command, "commands", {}).values():
        localized(inner)
    command.params.append(language_option())
    command.context_class = type("Context", (command.context_class,), {"formatter_class": _formatter(command)})
    command.help = _translated(command.help)
    if command.help and spoken() != ENGLISH:
        command.short_help = _first_sentence(command.help)  # Typer counts words by their blanks
    for parameter in (*command.params, command.get_help_option(command.context_class(command))):
        parameter.help = _translated(getattr(parameter, "help", None))
    return command


def _translated(text: str | None) -> str | None:
    """Pure but for `speak`. Help is gathered for the catalogue from the command line itself (scripts/messages.py)."""
    return said(Phrase(text)) if text else text


def _first_sentence(text: str) -> str:
    """Pure. What stands for a command in a list of them."""
    first, stop, _rest = text.partition("。")
    return first + stop


def _formatter(command: Any) -> type:
    """The formatter of the command's help, but that its first word is in the chosen language too, and its lines are counted
    in columns where characters take two."""

    class Formatter(command.context_class.formatter_class):  # type: ignore[misc]
        def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
            super().write_usage(prog, args, said(Phrase("Usage: ")) if prefix is None else prefix)

        def write_heading(self, heading: str) -> None:
            if spoken() == ENGLISH:
                super().write_heading(heading)
            else:
                self.write(f"{heading}：\n")

        def write_text(self, text: str) -> None:
            if spoken() == ENGLISH:
                super().write_text(text)
                return
            indent = " " * self.current_indent
            paragraphs = (in_lines(part, self.width - self.current_indent) for part in text.split("\n\n"))
            self.write("\n\n".join("\n".join(indent + line for line in lines) for lines in paragraphs) + "\n")

        def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
            if spoken() == ENGLISH:
                super().write_dl(rows, col_max, col_spacing)
                return
            column = self.current_indent + min(max(columns(first) for first, _second in rows), col_max) + col_spacing
            for first, second in rows:
                name = " " * self.current_indent + first
                lines = in_lines(second, max(self.width - column, 10))
                fits = columns(name) <= column - col_spacing
                beside = [name.ljust(column) + lines[0], *(" " * column + line for line in lines[1:])]
                self.write("\n".join(beside if fits else [name, *(" " * column + line for line in lines)]) + "\n")

    return Formatter
