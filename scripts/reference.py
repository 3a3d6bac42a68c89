#!/usr/bin/env python3
"""Write the command reference from the command line itself: `python scripts/reference.py` (make docs).

Names, help, options and defaults are asked of the product; only what a command can exit with is written here.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"en": ROOT / "docs" / "commands.md", "zh": ROOT / "docs" / "commands.zh-CN.md"}
ANY = (0, 1, 2, 130)  # every command may end so
# What each command may exit with beside that.
EXITS: Mapping[str, tuple[int, ...]] = {
    "safe-upgrade": (10, 11, 12, 13, 14, 15),
    "rehearse": (10, 15),
    "rollback": (10, 11, 12, 13, 15),
    "verify": (10, 13),
    "monitor": (10, 13),
    "recover": (10, 12),
    "restore": (10, 11, 12, 13, 14, 15),
    "drill": (10, 14),
    "rescue": (10, 11, 12, 13, 15),
    "report": (10,),
    "grants": (10,),
    "completion": (),
    "status": (10, 12, 15),
    "history": (10, 13),
    "doctor": (10,),
    "adopt": (10, 11, 12, 13, 15),
    "demo": (10, 11, 12, 13, 15),
    "config": (),
    "version": (),
    "backup create": (10,),
    "backup verify": (10,),
    "backup list": (10,),
    "backup show": (10,),
    "backup prune": (10,),
    "backup sql": (10,),
}
WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "title": "Commands",
        "top": "[README](../README.md) · [All pages](README.md) · [Settings](settings.md) · [中文](commands.zh-CN.md)",
        "made": "This page is made from the command line by `make docs`, and a test compares the two. What a command does"
        " to the database stands in its first words. [Settings](settings.md#exit-codes) explains the exit codes.",
        "list": "| Command | In a sentence |\n| --- | --- |",
        "every": "On every command",
        "options": "| Option | Default | What it does |\n| --- | --- | --- |",
        "arguments": "| Argument | Default | What it is |\n| --- | --- | --- |",
        "exits": "Exit codes: {codes}.",
        "required": "required",
        "help": "Show the help of the command.",
        "repeated": "may be repeated",
        "least": "at least {least}",
    },
    "zh": {
        "title": "命令",
        "top": "[说明](../README.zh-CN.md) · [全部页面](README.md) · [设置](settings.zh-CN.md) · [English](commands.md)",
        "made": "本页由 `make docs` 从命令行本身生成，并有测试将两者比对。命令对数据库做什么，写在其开头的文字里。"
        "退出码的含义见[设置](settings.zh-CN.md#退出码)。",
        "list": "| 命令 | 一句话说明 |\n| --- | --- |",
        "every": "每条命令都有",
        "options": "| 选项 | 默认值 | 作用 |\n| --- | --- | --- |",
        "arguments": "| 参数 | 默认值 | 含义 |\n| --- | --- | --- |",
        "exits": "退出码：{codes}。",
        "required": "必填",
        "help": "显示该命令的帮助。",
        "repeated": "可重复给出",
        "least": "不小于 {least}",
    },
}


def page(language: str) -> str:
    """The whole page in a language. Speaks that language meanwhile."""
    import typer

    from lawsker_db.cli.app import app
    from lawsker_db.cli.language import localized
    from lawsker_db.phrases import speak, spoken

    before = spoken()
    speak(language)
    try:
        found = dict(_leaves(localized(typer.main.get_command(app))))
        return "\n".join(_lines(found, WORDS[language]))
    finally:
        speak(before)


def commands() -> tuple[str, ...]:
    """The names of all commands, as they are typed behind lawsker-db."""
    import typer

    from lawsker_db.cli.app import app

    return tuple(name for name, _command in _leaves(typer.main.get_command(app)))


def _leaves(command: Any, typed: str = "") -> Iterator[tuple[str, Any]]:
    """Every command that does something, with how it is typed."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield typed, command
        return
    for name, below in inner.items():
        yield from _leaves(below, f"{typed} {name}".strip())


