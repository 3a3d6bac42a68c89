"""What is wrong with a command line, in words that a face can say in another language.

Typer's errors know their English, and some fields. A sentence of ours is made from the fields and from what was typed; it
counts where its English is Typer's to the letter. What no sentence fits stays English.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from lawsker_db.phrases import Phrase, joined, said


def mistyped(failed: Any, typed: Sequence[str]) -> str:
    """Pure but for `speak`. The sentence of a parsing error of Typer's, after these arguments were typed."""
    words = str(failed.format_message())
    # Typer asks gettext for some of its sentences, and has them in the language of this process already.
    return next((sentence for sentence in _sentences(failed, typed) if words in (sentence, said(sentence))), words)


def _sentences(failed: Any, typed: Sequence[str]) -> Iterator[Phrase]:
    """Pure. All that the error could say, by the fields that it has."""
    option = getattr(failed, "option_name", None)
    if option is not None:
        yield from _of_option(option, getattr(failed, "possibilities", None) or ())
    parameter = getattr(failed, "param", None)
    if parameter is not None:
        yield from _of_value(failed, parameter)
    command = getattr(getattr(failed, "ctx", None), "command", None)
    if command is not None:
        yield from _of_words(tuple(getattr(command, "commands", ())), typed)


def _of_option(option: str, possible: Sequence[str]) -> Iterator[Phrase]:
    """Pure. An option that there is not, or whose value is missing or one too many."""
    options = ", ".join(sorted(possible))
    yield Phrase("No such option: {option}", option=option)
    yield Phrase("No such option: {option} (Possible options: {options})", option=option, options=options)
    yield Phrase("Option {option!r} requires an argument.", option=option)
    yield Phrase("Option {option!r} does not take a value.", option=option)


def _of_value(failed: Any, parameter: Any) -> Iterator[Phrase]:
    """Pure. A parameter that is missing, or whose value cannot be meant."""
    name = parameter.get_error_hint()
    yield Phrase("Missing argument {name}.", name=name)
    yield Phrase("Missing option {name}.", name=name)
    found: Sequence[Any] = getattr(failed.__cause__, "errors", tuple)()
    for error in found[:1]:
        for reason in _reasons(error, parameter):
            yield Phrase("Invalid value for {name}: {reason}", name=name, reason=reason)


def _reasons(error: Any, parameter: Any) -> Iterator[Phrase]:
    """Pure. Why a value cannot be meant, by the kind of pydantic's error."""
    yield Phrase("Input should be a valid integer, unable to parse string as an integer")
    yield Phrase("Input should be a valid number, unable to parse string as a number")
    yield Phrase("Input should be greater than or equal to {least:g}", least=error.get("ctx", {}).get("ge", 0))
    choices = [repr(str(choice)) for choice in parameter.type_descriptor.choices or ()]
    yield Phrase("Value error, {value!r} is not one of {choices}.", value=error["input"], choices=", ".join(choices))


def _of_words(commands: Sequence[str], typed: Sequence[str]) -> Iterator[Phrase]:
    """Pure. A command that there is not, none at all, or words too many: which of those typed, Typer does not tell."""
    yield Phrase("Missing command.")
    for word in dict.fromkeys(typed):
        near = joined([repr(name) for name in get_close_matches(word, commands)])
        # Not by Typer's own template, which it would translate itself and then add to in English.
        yield Phrase("No such command {command!r}.", command=word)
        yield Phrase("No such command {command!r}. Did you mean {near}?", command=word, near=near)
    for first in range(len(typed)):
        for last in range(first, len(typed)):
            words = " ".join(typed[first : last + 1])
            yield Phrase("Got unexpected extra argument(s) ({words})", words=words)
