"""The language of the face: chosen once from --lang, LAWSKER_LANG or the locale, before anything is said.

Values, journals and JSON are English whatever is chosen here: only what a person reads goes through `said`.
"""

from __future__ import annotations

import gettext
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from lawsker_db.phrases import CHINESE, DOMAIN, ENGLISH, LANGUAGES, LOCALES, Phrase, said, speak

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
    for number, argument in enumerate(arguments):
        if argument == OPTION and number + 1 < len(arguments) and arguments[number + 1] in LANGUAGES:
            return arguments[number + 1]
        name, equals, value = argument.partition("=")
        if name == OPTION and equals and value in LANGUAGES:
            return value
    asked = _language_of(environment.get(ASKED_FIRST, ""))
    if asked is not None:
        return asked
    # The first that is set counts, also where it names no language of ours.
    locale = next((environment[name] for name in OF_THE_LOCALE if environment.get(name)), "")
    return _language_of(locale) or ENGLISH


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
    for parameter in command.params:
        parameter.help = _translated(getattr(parameter, "help", None))
    return command


def _translated(text: str | None) -> str | None:
    """Pure but for `speak`. Help is gathered for the catalogue from the command line itself (scripts/messages.py)."""
    return said(Phrase(text)) if text else text


def _formatter(command: Any) -> type:
    """The formatter of the command's help, but that its first word is in the chosen language too."""

    class Formatter(command.context_class.formatter_class):  # type: ignore[misc]
        def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
            super().write_usage(prog, args, said(Phrase("Usage: ")) if prefix is None else prefix)

    return Formatter