def _lines(found: Mapping[str, Any], words: Mapping[str, str]) -> Iterator[str]:
    yield from (f"# {words['title']}", "", words["top"], "", words["made"], "", words["list"])
    for name, command in found.items():
        yield f"| [`lawsker-db {name}`](#lawsker-db-{name.replace(' ', '-')}) | {_cell(_first_sentence(command.help))} |"
    yield from ("", f"## {words['every']}", "", words["options"])
    shared = _shared(found)
    yield from (_row(found["status"], option, words) for option in shared.values())
    yield from (f"| `--help` | | {words['help']} |", "")
    for name, command in found.items():
        yield from _section(name, command, frozenset(shared), words)


def _section(name: str, command: Any, shared: frozenset[tuple[str, str]], words: Mapping[str, str]) -> Iterator[str]:
    context = command.context_class(command, info_name=f"lawsker-db {name}")
    pieces = " ".join(command.collect_usage_pieces(context))
    yield from (f"## lawsker-db {name}", "", "```", f"lawsker-db {name} {pieces}".strip(), "```", "")
    yield from (*(re.sub(r"\s*\n\s*", " ", part) + "\n" for part in command.help.strip().split("\n\n")),)
    own = [parameter for parameter in command.params if _key(parameter) not in shared and not _hidden(parameter)]
    arguments = [parameter for parameter in own if parameter.param_type_name == "argument"]
    options = [parameter for parameter in own if parameter.param_type_name == "option"]
    for listed, head in ((arguments, words["arguments"]), (options, words["options"])):
        if listed:
            yield from (head, *(_row(command, parameter, words) for parameter in listed), "")
    yield words["exits"].format(codes=", ".join(str(code) for code in sorted((*ANY, *EXITS[name]))))
    yield ""


def _hidden(parameter: Any) -> bool:
    return bool(getattr(parameter, "hidden", False))


def _key(parameter: Any) -> tuple[str, str]:
    return parameter.opts[0], parameter.help or ""


def _shared(found: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    """The options that every command has, in the words that most of them use; other words stand with their command."""
    everywhere = set.intersection(*({option.opts[0] for option in command.params} for command in found.values()))
    keys = Counter(_key(option) for command in found.values() for option in command.params)
    usual = {name: max((key for key in keys if key[0] == name), key=lambda key: keys[key]) for name in everywhere}
    seen = {_key(option): option for command in found.values() for option in command.params}
    return {usual[name]: seen[usual[name]] for name in sorted(everywhere)}


def _row(command: Any, parameter: Any, words: Mapping[str, str]) -> str:
    context = command.context_class(command, info_name="lawsker-db")
    name = parameter.get_help_record(context)[0]
    return f"| `{_cell(name)}` | {_default(parameter, words)} | {_cell(parameter.help or '')} |"


def _default(parameter: Any, words: Mapping[str, str]) -> str:
    """What counts where the option is not given, and what bounds its value."""
    value = parameter.default
    shown = value.value if isinstance(value, Enum) else value
    said = [words["required"]] if parameter.required else []
    if not callable(shown) and shown not in (None, "", False, True):
        said.append(f"`{shown:g}`" if isinstance(shown, float) else f"`{shown}`")
    if parameter.min is not None:
        said.append(words["least"].format(least=f"{parameter.min:g}"))
    if parameter.multiple or parameter.nargs == -1:
        said.append(words["repeated"])
    return "; ".join(said)


def _first_sentence(text: str) -> str:
    """Pure. The first sentence of a command's help."""
    text = re.sub(r"\s+", " ", text.strip())
    found = re.match(r".*?(?:\.(?= |$)|。)", text)
    return found[0] if found else text


def _cell(text: str) -> str:
    """Pure. A text in a cell of a table."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def main() -> int:
    """Write the pages."""
    for language, path in PAGES.items():
        path.write_text(page(language), encoding="utf-8")
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
